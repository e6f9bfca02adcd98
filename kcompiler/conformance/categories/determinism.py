"""The same model gives the same bytes, whenever and in whatever process it is compiled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping

from kcompiler.conformance.bench import Bench
from kcompiler.conformance.child import digests
from kcompiler.conformance.score import Finding, judged
from kcompiler.machine.target import Target
from kcompiler.registry import find_target, targets

TITLE = "the same bytes every time, in every process"
_SEEDS = ("0", "1", "4242")
_SECONDS = 3600  # that a child may take: of a busy computer, so that only one that hangs is ended
_FIX = "nothing may depend on chance, on the order of a set, on id() or on hash()"


def findings(bench: Bench) -> Iterator[Finding]:
    """Compiled twice here, then in processes whose text hashes differently."""
    wanted = digests(bench.target)
    again = _unlike(wanted, digests(bench.target))
    yield judged("compiled twice", again, _FIX)
    handed = _handed(bench.target)
    for seed in _SEEDS:
        if handed is None:
            text = "the target is not registered and cannot be handed to another process"
            yield Finding(f"PYTHONHASHSEED={seed}", "absent", text)
            continue
        problem = _elsewhere(handed, seed, wanted)
        yield judged(f"PYTHONHASHSEED={seed}", problem, _FIX)


def _handed(target: Target) -> bytes | None:
    """How a child process finds the target: its name, or the target itself."""
    try:
        if target.name in targets() and find_target(target.name) == target:
            return pickle.dumps(target.name)
        return pickle.dumps(target)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _elsewhere(handed: bytes, seed: str, wanted: Mapping[str, str]) -> str | None:
    path = os.pathsep.join(p or "." for p in sys.path)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kcompiler.conformance.child"],
            input=handed,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"a process that compiles the same is not through after {_SECONDS} seconds"
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        return f"a process that compiles the same ends with {said[-1]}"
    lines = (line.split(" ", 1) for line in done.stdout.decode().splitlines())
    return _unlike(wanted, {line[0]: line[-1] for line in lines})


def _unlike(wanted: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    for name, digest in wanted.items():
        if found.get(name) != digest:
            return f"model {name!r}: the package has SHA-256 {found.get(name)}, before {digest}"
    return None
