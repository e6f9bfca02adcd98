"""Names must be text: protobuf hands out bytes where a damaged file holds no UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto

from kcompiler.errors import ModelError
from kcompiler.frontend.names import subgraphs


def check_text(model: ModelProto) -> None:
    """Raise `ModelError` for a name that is no text; values of attributes may be any bytes."""
    for name in _model(model):
        if isinstance(name, bytes):
            shown = name.decode("utf-8", "backslashreplace")
            raise ModelError(
                f"the name '{shown}' is no text",
                why="names in ONNX are UTF-8",
                fix="export the model again, or copy it again: the file is damaged",
            )


def _model(model: ModelProto) -> Iterator[object]:
    yield from _graph(model.graph)
    yield from (o.domain for o in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain, function.overload)
        yield from (*function.input, *function.output, *function.attribute)
        yield from (a.name for a in function.attribute_proto)
        yield from (o.domain for o in function.opset_import)
        yield from _nodes(function.node)


def _graph(graph: GraphProto) -> Iterator[object]:
    yield graph.name
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield from _info(info)
    yield from (t.name for t in graph.initializer)
    yield from (t.values.name for t in graph.sparse_initializer)
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
    yield from _nodes(graph.node)


def _info(info: ValueInfoProto) -> Iterator[object]:
    yield info.name
    type_: TypeProto = info.type
    if type_.HasField("tensor_type"):
        yield from (d.dim_param for d in type_.tensor_type.shape.dim)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[object]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, node.overload)
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            yield attribute.t.name
        for graph in subgraphs(node):
            yield from _graph(graph)
