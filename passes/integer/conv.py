"""Convolutions of quantized data with quantized weights, in integers.

sum (x - zx)(w - zw) is sum x (w - zw) - zx sum (w - zw). The zero point of the weights goes into
them; that of the data becomes a constant of each filter, because padding holds it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Add, Conv, Pad
from kcompiler.graph.types import F32, I32, bit_width, integer_range
from kcompiler.passes.integer.narrow import as_bytes, bytes_of, total_of, without_zero
from kcompiler.passes.integer.quantized import (
    I8,
    Quantized,
    dequantized,
    integers,
    quantized,
    scaled,
)
from kcompiler.pattern import Found
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import tensor

LARGEST_SUM = (1 << 31) - 1


@dataclass(frozen=True)
class _Parts:
    """A convolution whose operands are quantized."""

    conv: Conv
    x: Quantized
    w: Quantized

    @property
    def why_not(self) -> str | None:
        """Why it cannot be done in integers."""
        x, w, conv = self.x, self.w, self.conv
        if not isinstance(w.value, Constant) or conv.dtype != F32:
            return "its weights are computed"
        if not (x.whole and w.whole):
            return "its operands are floats"
        if not x.by_tensor or bit_width(x.value.dtype) > 8:
            return "its data are not 8-bit integers of one scale"
        if w.scale.size != 1 and w.scale.shape != (conv.w.shape[0], *(1,) * len(conv.w.shape[1:])):
            return "its weights have not one scale for each filter"
        values = without_zero(w)
        largest = max(map(abs, integer_range(x.value.dtype))) + abs(x.one_zero)
        most = prod(conv.w.shape[1:]) * largest * int(np.abs(values).max(initial=0))
        if not bytes_of(values) or most > LARGEST_SUM:
            return "its sums may not fit in 32 bits"
        return None

    def sums(self, w: Constant) -> Op:
        """The convolution of integers; padding stands for 0."""
        conv, x = self.conv, as_bytes(self.x.value)
        low, high = conv.pads_low, conv.pads_high
        if self.x.one_zero and any((*low, *high)):
            x = Pad(x, (0, 0, *low), (0, 0, *high), self.x.one_zero)
            low = high = (0,) * len(low)
        return Conv(x, w, conv.strides, low, high, conv.dilations, conv.groups, I32)

    def by_filter(self, values: Array) -> Array:
        """One number for each filter, for the result."""
        return values.reshape(-1, *(1,) * len(self.conv.strides))


def _parts(conv: Conv) -> _Parts | str:
    x, w = quantized(conv.x), quantized(conv.w)
    if x is None or w is None:
        return "an operand is not quantized"
    found = _Parts(conv, x, w)
    return found.why_not or found


def _consumed(op: Op) -> tuple[Op, ...] | str:
    found = _parts(op) if isinstance(op, Conv) else "it is no convolution"
    return found if isinstance(found, str) else found.conv.operands


class IntegerConv(Rule):
    """A convolution of quantized data with quantized weights sums integers, and scales once."""

    pattern = Found((Conv,), _consumed)

    def build(self, match: Match) -> Op:
        parts = _parts(match.node(Conv, "root"))
        if isinstance(parts, str):
            raise TypeError("checked before")
        weights = without_zero(parts.w)
        total = total_of([parts.sums(part) for part in bytes_of(weights)])
        if parts.x.one_zero:
            offset = -parts.x.one_zero * weights.sum(tuple(range(1, weights.ndim)))
            total = Add(total, integers(parts.by_filter(offset), I32))
        factor = parts.x.scale.reshape(()) * parts.w.scale.reshape(-1)
        return scaled(total, factor if factor.size == 1 else parts.by_filter(factor))

    def example(self, rng: np.random.Generator) -> Op:
        zero, low = int(rng.integers(-9, 9)), int(rng.integers(2))
        x = dequantized(tensor("x", 1, 4, 6, dtype=I8), 0.5, zero)
        w = integers(rng.integers(-128, 128, (6, 2, 3)), I8)
        weights = dequantized(w, np.exp2(rng.integers(-3, 3, (6, 1, 1))), int(rng.integers(-9, 9)))
        return Conv(x, weights, (1,), (low,), (1,), (1,), 2, F32)


RULES: tuple[Rule, ...] = (IntegerConv(),)
