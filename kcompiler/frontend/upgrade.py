"""Models of opsets before 7, whose operators broadcast by other rules, in the words of opset 7."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper, shape_inference, version_converter

from kcompiler.errors import UnsupportedError
from kcompiler.frontend.schemas import OLDEST, opsets_of
from kcompiler.frontend.source import Source


def upgraded(source: Source) -> Source:
    """The source itself, or with its model converted; raises `UnsupportedError`."""
    version = opsets_of(source.model).get("", OLDEST)
    if version >= OLDEST:
        return source
    try:
        whole = _whole(source)
        _align(whole)
        model = version_converter.convert_version(whole, OLDEST)
    except Exception as error:  # noqa: BLE001 - onnx raises several kinds, some of them plain
        raise UnsupportedError(
            f"the model is of ONNX opset {version}",
            why=f"it cannot be converted: {(str(error).splitlines() or [''])[0][:300]}",
            fix=f"export it again with opset {OLDEST} or newer",
        ) from None
    return Source(model, {}, source.folder, source.name)


def _whole(source: Source) -> ModelProto:
    """The message with all its weights; models this old are small."""
    model = ModelProto()
    model.CopyFrom(source.model)
    for index, data in source.weights.items():
        model.graph.initializer[index].raw_data = bytes(data)
    return model


def _align(model: ModelProto) -> None:
    """Give second operands that a node lines up with some `axis` extents of 1 behind it.

    The converter knows numpy's rule only, which lines up the last axes.
    """
    ranks = _ranks(model)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for index, node in enumerate(nodes):
        axis = next((a for a in node.attribute if a.name == "axis"), None)
        by_axis = axis is not None and any(a.name == "broadcast" and a.i for a in node.attribute)
        if axis is not None and by_axis and all(name in ranks for name in node.input):
            missing = _missing(node, axis.i, ranks)
            if missing:
                name = f"{node.input[1]}/aligned{index}"
                inner = ranks[node.input[1]]
                axes = list(range(inner, inner + missing))
                model.graph.node.append(
                    helper.make_node("Unsqueeze", [node.input[1]], [name], axes=axes)
                )
                node.input[1] = name
            node.attribute.remove(axis)
        model.graph.node.append(node)


def _missing(node: NodeProto, axis: int, ranks: dict[str, int]) -> int:
    """How many axes of the first operand lie behind those of the second."""
    outer, inner = (ranks[name] for name in node.input)
    start = axis + outer if axis < 0 else axis
    return max(outer - start - inner, 0)


def _ranks(model: ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model).graph
    infos = (*graph.input, *graph.value_info, *graph.output)
    shaped = (i for i in infos if i.type.tensor_type.HasField("shape"))
    found = {i.name: len(i.type.tensor_type.shape.dim) for i in shaped}
    return found | {t.name: len(t.dims) for t in graph.initializer}
