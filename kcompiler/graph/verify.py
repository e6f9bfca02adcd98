"""The rules of the graph level. A broken rule is a bug of whoever made the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kcompiler.errors import IRError
from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators.structure import Fused, Host, Item
from kcompiler.graph.types import TensorType

# What an attribute may be; a numpy number would print differently and is not one of these.
_PLAIN = (int, float, bool, str, bytes, type(None), TensorType, Graph)


def verify_graph(graph: Graph) -> None:
    """Raise the `IRError` of the first broken rule, in the order of `RULES` and of the nodes."""
    for rule in RULES:
        for where, why in rule(graph):
            raise IRError("graph", str(rule.__doc__).rstrip("."), where, why)
    for node in graph.nodes:
        if isinstance(node, Fused):
            verify_graph(node.body)


Finding = tuple[str, str]


def names_are_distinct(graph: Graph) -> Iterator[Finding]:
    """Inputs have distinct names, and outputs too."""
    for names in ([i.name for i in graph.inputs], [name for name, _ in graph.outputs]):
        yield from ((n, "the name occurs twice") for n in names if names.count(n) > 1)


def inputs_are_declared(graph: Graph) -> Iterator[Finding]:
    """Every input that is read is an input of the graph."""
    declared = {id(i) for i in graph.inputs}
    for node in graph.nodes:
        if isinstance(node, Input) and id(node) not in declared:
            yield node.name, "the graph does not list it"


def operators_are_known(graph: Graph) -> Iterator[Finding]:
    """Every node is a declared operator."""
    for node in graph.nodes:
        if Op.registry.get(type(node).__name__) is not type(node):
            yield _where(node), f"{type(node).__name__} is not in the registry"


def attributes_are_plain(graph: Graph) -> Iterator[Finding]:
    """Attributes are plain Python values, element types or tensor types."""
    for node in graph.nodes:
        for name, value in node.attributes.items():
            if not (_plain(value) or (isinstance(node, Constant) and name == "value")):
                yield _where(node), f"{name} is {value!r}, a {type(value).__name__}"


def origins_are_names(graph: Graph) -> Iterator[Finding]:
    """Origins are tuples of names."""
    for node in graph.nodes:
        origin: object = node.origin
        if not isinstance(origin, tuple) or not all(type(name) is str for name in origin):
            yield repr(node), f"the origin is {node.origin!r}"


def types_are_inferred(graph: Graph) -> Iterator[Finding]:
    """The type of a node is what its operator infers."""
    for node in graph.nodes:
        try:
            inferred = node.infer()
        except ValueError as problem:
            yield _where(node), str(problem)
            continue
        if (inferred, inferred.shape, inferred.dtype) != (node.type, node.shape, node.dtype):
            yield _where(node), f"the type is {node.type}, but infer gives {inferred}"


def hosts_are_read_through_items(graph: Graph) -> Iterator[Finding]:
    """A host operator is read through items only."""
    for node in graph.nodes:
        if not isinstance(node, Item) and any(isinstance(o, Host) for o in node.operands):
            yield _where(node), "it reads a host operator itself"
    for name, value in graph.outputs:
        if isinstance(value, Host):
            yield name, "the output is a host operator itself"


def kernels_are_flat(graph: Graph) -> Iterator[Finding]:
    """The body of a fused operator holds neither host operators nor fused ones."""
    for node in graph.nodes:
        if isinstance(node, Fused):
            for inner in node.body.nodes:
                if isinstance(inner, Host | Item | Fused):
                    yield _where(node), f"its body holds {inner!r}"


RULES: tuple[Callable[[Graph], Iterator[Finding]], ...] = (
    names_are_distinct,
    inputs_are_declared,
    operators_are_known,
    attributes_are_plain,
    origins_are_names,
    types_are_inferred,
    hosts_are_read_through_items,
    kernels_are_flat,
)


def _plain(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_plain, value))
    return type(value) in _PLAIN or isinstance(value, np.dtype)


def _where(node: Op) -> str:
    return ", ".join(map(str, node.origin)) or repr(node)
