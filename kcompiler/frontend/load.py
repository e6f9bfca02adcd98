"""`load_model`: an ONNX model as a graph of fixed shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from onnx import GraphProto, ModelProto, ValueInfoProto

from kcompiler.errors import KcompilerError, ModelError, UsageError
from kcompiler.frontend import schemas
from kcompiler.frontend.dims import declared_input, declared_shape, fix_dims, is_open, type_name
from kcompiler.frontend.importer import Importer
from kcompiler.frontend.scope import Scope, Value
from kcompiler.frontend.source import ModelSource, Source, open_source
from kcompiler.frontend.tail import Tail, cut
from kcompiler.frontend.upgrade import upgraded
from kcompiler.frontend.weights import WeightCheck
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.types import OpenType, TensorType, is_float

Interface: TypeAlias = tuple[tuple[str, TensorType | OpenType], ...]


@dataclass(frozen=True)
class Imported:
    """A model as the compiler sees it.

    `source` is the original (path, bytes or message) for an oracle to run; `dims` are the extents
    that its open dimensions were given; `warnings` are sentences for the user; `values` are the
    inputs that were fixed to a value, which the original still wants.

    `tail` computes from inputs and outputs of the graph what has no fixed type; `inputs` and
    `outputs` are those of both together. `deciding` are inputs that nodes want to know when
    compiling: a shape follows from them.
    """

    graph: Graph
    source: ModelSource = field(repr=False)
    inputs: Interface
    outputs: Interface
    dims: Mapping[str, int]
    opset: int
    warnings: tuple[str, ...]
    values: Mapping[str, Array] = field(default_factory=dict, repr=False)
    tail: Tail | None = None
    deciding: tuple[str, ...] = ()

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
        current = upgraded(opened)
        fixed = _as_declared(current.model.graph, values or {})
        given = {name: value.shape for name, value in fixed.items()} | dict(shapes or {})
        wishes = _Wishes(dims or {}, given, fixed)
        found = _Import(current, wishes, WeightCheck(allow_nan))
    except KcompilerError as error:
        error.where = error.where or opened.name
        error.args = (error.what, error.where, error.why, error.fix)
        raise
    except (ValueError, RuntimeError, MemoryError, OverflowError) as error:
        why = str(error) or type(error).__name__
        raise ModelError("the model cannot be imported", opened.name, why) from error
    opset = schemas.opsets_of(opened.model).get("", 0)
    warnings = found.warnings
    if current is not opened:
        warnings = (f"the model was converted from opset {opset} to {schemas.OLDEST}", *warnings)
    return Imported(
        graph=found.graph,
        source=source,
        inputs=found.interface(current.model.graph.input),
        outputs=found.interface(current.model.graph.output),
        dims=found.extents,
        opset=opset,
        warnings=warnings,
        values=found.values,
        tail=found.tail,
        deciding=tuple(dict.fromkeys(found.importer.deciding)),
    )


class _Import:
    """One import: the graph, what follows it, and what was learned on the way."""

    def __init__(self, source: Source, wishes: _Wishes, check: WeightCheck) -> None:
        proto, opsets = source.model.graph, schemas.opsets_of(source.model)
        schemas.check_opsets(opsets)
        types, self.extents = _input_types(proto, wishes)
        fixed = (n for n in types if n in wishes.values)
        self.values = {name: _fixed(name, wishes.values[name], types[name]) for name in fixed}
        self.importer = Importer(source, check)
        self.scope = Scope(opsets)
        inputs = tuple(i for name, t in types.items() if (i := self._input(name, t)))
        open_ = {i.name: i.type for i in given_inputs(proto) if is_open(i.type)}
        self.open = {name: OpenType(type_name(t)) for name, t in open_.items()}
        for name, type_ in open_.items():
            self.scope.values[name] = self.importer.host.open_input(name, type_, opsets)
        names = _output_names(proto)
        values = self.importer.graph(proto, self.scope, source.weights)
        results = dict(zip(names, values, strict=True))
        self.warnings = (*check.warnings, *_disagreements(proto, results))
        outputs, self.tail = cut(self.importer.host, results, [*proto.input, *proto.output])
        self.graph = Graph(proto.name or "model", inputs, outputs)

    def _input(self, name: str, type_: TensorType) -> Input | None:
        """Give an input its value in the scope; an input of the graph where that is not known."""
        keep = self.importer.settle.keep
        if name in self.values:
            self.scope.values[name] = keep(Constant(self.values[name]))
            return None
        found = Input(name, type_).with_origin((name,))
        self.scope.values[name] = keep(found)
        return found

    def interface(self, infos: Iterable[ValueInfoProto]) -> Interface:
        """Names and types of what goes in or comes out, without what is constant."""
        known: dict[str, TensorType | OpenType] = dict(self.open)
        known.update((i.name, i.type) for i in self.graph.inputs)
        known.update((name, value.type) for name, value in self.graph.outputs)
        ends = self.tail.outputs if self.tail else ()
        known.update((i.name, OpenType(type_name(i.type))) for i in infos if i.name in ends)
        return tuple((info.name, known[info.name]) for info in infos if info.name in known)


def _fixed(name: str, value: Array, type_: TensorType) -> Array:
    """The value of an input in its own element type, floats rounded to it.

    Raises `UsageError` for what the type cannot hold.
    """
    with np.errstate(all="ignore"):
        converted = value.astype(type_.dtype)
        if is_float(type_.dtype):
            back = converted.astype(np.float64)
            held = (np.isinf(back) == np.isinf(value)) & (np.isnan(back) == np.isnan(value))
            held &= (back != 0) | (value == 0)
        else:
            held = converted.astype(value.dtype) == value
    if not held.all():
        raise UsageError(
            f"the value for input {name!r} does not fit its type",
            why=f"the input is {type_}, and a value is {value[~held].ravel()[0]}",
            fix=f"give a value that {type_.dtype} can hold",
        )
    return converted


def _input_types(
    graph: GraphProto, wishes: _Wishes
) -> tuple[dict[str, TensorType], dict[str, int]]:
    """The types of the inputs that are tensors of numbers, and the extents of what was open."""
    infos = given_inputs(graph)
    names = [i.name for i in infos]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ModelError(f"two inputs are called {twice!r}")
    for name in wishes.shapes:
        _check_fixable(name, graph, infos, "--value" if name in wishes.values else "--shape")
    declared = [declared_input(i) for i in infos if not is_open(i.type)]
    return fix_dims(declared, wishes.dims, wishes.shapes)


def _as_declared(graph: GraphProto, values: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Values as arrays; one number for an input of one element has that input's shape."""
    shapes = {i.name: declared_shape(i.type) or () for i in graph.input}
    arrays = {name: np.asarray(value) for name, value in values.items()}
    return {
        name: value.reshape(shape) if not value.ndim and set(shape) == {1} else value
        for name, value in arrays.items()
        for shape in [shapes.get(name, ())]
    }


