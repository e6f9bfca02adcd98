"""Contractions of two quantized tensors, in integers.

sum (x - zx)(y - zy) is sum x y - zx sum y - zy sum x + zx zy n. The zero points of constants go
into them; those of computed data cost sums of the other operand, which are constants for weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from kcompiler.graph.build import constant, reshape
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Add, Contract, Mul, Sub
from kcompiler.graph.types import F32, I32, bit_width
from kcompiler.passes.integer.conv import LARGEST_SUM
from kcompiler.passes.integer.narrow import as_bytes, bytes_of, total_of, without_zero
from kcompiler.passes.integer.quantized import (
    I8,
    U8,
    Quantized,
    dequantized,
    integers,
    quantized,
    scaled,
)
from kcompiler.pattern import Found
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import tensor

_LARGEST_TERM = (255 + 128) * 255  # of bytes less a zero point, and bytes of weights


@dataclass(frozen=True)
class _Side:
    """An operand of a contraction: its parts, and the letters of its dimensions."""

    parts: Quantized
    letters: str
    contract: Contract

    @property
    def result(self) -> str:
        """The letters of the result."""
        return self.contract.letters[2]

    @property
    def values(self) -> tuple[Op, ...]:
        """Bytes that add up to the operand; constants come without their zero point."""
        if isinstance(self.parts.value, Constant):
            return bytes_of(without_zero(self.parts))
        return (as_bytes(self.parts.value),)

    @property
    def zero(self) -> int:
        """The zero point that the values still have."""
        return 0 if isinstance(self.parts.value, Constant) else self.parts.one_zero

    @property
    def why_not(self) -> str | None:
        """Why its products cannot be done in integers."""
        if not self.parts.whole or bit_width(self.parts.value.dtype) > 8:
            return "an operand has no integers of 8 bits"
        scale = self.parts.scale
        full = (1,) * (len(self.letters) - scale.ndim) + scale.shape
        used = {c for c, n in zip(self.letters, full, strict=True) if n != 1}
        if not used <= set(self.result):
            return "the scale changes within a sum"
        if not isinstance(self.parts.value, Constant) and self.parts.zero.size != 1:
            return "computed data have several zero points"
        return None if self.values else "its weights need more than nine bits"

    def aligned(self, values: Array) -> Array:
        """What broadcasts to the operand, as what broadcasts to the result."""
        full = values.reshape((1,) * (len(self.letters) - values.ndim) + values.shape)
        kept = [c for c in self.letters if c in self.result]
        gone = tuple(i for i, c in enumerate(self.letters) if c not in self.result)
        order = sorted(range(len(kept)), key=lambda i: self.result.index(kept[i]))
        moved = full.squeeze(gone).transpose(order)
        extents = dict(zip((kept[i] for i in order), moved.shape, strict=True))
        return np.asarray(moved.reshape([extents.get(c, 1) for c in self.result]))

    def sums(self) -> Op:
        """The values added up over what the contraction sums; broadcasts to the result."""
        extents = self.contract.extents
        kept = "".join(c for c in self.result if c in self.letters)
        gone = "".join(c for c in self.letters if c not in self.result)
        ones = integers(np.ones([extents[c] for c in gone]), I8)
        equation = f"{self.letters},{gone}->{kept}"
        total = total_of([Contract(v, ones, equation, I32) for v in self.values])
        total = reshape(total, [extents[c] if c in kept else 1 for c in self.result])
        others = prod(n for c, n in extents.items() if c not in self.letters + self.result)
        return total if others == 1 else Mul(total, constant(others, I32))


def _sides(contract: Contract) -> tuple[_Side, _Side] | str:
    x, y = quantized(contract.x), quantized(contract.y)
    if x is None or y is None or contract.dtype != F32:
        return "an operand is not quantized"
    left, right, _ = contract.letters
    sides = _Side(x, left, contract), _Side(y, right, contract)
    if _terms(contract) * _LARGEST_TERM > LARGEST_SUM:
        return "its sums may not fit in 32 bits"
    return next((side.why_not for side in sides if side.why_not), sides)


def _terms(contract: Contract) -> int:
    return prod(n for c, n in contract.extents.items() if c not in contract.letters[2])


def _consumed(op: Op) -> tuple[Op, ...] | str:
    found = _sides(op) if isinstance(op, Contract) else "it is no contraction"
    return found if isinstance(found, str) else op.operands


class IntegerContract(Rule):
    """A contraction of two quantized tensors sums products of integers, and scales once."""

    pattern = Found((Contract,), _consumed)

    def build(self, match: Match) -> Op:
        root = match.node(Contract, "root")
        sides = _sides(root)
        if isinstance(sides, str):
            raise TypeError("checked before")
        x, y = sides
        pairs = [(a, b) for a in x.values for b in y.values]
        total = total_of([Contract(a, b, root.equation, I32) for a, b in pairs])
        for one, other in ((x, y), (y, x)):
            if one.zero:
                total = Sub(total, Mul(other.sums(), constant(one.zero, I32)))
        if x.zero and y.zero:
            total = Add(total, constant(_terms(root) * x.zero * y.zero, I32))
        return scaled(total, x.aligned(x.parts.scale) * y.aligned(y.parts.scale))

    def example(self, rng: np.random.Generator) -> Op:
        x = dequantized(tensor("x", 2, 3, 8, dtype=I8), 0.25, int(rng.integers(-9, 9)))
        if rng.integers(2):
            y = dequantized(tensor("y", 2, 8, 4, dtype=U8), 0.5, int(rng.integers(0, 9)))
            return Contract(x, y, "bij,bjk->bki", F32)
        w, scale = integers(rng.integers(0, 256, (8, 5)), U8), np.exp2(rng.integers(-3, 3, (1, 5)))
        return Contract(x, dequantized(w, scale, rng.integers(0, 256, (1, 5))), "bij,jk->bki", F32)


RULES: tuple[Rule, ...] = (IntegerContract(),)
