"""`load_model`: an ONNX model as a graph of fixed shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from onnx import GraphProto, ModelProto

from kcompiler.errors import KcompilerError, ModelError, UsageError
from kcompiler.frontend import schemas
from kcompiler.frontend.dims import declared_input, declared_shape, fix_dims
from kcompiler.frontend.importer import Importer
from kcompiler.frontend.scope import Scope
from kcompiler.frontend.source import ModelSource, Source, open_source
from kcompiler.frontend.weights import WeightCheck
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.types import TensorType


@dataclass(frozen=True)
class Imported:
    """A model as the compiler sees it.

    `source` is the original (path, bytes or message) for an oracle to run; `dims` are the extents
    that its open dimensions were given; `warnings` are sentences for the user; `values` are the
    inputs that were fixed to a value, which the original still wants.
    """

    graph: Graph
    source: ModelSource = field(repr=False)
    dims: Mapping[str, int]
    opset: int
    warnings: tuple[str, ...]
    values: Mapping[str, Array] = field(default_factory=dict, repr=False)

    def oracle(self) -> str | bytes:
        """The original model, in the form that onnxruntime takes."""
        if isinstance(self.source, ModelProto):
            message: bytes = self.source.SerializeToString()
            return message
        return bytes(self.source) if isinstance(self.source, bytes) else str(self.source)


@dataclass(frozen=True)
class _Wishes:
    """What the caller fixes: extents, shapes of inputs, inputs as a whole."""

    dims: Mapping[str, int]
    shapes: Mapping[str, Sequence[int]]
    values: Mapping[str, Array]


def load_model(
    source: ModelSource,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    values: Mapping[str, ArrayLike] | None = None,
    allow_nan: bool = False,
) -> Imported:
    """Import an ONNX model (path, bytes or message).

    `dims` gives open dimensions an extent, by the model's own name or as INPUT.AXIS; `shapes` fixes
    whole inputs; `values` makes inputs constants (a mode, a rate). Raises `ModelError` for a broken
    model, `UsageError` for dimensions that stay open, are unknown or contradict each other, and
    `UnsupportedError` for what neither graph nor host can express.
    """
    opened = open_source(source)
    try:
        fixed = {name: np.asarray(value) for name, value in (values or {}).items()}
        given = {name: value.shape for name, value in fixed.items()} | dict(shapes or {})
        wishes = _Wishes(dims or {}, given, fixed)
        graph, extents, warnings = _import(opened, wishes, WeightCheck(allow_nan))
    except KcompilerError as error:
        error.where = error.where or opened.name
        error.args = (error.what, error.where, error.why, error.fix)
        raise
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        why = str(error) or type(error).__name__
        raise ModelError("the model cannot be imported", opened.name, why) from error
    return Imported(graph, source, extents, _opsets(opened.model).get("", 0), warnings, fixed)


def _opsets(model: ModelProto) -> dict[str, int]:
    """The operator sets that a model imports, ONNX's own under one name."""
    return {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}


def _import(
    source: Source, wishes: _Wishes, check: WeightCheck
) -> tuple[Graph, dict[str, int], tuple[str, ...]]:
    model = source.model
    opsets = _opsets(model)
    schemas.check_opsets(opsets)
    types, extents = _input_types(model.graph, wishes)
    importer = Importer(source, check)
    scope = Scope(opsets)
    inputs: list[Input] = []
    for name, type_ in types.items():
        if name in wishes.values:
            value = _fixed(name, wishes.values[name], type_)
            scope.values[name] = importer.settle.keep(Constant(value))
        else:
            inputs.append(Input(name, type_).with_origin((name,)))
            scope.values[name] = importer.settle.keep(inputs[-1])
    names = _output_names(model.graph)
    results = importer.tensors(importer.graph(model.graph, scope, source.weights), names)
    warnings = (*check.warnings, *_disagreements(model.graph, results))
    outputs = tuple(zip(names, results, strict=True))
    return Graph(model.graph.name or "model", tuple(inputs), outputs), extents, warnings


def _fixed(name: str, value: Array, type_: TensorType) -> Array:
    """The value of an input, in its own element type; raises `UsageError` where that changes it."""
    converted = value.astype(type_.dtype)
    if not np.array_equal(converted.astype(value.dtype), value):
        raise UsageError(
            f"the value for input {name!r} does not fit its type",
            why=f"the input is {type_}, the value {value.dtype}",
            fix=f"give a value that {type_.dtype} can hold",
        )
    return converted


def _input_types(
    graph: GraphProto, wishes: _Wishes
) -> tuple[dict[str, TensorType], dict[str, int]]:
    """Inputs with a default value are constants: exporters before 2020 listed every weight."""
    constants = {i.name for i in graph.initializer}
    constants |= {i.values.name for i in graph.sparse_initializer}
    declared = [declared_input(i) for i in graph.input if i.name not in constants]
    names = [d.name for d in declared]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ModelError(f"two inputs are called {twice!r}")
    return fix_dims(declared, wishes.dims, wishes.shapes)


def _output_names(graph: GraphProto) -> list[str]:
    names = [o.name for o in graph.output]
    if not names:
        raise ModelError("the model has no outputs", fix="export the model again")
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ModelError(f"two outputs are called {twice!r}", fix="name each output once")
    return names


def _disagreements(graph: GraphProto, results: Sequence[Op]) -> list[str]:
    found = []
    for info, result in zip(graph.output, results, strict=True):
        shape = declared_shape(info.type)
        if shape is not None and shape != result.shape:
            declares = f"output {info.name!r} is declared {list(shape)}"
            found.append(f"{declares}, but is {list(result.shape)}")
    return found
