"""Data movement: operators that only rearrange, select or repeat elements."""

from __future__ import annotations

import math

import numpy as np

from kcompiler.graph.node import Array, Op, Tensor
from kcompiler.graph.operators.check import (
    broadcast_shape,
    require,
    require_axis,
    require_lengths,
)
from kcompiler.graph.types import TensorType, is_integer
from kcompiler.scalar import convert


class Reshape(Op):
    """The same elements in row-major order under another shape."""

    x: Tensor
    shape: tuple[int, ...]

    def infer(self) -> TensorType:
        require(math.prod(self.shape) == self.x.type.size, self, "the number of elements must stay")
        return TensorType(self.x.dtype, self.shape)

    def evaluate(self, x: Array) -> Array:
        return x.reshape(self.shape)


class Transpose(Op):
    """Dimension i of the result is dimension perm[i] of x."""

    x: Tensor
    perm: tuple[int, ...]

    def infer(self) -> TensorType:
        permutes = sorted(self.perm) == list(range(self.x.type.rank))
        require(permutes, self, "perm must be a permutation of the dimensions")
        return TensorType(self.x.dtype, tuple(self.x.shape[p] for p in self.perm))

    def evaluate(self, x: Array) -> Array:
        return x.transpose(self.perm)


class Slice(Op):
    """Element i of a dimension is element starts + i * steps of x; steps may be negative."""

    x: Tensor
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self) -> TensorType:
        rank = self.x.type.rank
        require_lengths(self, rank, starts=self.starts, sizes=self.sizes, steps=self.steps)
        for extent, start, size, step in zip(
            self.x.shape, self.starts, self.sizes, self.steps, strict=True
        ):
            require(step != 0 and size >= 0, self, "steps must not be 0, sizes not negative")
            last = start + (size - 1) * step
            inside = size == 0 or (0 <= start < extent and 0 <= last < extent)
            require(inside, self, f"elements {start}..{last} are outside 0..{extent - 1}")
        return TensorType(self.x.dtype, self.sizes)

    def evaluate(self, x: Array) -> Array:
        ranges = zip(self.starts, self.sizes, self.steps, strict=True)
        return x[tuple(_range(*r) for r in ranges)]


def _range(start: int, size: int, step: int) -> slice:
    stop = start + size * step
    return slice(0, 0) if size == 0 else slice(start, stop if stop >= 0 else None, step)


class Pad(Op):
    """`x` with `low` and `high` elements of `value` before and after each dimension."""

    x: Tensor
    low: tuple[int, ...]
    high: tuple[int, ...]
    value: float | int

    def infer(self) -> TensorType:
        require_lengths(self, self.x.type.rank, low=self.low, high=self.high)
        require(all(p >= 0 for p in (*self.low, *self.high)), self, "pads must not be negative")
        extents = zip(self.low, self.x.shape, self.high, strict=True)
        return TensorType(self.x.dtype, tuple(a + s + b for a, s, b in extents))

    def evaluate(self, x: Array) -> Array:
        result = np.full(self.shape, convert(np.asarray(self.value), self.dtype))
        inner = zip(self.low, x.shape, strict=True)
        result[tuple(slice(a, a + s) for a, s in inner)] = x
        return result


class Concat(Op):
    """Tensors one after the other along an axis."""

    xs: tuple[Tensor, ...]
    axis: int

    def infer(self) -> TensorType:
        require(len(self.xs) > 0, self, "there must be an operand")
        first = self.xs[0].type
        require_axis(self, self.axis, first.rank)
        around = {(x.dtype, x.type.rank, self._around(x.shape)) for x in self.xs}
        require(len(around) == 1, self, "operands must agree in type and in all other dimensions")
        total = sum(x.shape[self.axis] for x in self.xs)
        before, after = self._around(first.shape)
        return TensorType(first.dtype, (*before, total, *after))

    def evaluate(self, *values: Array) -> Array:
        return np.concatenate(values, self.axis)

    def _around(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return shape[: self.axis], shape[self.axis + 1 :]


class Broadcast(Op):
    """`x` repeated to a shape by numpy's rule."""

    x: Tensor
    shape: tuple[int, ...]

    def infer(self) -> TensorType:
        fits = broadcast_shape(self, self.x.shape, self.shape) == self.shape
        require(fits, self, "x must broadcast to the shape")
        return TensorType(self.x.dtype, self.shape)

    def evaluate(self, x: Array) -> Array:
        return np.broadcast_to(x, self.shape)


class Gather(Op):
    """The slices of x at `indices` along an axis; negative indices count from the end."""

    x: Tensor
    indices: Tensor
    axis: int

    def infer(self) -> TensorType:
        require_axis(self, self.axis, self.x.type.rank)
        require(is_integer(self.indices.dtype), self, "indices must be integers")
        before, after = self.x.shape[: self.axis], self.x.shape[self.axis + 1 :]
        return TensorType(self.x.dtype, (*before, *self.indices.shape, *after))

    def evaluate(self, x: Array, indices: Array) -> Array:
        return np.asarray(np.take(x, indices.astype(np.int64), self.axis))
