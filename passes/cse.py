"""The pass cse: common subexpressions are computed once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Host
from kcompiler.pipeline import Pass
from kcompiler.rewrite import Rewriter, Rule


class Cse(Pass):
    """Merge nodes of equal operator, attributes and operands; origins come together.

    Constants are equal when type and bytes are. Host nodes stay: their meaning is not ours.
    """

    def run(self, ir: Graph) -> Graph:
        return merge_equal(ir)


def merge_equal(graph: Graph) -> Graph:
    """The graph without two equal nodes; the same object if there are none."""
    numbers = _value_numbers(graph)
    groups: dict[int, list[Op]] = {}
    for node in graph.nodes:
        groups.setdefault(numbers[id(node)], []).append(node)
    if len(groups) == len(graph.nodes):
        return graph
    new: dict[int, Op] = {}
    for number, group in groups.items():
        operands = [new[numbers[id(o)]] for o in group[0].operands]
        origin = dict.fromkeys(name for node in group for name in node.origin)
        new[number] = group[0].with_operands(operands).with_origin(tuple(origin))
    outputs = tuple((name, new[numbers[id(value)]]) for name, value in graph.outputs)
    return Graph(graph.name, graph.inputs, outputs)


def settled(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """The graph after rules and merging, until neither changes it; the same object if none does."""
    driver = Rewriter(rules)
    graph = merge_equal(driver.run(graph))
    while (changed := driver.run(graph)) is not graph:
        graph = merge_equal(changed)
    return graph


def _value_numbers(graph: Graph) -> dict[int, int]:
    """`id(node)` -> a number that equal nodes share."""
    numbers: dict[int, int] = {}
    seen: dict[Hashable, int] = {}
    constants = _Constants()
    for node in graph.nodes:
        key = _key(node, numbers, constants)
        numbers[id(node)] = seen.setdefault(key, len(seen))
    return numbers


def _key(node: Op, numbers: dict[int, int], constants: _Constants) -> Hashable:
    if isinstance(node, Constant):
        return ("constant", constants.number(node))
    if isinstance(node, Input | Host):
        return ("itself", id(node))
    attributes = tuple(node.attributes.items())
    # Two optional operands of one type are told apart by the fields that they stand in.
    fields = tuple(getattr(node, name) is not None for name in node.operand_fields)
    return (type(node), fields, attributes, *(numbers[id(o)] for o in node.operands))


class _Constants:
    """Numbers constants by value, and reads whole weights only if their samples agree."""

    def __init__(self) -> None:
        self.found: dict[Hashable, list[tuple[int, Constant]]] = {}
        self.count = 0

    def number(self, node: Constant) -> int:
        """The number of this constant and of all that are equal."""
        value = node.value
        steps = tuple(slice(None, None, max(1, extent // 4)) for extent in value.shape)
        sample = value[steps].tobytes() if value.ndim <= 4 else b""
        likely = self.found.setdefault((node.type.dtype.name, node.shape, sample), [])
        for number, other in likely:
            if other.value is value or _equal(other, node):
                return number
        likely.append((self.count, node))
        self.count += 1
        return self.count - 1


def _equal(one: Constant, other: Constant) -> bool:
    """Bit for bit: NaN equals itself, -0.0 differs from 0.0."""
    a, b = (np.ascontiguousarray(c.value).reshape(-1).view(np.uint8) for c in (one, other))
    return bool(np.array_equal(a, b))
