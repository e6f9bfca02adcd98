"""Products of 8-bit floats: the array multiplies them as they are, and one factor follows.

sum (x sx)(w sw) is sx sw sum x w where no scale changes within the sum. Sums are float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Op
from kcompiler.graph.operators import Contract, Conv, Mul
from kcompiler.graph.types import F32, dtype_name, parse_dtype
from kcompiler.passes.integer.quantized import Quantized, dequantized, quantized
from kcompiler.pattern import Found
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import tensor

TYPES = ("f8e4m3fn", "f8e5m2")


def _factors(op: Op) -> Array | str:
    """What the scales of both operands multiply the result with, or why there is no such factor."""
    if not isinstance(op, Contract | Conv) or op.dtype != F32:
        return "it is no product"
    parts = [quantized(o) for o in op.operands]
    found = [_factor(op, place, each) for place, each in enumerate(parts) if each is not None]
    if len(found) < len(parts):
        return "an operand is not quantized"
    why = next((each for each in found if isinstance(each, str)), None)
    if why is not None:
        return why
    x, y = (np.asarray(each) for each in found)
    with np.errstate(over="ignore", under="ignore"):
        factor = np.asarray(x * y)
    return factor if _normal(factor).all() else _BEYOND


def _normal(factor: Array) -> Array:
    """Where float32 has a number with all its digits: scales of large and of small numbers."""
    size = np.abs(factor)
    return np.isfinite(size) & (size >= np.finfo(np.float32).tiny)


def _factor(op: Contract | Conv, place: int, parts: Quantized) -> Array | str:
    """The scale of one operand, as what broadcasts to the result."""
    if dtype_name(parts.value.dtype) not in TYPES:
        return "an operand has no 8-bit floats"
    scale = parts.scale
    if scale.size == 1:
        return scale.reshape(())
    shape = op.operands[place].shape
    full = scale.reshape((1,) * (len(shape) - scale.ndim) + scale.shape)
    if isinstance(op, Conv):
        filters = place == 1 and prod(full.shape[1:]) == 1
        return full.reshape(-1, *(1,) * len(op.strides)) if filters else _CHANGES
    letters, result = op.letters[place], op.letters[2]
    used = [c for c, n in zip(letters, full.shape, strict=True) if n != 1]
    if not set(used) <= set(result):
        return _CHANGES
    order = sorted(used, key=result.index)
    flat = full.reshape([n for n in full.shape if n != 1])
    moved = flat.transpose([used.index(c) for c in order])
    extents = dict(zip(order, moved.shape, strict=True))
    return moved.reshape([extents.get(c, 1) for c in result])


_BEYOND = "the product of the scales is no number of float32"
_CHANGES = "the scale changes within a sum"


def _consumed(op: Op) -> tuple[Op, ...] | str:
    found = _factors(op)
    return found if isinstance(found, str) else op.operands


@dataclass(frozen=True)
class EightBitFloats(Rule):
    """A product of two tensors of 8-bit floats multiplies these, and scales the sums once."""

    pattern = Found((Contract, Conv), _consumed)
    types: tuple[str, ...] = TYPES

    def check(self, match: Match) -> str | None:
        parts = [quantized(o) for o in match.root.operands]
        rated = all(dtype_name(p.value.dtype) in self.types for p in parts if p is not None)
        return None if rated else "the chip does not multiply these types"

    def build(self, match: Match) -> Op:
        root = match.root
        found, parts = _factors(root), [quantized(o) for o in root.operands]
        if isinstance(found, str) or any(p is None for p in parts):
            raise TypeError("checked before")
        x, y = (p.value for p in parts if p is not None)
        factor = constant(found, F32)
        if isinstance(root, Conv):
            return Mul(replace(root, x=x, w=y), factor)
        if isinstance(root, Contract):
            return Mul(replace(root, x=x, y=y), factor)
        raise TypeError(f"{root!r} is no product")

    def example(self, rng: np.random.Generator) -> Op:
        kinds = [parse_dtype(self.types[i]) for i in rng.integers(0, len(self.types), 2)]
        x = dequantized(tensor("x", 2, 4, 8, dtype=kinds[0]), 0.25, 0)
        scale = np.exp2(rng.integers(-3, 3, (1, 5)))
        if rng.integers(2):
            w = constant(rng.normal(size=(8, 5)), kinds[1])
            return Contract(x, dequantized(w, scale, 0), "bij,jk->bki", F32)
        w = constant(rng.normal(size=(6, 2, 3)), kinds[1])
        weights = dequantized(w, scale[0, 0] * np.ones((6, 1, 1)), 0)
        return Conv(x, weights, (1,), (1,), (0,), (1,), 2, F32)


RULES: tuple[Rule, ...] = (EightBitFloats(),)
