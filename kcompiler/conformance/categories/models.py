"""Whole models, compiled, verified rung by rung, written into a package and read back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kcompiler.api import CompiledModel, load
from kcompiler.conformance.bench import Bench
from kcompiler.conformance.models import MODELS, compiled, precisions
from kcompiler.conformance.score import Finding, judged
from kcompiler.graph.node import Graph
from kcompiler.machine.target import Target
from kcompiler.registry import targets

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
                    yield _package(f"{called}, as a package", made, target)
    problem = None if npu else "every model runs on the host alone"
    yield judged("something runs on the NPU", problem, "a target has to take some operator")


def _verified(made: CompiledModel) -> str | None:
    failure = made.verify().first_failure
    if failure is None:
        return None
    where = f", element {list(failure.element)}" if failure.element else ""
    return f"{failure.rung}: kernel {failure.kernel or '?'}{where}: {failure.text}"


def _package(case: str, made: CompiledModel, target: Target) -> Finding:
    """Whether a package computes the very same, where it can be read back."""
    graph = made.compilation.graph
    if graph is None:
        return Finding(case, "absent", "the compiled model holds no graph to take inputs from")
    if target.name not in targets():
        text = "a package names its target, which is not registered and so cannot be found again"
        return Finding(case, "absent", text)
    return judged(case, _reread(made, graph), _PACKAGE)


def _reread(made: CompiledModel, graph: Graph) -> str | None:
    from kcompiler.verify import sample_inputs

    feeds = sample_inputs(graph)
    one, other = made.run(feeds), load(made.to_bytes()).run(feeds)
    for name, value in one.items():
        if np.asarray(value).tobytes() != np.asarray(other[name]).tobytes():
            return f"output {name!r} of the package read back is another one"
    return None
