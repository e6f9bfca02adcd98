"""Operands of element-wise operators: small constants, no broadcasts, movement after them."""

from __future__ import annotations

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import (
    Add,
    Broadcast,
    Cast,
    Elementwise,
    Gelu,
    Mul,
    Reshape,
    Transpose,
)
from kcompiler.graph.operators.check import MOST_ITERATED
from kcompiler.kernel.views import reshaped
from kcompiler.pattern import Found, node, reading, splat
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, tensor, weight

_MOST_COPIED = 1 << 24  # elements of a constant, as often as they are repeated
_MOST_KEPT = 1 << 16


class OneNumber(Rule):
    """A constant operand whose elements are all alike is a number of rank 0."""

    pattern = reading(Constant, node(Elementwise))
    exact = True

    def check(self, match: Match) -> str | None:
        if all(
            new is old for new, old in zip(_smaller(match.root), match.root.operands, strict=True)
        ):
            return "no constant operand is one number"
        return None

    def build(self, match: Match) -> Op:
        return match.root.with_operands(_smaller(match.root))

    def example(self, rng: np.random.Generator) -> Op:
        return Add(constant(np.full((1, 4), rng.normal()), np.dtype("f4")), tensor("x", 3, 4))


def _smaller(op: Op) -> list[Op]:
    """The operands, with constants of one number made small as long as the shape stays."""
    operands = list(op.operands)
    for i, operand in enumerate(operands):
        if operand.type.rank == 0 or splat(operand) is None or not isinstance(operand, Constant):
            continue
        rest = [o.shape for j, o in enumerate(operands) if j != i]
        if np.broadcast_shapes((), *rest) == op.shape:
            operands[i] = Constant(operand.value[(0,) * operand.value.ndim].reshape(()))
    return operands


class NoBroadcast(Rule):
    """Element-wise operators broadcast by themselves."""

    pattern = reading(Broadcast, node(Elementwise))
    exact = True

    def check(self, match: Match) -> str | None:
        kept = zip(_spread(match.root), match.root.operands, strict=True)
        return "no operand is a needless broadcast" if all(a is b for a, b in kept) else None

    def build(self, match: Match) -> Op:
        return match.root.with_operands(_spread(match.root))

    def example(self, rng: np.random.Generator) -> Op:
        small = tensor("x", int(rng.integers(2)) * 2 + 1, 1)
        return Mul(Broadcast(small, (3, 4)), tensor("y", 2, 3, 4))


def _spread(op: Op) -> list[Op]:
    """The operands without broadcasts that the operator would do itself."""
    operands = list(op.operands)
    for i, operand in enumerate(operands):
        if isinstance(operand, Broadcast):
            shapes = [o.shape for j, o in enumerate(operands) if j != i]
            if np.broadcast_shapes(operand.x.shape, *shapes) == op.shape:
                operands[i] = operand.x
    return operands


def _moved(op: Op) -> tuple[Op, ...] | str:
    """The movements of the operands of an operator, if they can follow it."""
    moved = tuple(o for o in op.operands if isinstance(o, Reshape | Transpose))
    if not moved:
        return "no operand is reshaped or transposed"
    if any(o.shape != op.shape for o in moved):
        return "the movement is of an operand that broadcasts"
    if moved[0].operands[0].type.rank > MOST_ITERATED:
        return f"numpy computes on at most {MOST_ITERATED} dimensions"
    if any(not _alike(o, moved[0]) for o in moved[1:]):
        return "operands are moved differently"
    if any(isinstance(o.operands[0], Constant) for o in moved):
        return "constants fold instead"
    rest = [o for o in op.operands if o not in moved]
    if any(_unmoved(o, moved[0]) is None for o in rest):
        return "an operand cannot follow the movement"
    return moved


class MovementLast(Rule):
    """f(reshape(x), c) is reshape(f(x, c)) for constants c, and for several equal movements.

    So element-wise work meets the operator that computes x, and transposes meet their inverses.
    """

    pattern = reading((Reshape, Transpose), Found((Elementwise,), _moved))
    exact = True
    exclusive = True

    def build(self, match: Match) -> Op:
        first = next(o for o in match.root.operands if isinstance(o, Reshape | Transpose))
        operands = []
        for operand in match.root.operands:
            if isinstance(operand, Reshape | Transpose):
                operands.append(operand.x)
            else:
                kept = _unmoved(operand, first)
                operands.append(operand if kept is None else kept)
        return first.with_operands([match.root.with_operands(operands)])

    def example(self, rng: np.random.Generator) -> Op:
        x, y = tensor("x", 2, 3, 4), tensor("y", 2, 3, 4)
        if rng.integers(2):
            return Add(Reshape(x, (6, 4)), Reshape(y, (6, 4)))
        if rng.integers(3) == 0:  # a number a channel before it is four
            apart = Reshape(tensor("x", 1, 8, 3), (1, 2, 2, 2, 3))
            return Mul(apart, weight(rng, 1, 2, 1, 1, 1))
        c = (number(2.0), weight(rng, 3, 1), weight(rng, 2), weight(rng, 4, 3, 2))[rng.integers(4)]
        moved = Transpose(x, (2, 1, 0))
        return (Gelu(moved), Cast(moved, np.dtype("f2")), Mul(moved, c))[rng.integers(3)]


def _alike(one: Op, other: Op) -> bool:
    """Whether two tensors are moved in the same way."""
    return (
        type(one) is type(other)
        and one.attributes == other.attributes
        and one.operands[0].shape == other.operands[0].shape
    )


def _unmoved(operand: Op, movement: Reshape | Transpose) -> Constant | None:
    """The constant that must be used before the movement to give what `operand` gives after it."""
    if not isinstance(operand, Constant):
        return None
    if operand.type.size == 1 and operand.type.rank <= movement.x.type.rank:
        return Constant(operand.value.reshape((1,) * movement.x.type.rank))
    full = np.broadcast_to(operand.value, movement.shape)
    if isinstance(movement, Transpose):
        return Constant(_repeats_dropped(full.transpose(np.argsort(movement.perm))))
    size = full.itemsize
    strides = reshaped(full.shape, [s // size for s in full.strides], movement.x.shape)
    if strides is None:
        return _compacted(full, movement.x.shape)
    inverse = np.lib.stride_tricks.as_strided(
        full, movement.x.shape, [s * size for s in strides], writeable=False
    )
    return Constant(_repeats_dropped(inverse))


def _compacted(full: Array, shape: tuple[int, ...]) -> Constant | None:
    """A constant that only a copy brings into a shape; None unless few of its elements differ.

    A number a channel is four a channel before those of a picture are shuffled into its pixels.
    """
    if full.size > _MOST_COPIED:
        return None
    found = full.reshape(shape)
    for axis in range(found.ndim):
        first = found.take([0], axis)
        bits = np.dtype(f"u{found.itemsize}")  # 0.0 is not -0.0
        if (found.view(bits) == first.view(bits)).all():
            found = first
    few = found.size <= _MOST_KEPT and found.size < full.size
    return Constant(np.ascontiguousarray(found)) if few else None


def _repeats_dropped(value: Array) -> Array:
    """The array with extent 1 where a stride of 0 repeats elements."""
    return value[tuple(slice(1) if s == 0 else slice(None) for s in value.strides)]


RULES: tuple[Rule, ...] = (OneNumber(), NoBroadcast(), MovementLast())
