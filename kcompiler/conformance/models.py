"""The conformance models: one trained network, and those of `nets`, compiled in any precision."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from kcompiler.conformance.nets import NETS
from kcompiler.conformance.values import numbers
from kcompiler.graph.node import Array, Graph
from kcompiler.graph.types import F32
from kcompiler.machine.target import CALIBRATED, FLOATS, Target

if TYPE_CHECKING:
    from kcompiler.api import CompiledModel

TRAINED = "mnistnet"
_DIMS = {TRAINED: {"s77": 3}}  # what models leave open
MODELS = (TRAINED, *(make.__name__ for make in NETS))
"""Their names."""


@cache
def source(name: str) -> bytes:
    """A model as ONNX bytes."""
    from kcompiler.frontend.export import export_model

    if name != TRAINED:
        return export_model(network(name))
    with as_file(files("kcompiler.conformance") / f"{TRAINED}.onnx") as path:
        return path.read_bytes()


@cache
def samples(name: str) -> dict[str, Array]:
    """Inputs for a model, from which precisions of 8 bits learn their ranges."""
    from kcompiler.verify import sample_inputs

    if name == TRAINED:
        return {"input": numbers(F32, (_DIMS[name]["s77"], 1, 28, 28), name)}
    return sample_inputs(network(name))


def precisions(target: Target) -> tuple[str, ...]:
    """The float precisions, then those of 8 bits; the target's default is the first."""
    found = [p for p in target.precisions if p in FLOATS]
    return (*found, *(p for p in target.precisions if p in {"int8", "fp8"}))


def compiled(name: str, target: Target, precision: str) -> CompiledModel:
    """A model for a target; networks go in as graphs, in which scales are scales."""
    from kcompiler.api import CompiledModel
    from kcompiler.api import compile as compile_model
    from kcompiler.calibration import Quantization
    from kcompiler.compiler import Options, compile_imported
    from kcompiler.frontend import Imported

    recipe = Quantization()
    if precision in CALIBRATED:
        recipe = Quantization(data=[samples(name)], adaptive_rounding=False, equalize=False)
    if name == TRAINED:
        return compile_model(
            source(name), target, precision=precision, dims=_DIMS[name], quantization=recipe
        )
    graph = network(name)
    inputs = tuple((i.name, i.type) for i in graph.inputs)
    outputs = tuple((out, value.type) for out, value in graph.outputs)
    imported = Imported(graph, source(name), inputs, outputs, {}, 0, ())
    made = compile_imported(source(name), imported, target, Options(precision, quantization=recipe))
    return CompiledModel(made, target, source(name))


def network(name: str) -> Graph:
    """One of `nets`."""
    return next(make for make in NETS if make.__name__ == name)()
