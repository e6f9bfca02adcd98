"""What only moves or compares numbers works on the integers that stand for them."""

from __future__ import annotations

from typing import cast as typed

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import (
    Broadcast,
    Concat,
    Dequantize,
    Gather,
    Pad,
    Quantize,
    Reduce,
    Reshape,
    Slice,
    Transpose,
    Window,
)
from kcompiler.passes.integer.quantized import (
    I8,
    U8,
    dequantized,
    known_parameters,
    parameters,
    quantize_values,
    scalars,
)
from kcompiler.pattern import Found, same
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, tensor

MOVEMENTS = (Reshape, Transpose, Slice, Broadcast, Gather)


def _below(op: Op) -> Dequantize | str:
    """The dequantization under an operator's data, if it holds for the whole tensor."""
    x = op.operands[0] if op.operands else None
    if not isinstance(x, Dequantize) or isinstance(x.x, Constant):
        return "its operand is not dequantized"
    return x if parameters(x) is not None else "its scale differs between channels"


def _dequantized_again(below: Dequantize, moved: Op) -> Op:
    return Dequantize(moved, *scalars(below))


def _whole(op: Op) -> tuple[Op, ...] | str:
    below = _below(op)
    return below if isinstance(below, str) else (below,)


class MoveIntegers(Rule):
    """Numbers are moved before they are made of integers: a quarter of the bytes."""

    pattern = Found(MOVEMENTS, _whole)
    exact = True

    def build(self, match: Match) -> Op:
        below = typed("Dequantize", _below(match.root))
        rest = match.root.operands[1:]
        return _dequantized_again(below, match.root.with_operands((below.x, *rest)))

    def example(self, rng: np.random.Generator) -> Op:
        x = dequantized(tensor("x", 3, 4, dtype=I8), 0.5, 3)
        at = Constant(np.array([2, 0]))
        return (Reshape(x, (2, 6)), Transpose(x, (1, 0)), Gather(x, at, 0))[rng.integers(3)]


def _extreme(op: Op) -> tuple[Op, ...] | str:
    below = _below(op)
    if isinstance(below, str):
        return below
    if isinstance(op, Reduce):
        return (below,) if op.function in {"max", "min"} else "it is no maximum"
    if not isinstance(op, Window) or op.function != "max":
        return "it is no maximum"
    pads = (*op.pads_low, *op.pads_high)
    short = all(p < n for p, n in zip(pads, op.window * 2, strict=True))
    inside = short and set(op.dilations) == {1}
    return (below,) if inside or not any(pads) else "a window may hold padding alone"


class LargestInteger(Rule):
    """A maximum (or minimum) of numbers belongs to that of the integers: scales are positive."""

    pattern = Found((Window, Reduce), _extreme)
    exact = True

    def build(self, match: Match) -> Op:
        below = typed("Dequantize", _below(match.root))
        return _dequantized_again(below, match.root.with_operands((below.x,)))

    def example(self, rng: np.random.Generator) -> Op:
        x = dequantized(tensor("x", 1, 3, 7, dtype=U8), 0.5, 3)
        if rng.integers(2):
            return Reduce(x, ("max", "min")[rng.integers(2)], (2,))
        return Window(x, "max", (3,), (2,), (1,), (1,), (1,))


def _padded(op: Op) -> tuple[Op, ...] | str:
    below = _below(op)
    if isinstance(below, str) or not isinstance(op, Pad):
        return below if isinstance(below, str) else "it is no padding"
    scale, zero = known_parameters(below)
    value = quantize_values(np.asarray(op.value), scale, zero).item()
    back = (np.float32(value) - zero.astype(np.float32)) * scale
    return (below,) if float(back.reshape(())) == op.value else "no integer stands for its value"


class PadIntegers(Rule):
    """Padding with a number that an integer stands for is padding with the integer."""

    pattern = Found((Pad,), _padded)
    exact = True

    def build(self, match: Match) -> Op:
        pad = match.node(Pad, "root")
        below = typed("Dequantize", _below(pad))
        value = quantize_values(np.asarray(pad.value), *known_parameters(below)).item()
        return _dequantized_again(below, Pad(below.x, pad.low, pad.high, value))

    def example(self, rng: np.random.Generator) -> Op:
        x = dequantized(tensor("x", 3, 4, dtype=I8), 0.5, int(rng.integers(-5, 5)))
        return Pad(x, (1, 0), (0, 2), (0, 1.5)[rng.integers(2)])


