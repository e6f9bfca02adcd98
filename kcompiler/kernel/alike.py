"""Which fused parts are alike: layers of a network repeat, and so do their regions."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from kcompiler.graph.node import Constant, Input, Op
from kcompiler.graph.operators.structure import Fused
from kcompiler.kernel.views import is_movement


@dataclass(frozen=True)
class Outline:
    """All that the region of a fused part depends on, and the nodes that it was taken from.

    Parts of equal `key` have equal regions, made of the nodes at equal positions of `nodes`: the
    body's, and what its inputs stand for with the movements above it.
    """

    key: Hashable
    nodes: tuple[Op, ...]

    def position(self, op: Op) -> int | None:
        """Where a node stands; None if it is none of these."""
        return next((i for i, n in enumerate(self.nodes) if n is op), None)


def outline(fused: Fused) -> Outline:
    """The outline of a fused part whose operands are read down to what is no movement."""
    numbers: dict[int, int] = {}
    nodes: list[Op] = []
    key: list[Hashable] = []

    def add(op: Op, entry: Hashable) -> None:
        numbers[id(op)] = len(nodes)
        nodes.append(op)
        key.append(entry)

    for x, own in zip(fused.xs, fused.body.inputs, strict=True):
        for op in _chain(x):
            if id(op) not in numbers:
                add(op, _entry(op, numbers) if is_movement(op) else _leaf(op))
        add(own, numbers[id(x)])
    for op in fused.body.nodes:
        if not isinstance(op, Input):
            add(op, _leaf(op) if isinstance(op, Constant) else _entry(op, numbers))
    return Outline((tuple(key), numbers[id(fused.body.outputs[0][1])]), tuple(nodes))


def _chain(x: Op) -> list[Op]:
    """What lies in memory, and the movements from there to `x`."""
    chain = [x]
    while is_movement(chain[-1]):
        chain.append(chain[-1].operands[0])
    return chain[::-1]


def _leaf(op: Op) -> Hashable:
    """A tensor in memory, or a number that becomes a literal."""
    if not isinstance(op, Constant):
        return ("tensor", op.type)
    return ("constant", op.type, op.value.tobytes() if op.type.size == 1 else None)


def _entry(op: Op, numbers: dict[int, int]) -> Hashable:
    attributes = tuple(map(_exact, op.attributes.values()))
    # Two optional operands of one type are told apart by the fields that they stand in.
    fields = tuple(getattr(op, name) is not None for name in op.operand_fields)
    return (type(op), attributes, fields, *(numbers[id(o)] for o in op.operands))


def _exact(value: Any) -> Hashable:
    """A value that equals only itself: 0.0 is neither -0.0 nor 0."""
    return (float, value.hex()) if isinstance(value, float) else (type(value), value)
