"""The parts of a network that stayed ONNX: brought to one opset and put among the other nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, defs, inliner, version_converter

from kcompiler.errors import UnsupportedError
from kcompiler.frontend.export_net import Net
from kcompiler.frontend.names import subgraphs
from kcompiler.graph.operators import Host

_STANDARD = ("", "ai.onnx")
_IR_VERSION = 8  # from 4 on, an initializer needs not be an input as well


def opsets_of(model: ModelProto) -> dict[str, int]:
    """The operator sets of a model, ONNX's own under one name."""
    return {"" if o.domain in _STANDARD else o.domain: o.version for o in model.opset_import}


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from all_nodes(inner)


def unfolded(host: Host) -> ModelProto:
    """The model of a `Host`, without functions."""
    model: ModelProto = ModelProto.FromString(host.model)
    used = {(n.domain, n.op_type) for n in all_nodes(model.graph)}
    if any((f.domain, f.name) in used for f in model.functions):
        model = inliner.inline_local_functions(model, convert_version=True)
    del model.functions[:]
    return model


def at_opset(model: ModelProto, opset: int, where: str) -> ModelProto:
    """The model with ONNX's own operators as a later opset defines them."""
    own = opsets_of(model).get("", opset)
    if all(_unchanged(n, own, opset) for n in all_nodes(model.graph)):
        return model
    model.ir_version = max(model.ir_version, _IR_VERSION)
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:  # noqa: BLE001 - onnx raises several kinds, some of them plain
        raise UnsupportedError(
            f"an operator for the host is of opset {own}, the others of opset {opset}",
            where,
            (str(error).splitlines() or [""])[0][:300],
            f"convert the model to opset {opset}: onnx.version_converter",
        ) from None


def _unchanged(node: NodeProto, old: int, new: int) -> bool:
    """Whether a node is the same operator in two opsets."""
    if node.domain not in _STANDARD or old == new:
        return True
    try:
        versions = [defs.get_schema(node.op_type, v, "").since_version for v in (old, new)]
    except defs.SchemaError:
        return False
    return versions[0] == versions[1]


def place(net: Net, host: Host, model: ModelProto, operands: Sequence[str]) -> list[str]:
    """Put the nodes of a host part among the others, under names of their own; its results."""
    prefix, graph = net.room(), model.graph
    known = {i.name for i in graph.initializer}
    inputs = [i.name for i in graph.input if i.name not in known]
    names = dict(zip(inputs, operands, strict=True))
    for tensor in graph.initializer:
        tensor.name = _new(tensor.name, names, prefix)
        net.initializers.append(tensor)
    for node in graph.node:
        rename(node, names, prefix)
        net.nodes.append(node)
    results = [_new(o.name, names, prefix) for o in graph.output]
    net.dtypes.update((r, t.dtype) for r, t in zip(results, host.outputs, strict=True))
    return results


def rename(node: NodeProto, names: Mapping[str, str], prefix: str = "") -> None:
    """Give the values of a node and of the graphs inside it other names, or else a prefix."""
    for values in (node.input, node.output):
        values[:] = [_new(name, names, prefix) for name in values]
    for graph in subgraphs(node):
        _rename_graph(graph, names, prefix)


def _rename_graph(graph: GraphProto, names: Mapping[str, str], prefix: str) -> None:
    given = [*graph.initializer, *(s.values for s in graph.sparse_initializer), *graph.input]
    own = {g.name for g in given} | {name for node in graph.node for name in node.output}
    visible = {old: new for old, new in names.items() if old not in own}
    del graph.value_info[:]
    del graph.quantization_annotation[:]
    for value in (*given, *graph.output):
        value.name = _new(value.name, visible, prefix)
    for node in graph.node:
        rename(node, visible, prefix)


def _new(name: str, names: Mapping[str, str], prefix: str) -> str:
    """The new name of a value; an operand that is left out has none."""
    return names.get(name, prefix + name) if name else ""