def _moved(op: Op) -> tuple[Op, ...] | str:
    if not isinstance(op, Quantize) or parameters(op) is None:
        return "its scale differs between channels"
    moves = isinstance(op.x, (*MOVEMENTS, Concat))
    return (op.x,) if moves else "nothing is moved under it"


class QuantizeEarlier(Rule):
    """What is moved and then quantized is quantized first: a quarter of the bytes is moved."""

    pattern = Found((Quantize,), _moved)
    exact = True
    exclusive = True

    def build(self, match: Match) -> Op:
        root = match.node(Quantize, "root")
        scale, zero = scalars(root)
        moved = root.x
        if isinstance(moved, Concat):
            return Concat(tuple(Quantize(x, scale, zero) for x in moved.xs), moved.axis)
        return moved.with_operands((Quantize(moved.operands[0], scale, zero), *moved.operands[1:]))

    def example(self, rng: np.random.Generator) -> Op:
        x, y = tensor("x", 3, 4), tensor("y", 3, 4)
        moved = (Reshape(x, (2, 6)), Transpose(x, (1, 0)), Concat((x, y), 1))[rng.integers(3)]
        return Quantize(moved, number(0.1), constant(5, I8))


def _joined(op: Op) -> tuple[Op, ...] | str:
    first = op.operands[0]
    if not isinstance(first, Dequantize) or parameters(first) is None:
        return "its pieces are not dequantized"
    for x in op.operands:
        if not isinstance(x, Dequantize) or parameters(x) is None or x.x.dtype != first.x.dtype:
            return "its pieces are not all dequantized from one type"
        if not all(same(a, b) for a, b in zip(scalars(x), scalars(first), strict=True)):
            return "its pieces have different scales"
    return op.operands


class JoinIntegers(Rule):
    """Tensors of one scale are joined as integers."""

    pattern = Found((Concat,), _joined)
    exact = True

    def build(self, match: Match) -> Op:
        joined = match.node(Concat, "root")
        parts = tuple(typed("Dequantize", x) for x in joined.xs)
        return _dequantized_again(parts[0], Concat(tuple(p.x for p in parts), joined.axis))

    def example(self, rng: np.random.Generator) -> Op:
        del rng
        x, y = tensor("x", 3, 4, dtype=I8), tensor("y", 3, 2, dtype=I8)
        return Concat((dequantized(x, 0.5, 3), dequantized(y, 0.5, 3)), 1)


def _restored(op: Op) -> tuple[Op, ...] | str:
    if not isinstance(op, Quantize) or not isinstance(op.x, Dequantize):
        return "its operand is not dequantized"
    if op.x.x.dtype != op.dtype or op.dtype.itemsize > 2:
        return "the type changes"
    if parameters(op) is None or parameters(op.x) is None:
        return "its scale differs between channels"
    alike = all(same(a, b) for a, b in zip(scalars(op), scalars(op.x), strict=True))
    return (op.x,) if alike else "the scale changes"


class SameIntegers(Rule):
    """Integers made numbers and quantized as they were are what they were."""

    pattern = Found((Quantize,), _restored)
    exact = True

    def build(self, match: Match) -> Op:
        return typed("Dequantize", match.node(Quantize, "root").x).x

    def example(self, rng: np.random.Generator) -> Op:
        scale, zero = float(rng.uniform(0.001, 3)), int(rng.integers(-128, 128))
        x = dequantized(tensor("x", 300, dtype=I8), scale, zero)
        return Quantize(x, number(scale), constant(zero, I8))


RULES: tuple[Rule, ...] = (
    MoveIntegers(),
    LargestInteger(),
    PadIntegers(),
    QuantizeEarlier(),
    JoinIntegers(),
    SameIntegers(),
)
