"""Integers as bytes, the operands that matrix engines multiply."""

from __future__ import annotations

import numpy as np

from kcompiler.graph.build import cast
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Add, Contract, Conv
from kcompiler.graph.types import I32, integer_range
from kcompiler.passes.integer.quantized import I8, U8, Quantized, integers
from kcompiler.pattern import node
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import tensor


def bytes_of(values: Array) -> tuple[Constant, ...]:
    """8-bit constants that add up to some integers: one, or two for nine bits, none for more."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low >= -128 and high <= 127:
        return (integers(values, I8),)
    if low >= 0 and high <= 255:
        return (integers(values, U8),)
    if low < -256 or high > 254:
        return ()
    inside = np.clip(values, -128, 127)
    return integers(inside, I8), integers(values - inside, I8)


def as_bytes(x: Op) -> Op:
    """Integers of at most 8 bits in 8."""
    return x if x.dtype in {I8, U8} else cast(x, I8 if integer_range(x.dtype)[0] else U8)


def without_zero(parts: Quantized) -> Array:
    """Constant integers less their zero points."""
    if not isinstance(parts.value, Constant):
        raise TypeError(f"{parts.value!r} is computed")
    return np.asarray(parts.value.value.astype(np.int64) - parts.zero.astype(np.int64))


def total_of(parts: list[Op]) -> Op:
    """The sum of tensors."""
    total = parts[0]
    for part in parts[1:]:
        total = Add(total, part)
    return total


class NarrowWeights(Rule):
    """Integer weights of nine bits, left by a zero point, become one or two products of bytes."""

    pattern = node((Conv, Contract))
    exact = True

    def check(self, match: Match) -> str | None:
        return None if _wide_weights(match.root)[1] else "it has no wide integer weights"

    def build(self, match: Match) -> Op:
        root = match.root
        x, y = root.operands
        place, parts = _wide_weights(root)
        pairs = [(part, y) if place == 0 else (x, part) for part in parts]
        return total_of([root.with_operands(pair) for pair in pairs])

    def example(self, rng: np.random.Generator) -> Op:
        low = (-200, -100, 0)[rng.integers(3)]
        w = integers(rng.integers(low, low + 256, (4, 3)), np.dtype(np.int16))
        return Contract(tensor("x", 2, 4, dtype=U8), w, "ij,jk->ik", I32)


def _wide_weights(op: Op) -> tuple[int, tuple[Constant, ...]]:
    """(which operand, bytes that add up to it) of a product of bytes with int16 constants."""
    for place, (w, x) in enumerate((op.operands, op.operands[::-1])):
        if isinstance(w, Constant) and w.dtype == np.int16 and x.dtype in {I8, U8}:
            return place, bytes_of(w.value.astype(np.int64))
    return 0, ()


RULES: tuple[Rule, ...] = (NarrowWeights(),)
