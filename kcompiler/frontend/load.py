"""`load_model`: an ONNX model as a graph of fixed shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnx import GraphProto, ModelProto

from kcompiler.errors import KcompilerError, ModelError
from kcompiler.frontend import schemas
from kcompiler.frontend.dims import declared_input, declared_shape, fix_dims
from kcompiler.frontend.importer import Importer
from kcompiler.frontend.scope import Scope
from kcompiler.frontend.source import ModelSource, Source, open_source
from kcompiler.frontend.weights import WeightCheck
from kcompiler.graph.node import Graph, Input, Op
from kcompiler.graph.types import TensorType


@dataclass(frozen=True)
class Imported:
    """A model as the compiler sees it.

    `source` is the original (path, bytes or message) for an oracle to run; `dims` are the extents that its
    open dimensions were given; `warnings` are sentences for the user.
    """

    graph: Graph
    source: ModelSource = field(repr=False)
    dims: Mapping[str, int]
    opset: int
    warnings: tuple[str, ...]

    def oracle(self) -> str | bytes:
        """The original model, in the form that onnxruntime takes."""
        if isinstance(self.source, ModelProto):
            return self.source.SerializeToString()
        return bytes(self.source) if isinstance(self.source, bytes) else str(self.source)


def load_model(
    source: ModelSource,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    allow_nan: bool = False,
) -> Imported:
    """Import an ONNX model (path, bytes or message).

    `dims` gives open dimensions an extent, by the model's own name or as INPUT.AXIS; `shapes` fixes whole
    inputs. Raises `ModelError` for a broken model, `UsageError` for dimensions that stay open, are unknown or
    contradict each other, `UnsupportedError` for what neither graph nor host can express.
    """
    opened = open_source(source)
    try:
        return _import(opened, source, dims or {}, shapes or {}, allow_nan)
    except KcompilerError as error:
        error.where = error.where or opened.name
        error.args = (error.what, error.where, error.why, error.fix)
        raise
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        why = str(error) or type(error).__name__
        raise ModelError("the model cannot be imported", opened.name, why) from error


def _import(
    source: Source,
    original: ModelSource,
    dims: Mapping[str, int],
    shapes: Mapping[str, Sequence[int]],
    allow_nan: bool,
) -> Imported:
    model = source.model
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    schemas.check_opsets(opsets)
    types, extents = _input_types(model.graph, dims, shapes)
    check = WeightCheck(allow_nan)
    importer = Importer(source, check)
    inputs = tuple(Input(name, type_, origin=(name,)) for name, type_ in types.items())
    scope = Scope(opsets, values={i.name: importer.settle.keep(i) for i in inputs})
    names = _output_names(model.graph)
    values = importer.graph(model.graph, scope, source.weights)
    results = importer.tensors(values, names)
    warnings = [*check.warnings, *_disagreements(model.graph, results)]
    graph = Graph(model.graph.name or "model", inputs, tuple(zip(names, results, strict=True)))
    return Imported(graph, original, extents, opsets.get("", 0), tuple(warnings))


def _input_types(
    graph: GraphProto, dims: Mapping[str, int], shapes: Mapping[str, Sequence[int]]
) -> tuple[dict[str, TensorType], dict[str, int]]:
    """Inputs with a default value are constants: exporters before 2020 listed every weight."""
    constants = {i.name for i in graph.initializer}
    constants |= {i.values.name for i in graph.sparse_initializer}
    declared = [declared_input(i) for i in graph.input if i.name not in constants]
    names = [d.name for d in declared]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ModelError(f"two inputs are called {twice!r}")
    return fix_dims(declared, dims, shapes)


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
