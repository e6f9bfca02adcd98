"""What follows an integer sum: bias in int32, one factor, rounding, saturation."""

from __future__ import annotations

from typing import cast as typed

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Add, Cast, Max, Min, Mul, Quantize, Relu, Round
from kcompiler.graph.types import F32, I32, integer_range, is_integer
from kcompiler.passes.integer.quantized import (
    I8,
    Quantized,
    dequantized,
    integers,
    known_parameters,
    parameters,
    quantize_values,
    quantized,
    scaled,
    scaled_sum,
)
from kcompiler.pattern import Found, node
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, tensor

# A bias's scale is the product of two others, which exporters may round in another way.
_SAME_SCALE = 1e-5


class IntegerBias(Rule):
    """A bias in the scale of the sums that it is added to is added to the integers."""

    pattern = node(Add)

    def check(self, match: Match) -> str | None:
        return "no bias in the scale of integer sums" if _bias(match.root) is None else None

    def build(self, match: Match) -> Op:
        found = _bias(match.root)
        if found is None:
            raise TypeError("checked before")
        sums, factor, bias = found
        return scaled(Add(sums, integers(bias, I32)), factor.value)

    def example(self, rng: np.random.Generator) -> Op:
        scale = np.exp2(rng.integers(-4, 4, (3, 1)))
        bias = dequantized(integers(rng.integers(-99, 99, (3, 1)), I32), scale, 0)
        return Add(scaled(tensor("x", 2, 3, 4, dtype=I32), scale), bias)


def _bias(op: Op) -> tuple[Op, Constant, Array] | None:
    """(sums, factor, bias) of an addition of an integer bias."""
    for left, right in (op.operands, op.operands[::-1]):
        found, parts = scaled_sum(left), quantized(right)
        if found is None or parts is None or left.shape != op.shape:
            continue
        bias = _integers_of(parts)
        if bias is not None and _scales_alike(parts.scale, found[1].value, op.shape):
            return (*found, bias)
    return None


def _integers_of(parts: Quantized) -> Array | None:
    if not isinstance(parts.value, Constant) or not parts.whole:
        return None
    values = parts.value.value.astype(np.int64) - parts.zero.astype(np.int64)
    low, high = integer_range(I32)
    fits = values.min(initial=0) >= low and values.max(initial=0) <= high
    return np.asarray(values) if fits else None


def _scales_alike(one: Array, other: Array, shape: tuple[int, ...]) -> bool:
    a, b = (np.broadcast_to(v, shape) for v in (one, other))
    first = tuple(
        slice(None) if s and n > 1 else slice(0, 1)
        for n, s in zip(shape, np.broadcast_to(one + other, shape).strides, strict=True)
    )
    return bool(np.allclose(a[first], b[first], rtol=_SAME_SCALE, atol=0))


def _chain(op: Op) -> tuple[Op, ...] | str:
    """The activation under a quantization, outermost first, and the scaled sums under it."""
    if not isinstance(op, Quantize) or parameters(op) is None or not is_integer(op.dtype):
        return "it makes no integers, or its parameters are not known"
    found: list[Op] = []
    x = op.x
    while scaled_sum(x) is None:
        if not isinstance(x, Relu | Max | Min) or _limited(x) is None:
            return "no integer sums are under it"
        found.append(x)
        x = typed("tuple[Op, Array]", _limited(x))[0]
    return (*found, x)


class Requantize(Rule):
    """Integer sums, scaled, clipped and quantized, take one factor, rounding and saturation.

    The factor is (scale of data * scale of weights) / scale of the result, in float32, as
    onnxruntime computes it; limits of the activation become limits of the integers.
    """

    pattern = Found((Quantize,), _chain)
    exclusive = True

    def build(self, match: Match) -> Op:
        root = match.node(Quantize, "root")
        *clips, last = typed("tuple[Op, ...]", _chain(root))
        sums, factor = typed("tuple[Op, Constant]", scaled_sum(last))
        scale, zero = known_parameters(root)
        low, high = _limits(root, clips)
        product = factor.value.astype(F32) / scale.reshape(()).astype(F32)
        whole: Op = Round(Mul(Cast(sums, F32), constant(product, F32)))
        if zero.any():
            whole = Add(whole, constant(zero.reshape(()), F32))
        limited = Min(Max(whole, constant(low, F32)), constant(high, F32))
        return Cast(limited, root.dtype)

    def example(self, rng: np.random.Generator) -> Op:
        sums = scaled(tensor("x", 2, 3, 4, dtype=I32), np.exp2(rng.integers(-4, 1, (3, 1))))
        limits = constant(rng.uniform(1, 9, (3, 1)), F32)
        clips = (sums, Relu(sums), Min(Max(sums, number(-1.0)), limits))
        zero = constant(int(rng.integers(-128, 128)), I8)
        return Quantize(clips[rng.integers(3)], number(0.25), zero)


def _limited(op: Op) -> tuple[Op, Array] | None:
    """(operand, limits) of an activation that limits its operand."""
    if isinstance(op, Relu):
        return op.x, np.zeros(())
    for x, limit in (op.operands, op.operands[::-1]):
        if isinstance(limit, Constant) and x.type == op.type and not np.isnan(limit.value).any():
            return x, limit.value
    return None


def _limits(root: Quantize, clips: list[Op]) -> tuple[Array, Array]:
    """The range of the integers after the activation: quantization keeps the order of numbers."""
    scale, zero = known_parameters(root)
    low, high = (np.asarray(limit, np.int64) for limit in integer_range(root.dtype))
    for clip in reversed(clips):
        limit = quantize_values(typed("tuple[Op, Array]", _limited(clip))[1], scale, zero)
        pick = np.minimum if isinstance(clip, Min) else np.maximum
        low, high = pick(low, limit), pick(high, limit)
    return _one(low), _one(high)


def _one(limits: Array) -> Array:
    """One number where all are alike."""
    return limits.reshape(-1)[0] if (limits == limits.reshape(-1)[0]).all() else limits


RULES: tuple[Rule, ...] = (IntegerBias(), Requantize())
