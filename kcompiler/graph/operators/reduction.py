"""Reductions, sliding windows, scans and orders."""

from __future__ import annotations

from typing import Literal

import numpy as np

from kcompiler.graph.node import Array, Op, Tensor
from kcompiler.graph.operators.check import (
    require,
    require_axes,
    require_axis,
    require_number,
    windows,
)
from kcompiler.graph.types import I64, TensorType
from kcompiler.scalar import convert, highest, lowest, working_dtype


class Window(Op):
    """The sum or maximum over a window that slides over the spatial dimensions of x[N, C, S…].

    Positions in the padding do not count: they are 0 for a sum and below everything for a maximum.
    """

    x: Tensor
    function: Literal["max", "sum"]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    pads_low: tuple[int, ...]
    pads_high: tuple[int, ...]
    dilations: tuple[int, ...]

    def infer(self) -> TensorType:
        require_number(self, self.x)
        require(self.function in {"max", "sum"}, self, "function must be max or sum")
        require(self.x.type.rank >= 3, self, "x must be [N, C, S…]")
        out = windows(
            self,
            self.x.shape[2:],
            window=self.window,
            strides=self.strides,
            pads_low=self.pads_low,
            pads_high=self.pads_high,
            dilations=self.dilations,
        )
        return TensorType(self.x.dtype, (*self.x.shape[:2], *out))

    def evaluate(self, x: Array) -> Array:
        wide = convert(x, working_dtype(x.dtype))
        fill = lowest(wide.dtype) if self.function == "max" else 0
        pads = zip((0, 0, *self.pads_low), (0, 0, *self.pads_high), strict=True)
        result = np.pad(wide, list(pads), constant_values=fill)
        for axis in range(2, x.ndim):  # both functions separate into one dimension after the other
            result = self._along(result, axis)
        return convert(result, self.dtype)

    def _along(self, x: Array, axis: int) -> Array:
        combine = np.maximum if self.function == "max" else np.add
        i, count = axis - 2, self.shape[axis]
        reach = (count - 1) * self.strides[i] + 1
        before = (slice(None),) * axis
        total = x[(*before, slice(0, reach, self.strides[i]))].copy()
        for tap in range(1, self.window[i]):
            start = tap * self.dilations[i]
            combine(total, x[(*before, slice(start, start + reach, self.strides[i]))], out=total)
        return total


class Reduce(Op):
    """The sum, maximum, minimum or product over axes, which stay as dimensions of extent 1."""

    x: Tensor
    function: Literal["sum", "max", "min", "prod"]
    axes: tuple[int, ...]

    def infer(self) -> TensorType:
        require_number(self, self.x)
        require(self.function in {"sum", "max", "min", "prod"}, self, "function is unknown")
        require_axes(self, self.axes, self.x.type.rank)
        return TensorType(self.x.dtype, kept(self.x.shape, self.axes))

    def evaluate(self, x: Array) -> Array:
        wide = convert(x, working_dtype(x.dtype))
        return convert(np.asarray(self._reduced(wide)), self.dtype)

    def _reduced(self, x: Array) -> Array:
        axes = self.axes
        match self.function:
            case "sum":
                return np.asarray(x.sum(axes, keepdims=True, dtype=x.dtype))
            case "prod":
                return np.asarray(x.prod(axes, keepdims=True, dtype=x.dtype))
            case "max":
                return np.asarray(x.max(axes, keepdims=True, initial=lowest(x.dtype)))
            case "min":
                return np.asarray(x.min(axes, keepdims=True, initial=highest(x.dtype)))


def kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a reduction that keeps its axes."""
    return tuple(1 if i in axes else extent for i, extent in enumerate(shape))


class ArgReduce(Op):
    """Where the largest or smallest element along an axis is; the first or last of equal ones."""

    x: Tensor
    function: Literal["max", "min"]
    axis: int
    last: bool

    def infer(self) -> TensorType:
        require_number(self, self.x)
        require(self.function in {"max", "min"}, self, "function must be max or min")
        require_axis(self, self.axis, self.x.type.rank)
        require(self.x.shape[self.axis] > 0, self, "the axis must not be empty")
        return TensorType(I64, kept(self.x.shape, (self.axis,)))

    def evaluate(self, x: Array) -> Array:
        wide = convert(x, working_dtype(x.dtype))
        seen = np.flip(wide, self.axis) if self.last else wide
        find = np.argmax if self.function == "max" else np.argmin
        index = np.asarray(find(seen, self.axis, keepdims=True)).astype(I64)
        return x.shape[self.axis] - 1 - index if self.last else index


class CumSum(Op):
    """Running sums along an axis, without the element itself if `exclusive`, or in `reverse`."""

    x: Tensor
    axis: int
    exclusive: bool
    reverse: bool

    def infer(self) -> TensorType:
        require_number(self, self.x)
        require_axis(self, self.axis, self.x.type.rank)
        return self.x.type

    def evaluate(self, x: Array) -> Array:
        wide = convert(x, working_dtype(x.dtype))
        turned = np.flip(wide, self.axis) if self.reverse else wide
        total = np.cumsum(turned, self.axis, dtype=wide.dtype)
        if self.exclusive:
            total = np.roll(total, 1, self.axis)
            total[(slice(None),) * self.axis + (slice(0, 1),)] = 0
        return convert(np.flip(total, self.axis) if self.reverse else total, self.dtype)


class _TopK(Op, abstract=True):
    """The k largest or smallest elements along an axis, best first, equal ones by index."""

    x: Tensor
    k: int
    axis: int
    largest: bool

    def _shape(self) -> tuple[int, ...]:
        require_number(self, self.x)
        require_axis(self, self.axis, self.x.type.rank)
        require(0 <= self.k <= self.x.shape[self.axis], self, "k must not exceed the axis")
        return (*self.x.shape[: self.axis], self.k, *self.x.shape[self.axis + 1 :])

    def _order(self, x: Array) -> Array:
        wide = convert(x, working_dtype(x.dtype))
        if not self.largest:
            order = np.argsort(wide, self.axis, kind="stable")
        else:  # ascending order of the reversed axis, read backwards: descending, ties by index
            backwards = np.argsort(np.flip(wide, self.axis), self.axis, kind="stable")
            order = x.shape[self.axis] - 1 - np.flip(backwards, self.axis)
        return order[(slice(None),) * self.axis + (slice(0, self.k),)]


class TopKValues(_TopK):
    """The k largest (or smallest) elements along an axis, best first."""

    def infer(self) -> TensorType:
        return TensorType(self.x.dtype, self._shape())

    def evaluate(self, x: Array) -> Array:
        return np.take_along_axis(x, self._order(x), self.axis)


class TopKIndices(_TopK):
    """Where the k largest (or smallest) elements along an axis are, equal ones by index."""

    def infer(self) -> TensorType:
        return TensorType(I64, self._shape())

    def evaluate(self, x: Array) -> Array:
        return self._order(x).astype(I64)
