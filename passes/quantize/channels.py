"""Tensors whose channels may be divided by factors together, because what lies between is linear.

A relu, a clip (with divided limits), a sum and a mean over positions let a positive factor of a
channel pass. So it may be taken out of the filters before and put into the weights after.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kcompiler.graph.node import Constant, Graph, Op
from kcompiler.graph.operators import (
    Add,
    Contract,
    Conv,
    Max,
    Min,
    Mul,
    Pad,
    Reduce,
    Relu,
    Reshape,
    Window,
)
from kcompiler.graph.types import F32
from kcompiler.passes.quantize.layers import Layer, find_layers


@dataclass
class Group:
    """Tensors that share the factors of their channels, and who makes and reads them."""

    channels: int
    producers: list[Conv] = field(default_factory=list)
    consumers: list[Layer] = field(default_factory=list)
    members: list[Op] = field(default_factory=list)
    blocked: bool = False


def find_groups(graph: Graph) -> list[Group]:
    """The groups whose factors are free."""
    return _Groups(graph).run()


class _Groups:
    """Union of tensors, node by node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers = {id(layer.op): layer for layer in find_layers(graph)}
        self.parent: dict[int, int] = {}
        self.groups: dict[int, Group] = {}

    def run(self) -> list[Group]:
        """The groups, in the order in which the graph begins them."""
        for node in self.graph.nodes:
            if not isinstance(node, Constant):
                channels = node.shape[1] if node.type.rank > 1 else 0
                self.parent[id(node)] = id(node)
                self.groups[id(node)] = Group(channels, members=[node])
                self._node(node)
        for _, value in self.graph.outputs:
            self._block(value)
        roots = dict.fromkeys(self._root(id(n)) for n in self.graph.nodes if id(n) in self.parent)
        found = (self.groups[r] for r in roots)
        return [g for g in found if not g.blocked and g.producers and g.consumers]

    def _node(self, node: Op) -> None:
        layer = self.layers.get(id(node))
        if layer is not None and layer.weights is not None:
            self._layer(layer)
        elif _passes(node):
            for operand in node.operands:
                if not isinstance(operand, Constant):
                    self._join(node, operand)
        else:
            self._block(node)
            for operand in node.operands:
                self._block(operand)

    def _layer(self, layer: Layer) -> None:
        (data,) = layer.data
        if isinstance(layer.op, Conv):
            self._group(layer.op).producers.append(layer.op)
        else:
            self._block(layer.op)
        if isinstance(data, Constant):
            return
        if isinstance(layer.op, Contract) and _channel_letter(layer) is None:
            self._block(data)
        else:
            self._group(data).consumers.append(layer)

    def _root(self, key: int) -> int:
        while self.parent[key] != key:
            self.parent[key] = self.parent[self.parent[key]]
            key = self.parent[key]
        return key

    def _group(self, op: Op) -> Group:
        return self.groups[self._root(id(op))]

    def _block(self, op: Op) -> None:
        if id(op) in self.parent:
            self._group(op).blocked = True

    def _join(self, one: Op, other: Op) -> None:
        a, b = self._root(id(one)), self._root(id(other))
        if a == b:
            return
        first, second = self.groups[a], self.groups.pop(b)
        self.parent[b] = a
        first.producers += second.producers
        first.consumers += second.consumers
        first.members += second.members
        first.blocked |= second.blocked or first.channels != second.channels


def _channel_letter(layer: Layer) -> str | None:
    """The letter of the channels, which the weights of a contraction must have to take factors."""
    if not isinstance(layer.op, Contract):
        return None
    own, other = layer.op.letters[layer.place], layer.op.letters[1 - layer.place]
    letter = other[1] if len(other) > 1 else ""
    return letter if letter and letter in own and letter not in layer.op.letters[2] else None


def _passes(op: Op) -> bool:
    """Whether factors of channels pass an operator; its constants are divided along."""
    if op.dtype != F32 or op.type.rank < 2:
        return False
    known = [o for o in op.operands if isinstance(o, Constant)]
    if isinstance(op, Add | Max | Min):
        others = [o for o in op.operands if not isinstance(o, Constant)]
        return all(o.shape == op.shape for o in others) and all(of_channels(op, c) for c in known)
    if isinstance(op, Mul):
        return len(known) == 1 and known[0].type.size == 1
    if isinstance(op, Reduce):
        return op.function in {"sum", "max"} and 1 not in op.axes
    if isinstance(op, Reshape):
        return op.shape[:2] == op.x.shape[:2] and op.type.size == op.shape[0] * op.shape[1]
    if isinstance(op, Pad):
        return op.value == 0 and not any((*op.low[:2], *op.high[:2]))
    return isinstance(op, Relu | Window)


def of_channels(op: Op, value: Constant) -> bool:
    """Whether a constant has one number a channel of a result, or one for all."""
    full = (1,) * (op.type.rank - value.type.rank) + value.shape
    return all(n == 1 for d, n in enumerate(full) if d != 1)
