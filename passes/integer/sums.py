"""Sums and means of quantized tensors: integers add up exactly, in any order."""

from __future__ import annotations

from math import prod
from typing import cast as typed

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import Add, Cast, Conv, Dequantize, Pad, Reduce, Window
from kcompiler.graph.types import I32, is_integer
from kcompiler.passes.integer.quantized import (
    I8,
    dequantized,
    integers,
    known_parameters,
    parameters,
    scaled,
)
from kcompiler.pattern import Found
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import tensor

_MOST = (1 << 31) // 256  # terms of 8 bits and a zero point that 32 bits hold for sure


def _summed(op: Op) -> tuple[Op, ...] | str:
    if not isinstance(op, Reduce | Window) or op.function != "sum":
        return "it is no sum"
    x = op.x
    if not isinstance(x, Dequantize) or parameters(x) is None or isinstance(x.x, Constant):
        return "its operand has no integers of one scale"
    if x.x.dtype.itemsize > 1 or not is_integer(x.x.dtype):
        return "its operand has no integers of 8 bits"
    terms = prod(op.window) if isinstance(op, Window) else prod(x.shape[a] for a in op.axes)
    return (x,) if terms < _MOST else "the sum may not fit in 32 bits"


class SumOfIntegers(Rule):
    """A sum of numbers of one scale is that of the integers, scaled once."""

    pattern = Found((Reduce, Window), _summed)

    def build(self, match: Match) -> Op:
        root = match.root
        below = typed("Dequantize", root.operands[0])
        scale, zero = known_parameters(below)
        offset = int(zero.reshape(()))
        if isinstance(root, Window):
            total, count = _window(root, below.x, offset), prod(root.window)
        else:
            reduce = typed("Reduce", root)
            total = Reduce(Cast(below.x, I32), "sum", reduce.axes)
            count = prod(below.shape[a] for a in reduce.axes)
        if offset:
            total = Add(total, constant(-offset * count, I32))
        return scaled(total, scale.reshape(()))

    def example(self, rng: np.random.Generator) -> Op:
        x = dequantized(tensor("x", 2, 3, 8, dtype=I8), 0.25, int(rng.integers(-9, 9)))
        if rng.integers(2):
            return Reduce(x, "sum", (1, 2))
        return Window(x, "sum", (3,), (2,), (1,), (0,), (1,))


def _window(window: Window, x: Op, zero: int) -> Op:
    """A sliding sum as a convolution of every channel with ones; padding stands for 0."""
    channels = x.shape[1]
    low, high = window.pads_low, window.pads_high
    if zero and any((*low, *high)):
        x = Pad(x, (0, 0, *low), (0, 0, *high), zero)
        low = high = (0,) * len(low)
    ones = integers(np.ones((channels, 1, *window.window)), I8)
    return Conv(x, ones, window.strides, low, high, window.dilations, channels, I32)


RULES: tuple[Rule, ...] = (SumOfIntegers(),)
