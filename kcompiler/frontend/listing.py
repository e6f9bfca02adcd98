"""The inputs and nodes of an ONNX model by the names that everything made of them remembers."""

from __future__ import annotations

from dataclasses import dataclass

from kcompiler.frontend.dims import Declared, declared_input, is_open
from kcompiler.frontend.load import given_inputs
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


@dataclass(frozen=True)
class Given:
    """An input that the model takes; `open` where it is no tensor of numbers."""

    name: str
    open: bool


def list_inputs(source: ModelSource) -> list[Given]:
    """The inputs without a default value, in the model's order; raises `ModelError`."""
    graph = open_source(source).model.graph
    return [Given(i.name, is_open(i.type)) for i in given_inputs(graph)]


def list_axes(source: ModelSource) -> list[Declared]:
    """The inputs that are tensors of numbers, with the dimensions that they leave open."""
    graph = open_source(source).model.graph
    return [declared_input(i) for i in given_inputs(graph) if not is_open(i.type)]
