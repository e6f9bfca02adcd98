"""Composites: operators that chips treat as one. Computed in float32, rounded once."""

from __future__ import annotations

import math

import numpy as np

from kcompiler.graph.node import Array, Op, Tensor
from kcompiler.graph.operators.check import (
    broadcast_shape,
    require,
    require_axes,
    require_axis,
    require_float,
)
from kcompiler.graph.types import TensorType, compute_dtype
from kcompiler.scalar import convert


def _wide(x: Array) -> Array:
    return convert(x, compute_dtype(x.dtype))


def softmax(x: Array, axis: int) -> Array:
    """exp(x) over its sum along an axis, shifted by the maximum so that nothing overflows."""
    with np.errstate(all="ignore"):
        powers = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
        return np.asarray(powers / powers.sum(axis, keepdims=True))


class Softmax(Op):
    """exp(x) divided by its sum along an axis."""

    x: Tensor
    axis: int

    def infer(self) -> TensorType:
        require_float(self, self.x)
        require_axis(self, self.axis, self.x.type.rank)
        return self.x.type

    def evaluate(self, x: Array) -> Array:
        return convert(softmax(_wide(x), self.axis), self.dtype)


class LayerNorm(Op):
    """(x - mean) / sqrt(variance + epsilon) over axes, times scale, plus bias (broadcast to x)."""

    x: Tensor
    scale: Tensor | None
    bias: Tensor | None
    axes: tuple[int, ...]
    epsilon: float

    def infer(self) -> TensorType:
        require_float(self, *self.operands)
        require_axes(self, self.axes, self.x.type.rank)
        shape = broadcast_shape(self, *(o.shape for o in self.operands))
        require(shape == self.x.shape, self, "scale and bias must broadcast to x")
        return self.x.type

    def evaluate(self, x: Array, *rest: Array) -> Array:
        given = iter(map(_wide, rest))
        wide = _wide(x)
        centred = wide - _mean(wide, self.axes)
        variance = _mean(np.square(centred), self.axes)
        result = centred / np.sqrt(variance + wide.dtype.type(self.epsilon))
        result = result if self.scale is None else result * next(given)
        result = result if self.bias is None else result + next(given)
        return convert(np.asarray(result), self.dtype)


class RmsNorm(Op):
    """`x / sqrt(mean(x²) + epsilon)` over axes, times scale, which broadcasts to x."""

    x: Tensor
    scale: Tensor | None
    axes: tuple[int, ...]
    epsilon: float

    def infer(self) -> TensorType:
        require_float(self, *self.operands)
        require_axes(self, self.axes, self.x.type.rank)
        shape = broadcast_shape(self, *(o.shape for o in self.operands))
        require(shape == self.x.shape, self, "scale must broadcast to x")
        return self.x.type

    def evaluate(self, x: Array, *rest: Array) -> Array:
        wide = _wide(x)
        mean = _mean(np.square(wide), self.axes)
        result = wide / np.sqrt(mean + wide.dtype.type(self.epsilon))
        result = result if self.scale is None else result * _wide(rest[0])
        return convert(np.asarray(result), self.dtype)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean, of nothing too: numpy's warns of that."""
    count = math.prod(x.shape[a] for a in axes)
    return np.asarray(x.sum(axes, keepdims=True) / x.dtype.type(count))


class Attention(Op):
    """softmax(q kᵀ * scale + mask) v, for q[B…, Sq, D], k[B…, Sk, D], v[B…, Sk, Dv].

    The mask is added, so it is 0 or very negative; it broadcasts to [B…, Sq, Sk].
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    scale: float

    def infer(self) -> TensorType:
        require_float(self, *self.operands)
        q, k, v = self.q.shape, self.k.shape, self.v.shape
        require(min(len(q), len(k), len(v)) >= 2, self, "q, k and v must be matrices")
        require(q[:-2] == k[:-2] == v[:-2], self, "q, k and v must have equal batch dimensions")
        require(q[-1] == k[-1], self, "q and k must have equal depth")
        require(k[-2] == v[-2], self, "k and v must have equal length")
        logits = (*q[:-1], k[-2])
        if self.mask is not None:
            fits = broadcast_shape(self, self.mask.shape, logits) == logits
            require(fits, self, f"mask must broadcast to {logits}")
        return TensorType(self.q.dtype, (*q[:-1], v[-1]))

    def evaluate(self, q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
        scaled = _wide(q) * compute_dtype(q.dtype).type(self.scale)
        logits = np.matmul(scaled, np.swapaxes(_wide(k), -1, -2))
        shifted = logits if mask is None else logits + _wide(mask)
        result = np.matmul(softmax(shifted, -1), _wide(v))
        return convert(np.asarray(result), self.dtype)

    def macs(self) -> int:
        rows = math.prod(self.q.shape[:-1]) * self.k.shape[-2]
        return rows * (self.q.shape[-1] + self.v.shape[-1])
