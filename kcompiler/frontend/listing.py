"""The nodes of an ONNX model by the names that everything made from them remembers."""

from __future__ import annotations

from dataclasses import dataclass

from kcompiler.frontend.names import in_order
from kcompiler.frontend.source import ModelSource, open_source


@dataclass(frozen=True)
class Listed:
    """A node of the model's top graph; `name` is what `Op.origin` holds for it."""

    name: str
    operator: str


def list_nodes(source: ModelSource) -> list[Listed]:
    """The nodes that the outputs need, in the order in which they can run; raises `ModelError`."""
    graph = open_source(source).model.graph
    return [
        Listed(node.name or f"{node.op_type}_{index}", node.op_type)
        for index, node in in_order(graph, [o.name for o in graph.output])
    ]
