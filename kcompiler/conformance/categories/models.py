"""Whole models, compiled, verified rung by rung, written into a package and read back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kcompiler.api import CompiledModel, load
from kcompiler.conformance.bench import Bench
from kcompiler.conformance.models import MODELS, compiled, precisions
from kcompiler.conformance.score import Finding, judged
from kcompiler.machine.target import Target

TITLE = "models verify against onnxruntime, kernel by kernel"
_FIX = "kcompile MODEL --target T --verify names the first kernel, tile and instruction"
_PACKAGE = "whatever decides what a program does must be in its bytes, not in the process"


def findings(bench: Bench) -> Iterator[Finding]:
    """Every model on every sibling; on the chip as it is in every precision, and as a package."""
    npu = 0
    for name in MODELS:
        for where, target in bench.siblings.items():
            for precision in precisions(target) if not where else precisions(target)[:1]:
                called = " ".join(x for x in (name, precision, where and f"[{where}]") if x)
                made = compiled(name, target, precision)
                npu += len(made.programs)
                yield judged(called, _verified(made), _FIX)
                if target is bench.target:
                    yield judged(f"{called}, as a package", _reread(made, target), _PACKAGE)
    problem = None if npu else "every model runs on the host alone"
    yield judged("something runs on the NPU", problem, "a target has to take some operator")


def _verified(made: CompiledModel) -> str | None:
    failure = made.verify().first_failure
    if failure is None:
        return None
    where = f", element {list(failure.element)}" if failure.element else ""
    return f"{failure.rung}: kernel {failure.kernel or '?'}{where}: {failure.text}"


def _reread(made: CompiledModel, target: Target) -> str | None:
    """Whether a package computes the very same."""
    from kcompiler.registry import targets
    from kcompiler.verify import sample_inputs

    if made.compilation.graph is None or target.name not in targets():
        return None  # a package names its target, which has to be registered to read it
    feeds = sample_inputs(made.compilation.graph)
    one, other = made.run(feeds), load(made.to_bytes()).run(feeds)
    for name, value in one.items():
        if np.asarray(value).tobytes() != np.asarray(other[name]).tobytes():
            return f"output {name!r} of the package read back is another one"
    return None