def _check_fixable(
    name: str, graph: GraphProto, infos: Sequence[ValueInfoProto], option: str
) -> None:
    """Raise `UsageError` for an input that is there, and takes neither shape nor value."""
    open_ = {i.name: i.type for i in infos if is_open(i.type)}
    if name in open_:
        raise UsageError(
            f"{option} does not apply to input {name!r}",
            why=f"it is no tensor of numbers but {type_name(open_[name])}, "
            "which the host takes as it comes",
            fix=f"leave {option} {name}=… out",
        )
    if name in {i.name for i in graph.input} - {i.name for i in infos}:
        raise UsageError(
            f"{option} does not apply to input {name!r}",
            why="it has a value in the model, which is taken for a constant",
            fix=f"leave {option} {name}=… out, or export the model without that value",
        )


def given_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Inputs with a default value are constants: exporters before 2020 listed every weight."""
    constants = {i.name for i in graph.initializer}
    constants |= {i.values.name for i in graph.sparse_initializer}
    return [i for i in graph.input if i.name not in constants]


def _output_names(graph: GraphProto) -> list[str]:
    names = [o.name for o in graph.output]
    if not names:
        raise ModelError("the model has no outputs", fix="export the model again")
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ModelError(f"two outputs are called {twice!r}", fix="name each output once")
    return names


def _disagreements(graph: GraphProto, results: Mapping[str, Value]) -> list[str]:
    found = []
    for info in graph.output:
        shape, result = declared_shape(info.type), results[info.name]
        if shape is not None and isinstance(result, Op) and shape != result.shape:
            declares = f"output {info.name!r} is declared {list(shape)}"
            found.append(f"{declares}, but is {list(result.shape)}")
    return found
