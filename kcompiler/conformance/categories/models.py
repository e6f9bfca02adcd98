"""Whole models, compiled, verified rung by rung, written into a package and read back."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import as_file, files

import numpy as np

from kcompiler.api import CompiledModel, load
from kcompiler.api import compile as compile_model
from kcompiler.conformance.bench import Bench
from kcompiler.conformance.nets import NETS
from kcompiler.conformance.score import Finding, judged
from kcompiler.machine.target import Target

TITLE = "models verify against onnxruntime, kernel by kernel"
DIMS = {"mnistnet": {"s77": 3}}
"""What models leave open."""
_FIX = "kcompile MODEL --target T --verify names the first kernel, tile and instruction"
_PACKAGE = "whatever decides what a program does must be in its bytes, not in the process"


def findings(bench: Bench) -> Iterator[Finding]:
    """Every model on every sibling; on the chip as it is in every precision, and as a package."""
    npu = 0
    for name, source in sources().items():
        for where, target in bench.siblings.items():
            for precision in bench.target.precisions if not where else bench.target.precisions[:1]:
                called = " ".join(x for x in (name, precision, where and f"[{where}]") if x)
                made = compile_model(source, target, precision=precision, dims=DIMS.get(name))
                npu += len(made.programs)
                yield judged(called, _verified(made), _FIX)
                if target is bench.target:
                    yield judged(f"{called}, as a package", _reread(made, target), _PACKAGE)
    problem = None if npu else "every model runs on the host alone"
    yield judged("something runs on the NPU", problem, "a target has to take some operator")


def sources() -> dict[str, bytes]:
    """ONNX models by name."""
    from kcompiler.frontend.export import export_model

    found = {graph.name: export_model(graph) for graph in (make() for make in NETS)}
    with as_file(files("kcompiler.conformance") / "mnistnet.onnx") as path:
        return {"mnistnet": path.read_bytes()} | found


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
