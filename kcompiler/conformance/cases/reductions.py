"""Cases of windows, reductions, positions of extremes, running sums and sorting."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import numpy as np

from kcompiler.conformance.cases.case import Case, Sizes, case
from kcompiler.conformance.values import extremes, numbers, small
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BF16, F16, F32, I32, I64, is_float

I8, U8 = np.dtype(np.int8), np.dtype(np.uint8)
TYPES = (F32, F16, BF16, I8, U8, I32, I64)
Function = Literal["sum", "max", "min", "prod"]
_FUNCTIONS: tuple[Function, ...] = ("sum", "max", "min", "prod")
# (shape, window, strides, pads at the low ends, at the high ends, dilations)
_WINDOWS: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (1, 1)),
    ((1, 3, 9, 7), (2, 2), (2, 2), (0, 0), (0, 0), (1, 1)),
    ((2, 5, 13, 11), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)),
    ((1, 2, 8, 9), (3, 2), (1, 3), (2, 0), (0, 1), (1, 1)),
    ((1, 4, 12, 12), (3, 3), (1, 1), (2, 2), (2, 2), (2, 2)),
    ((1, 7, 7, 7), (7, 7), (1, 1), (0, 0), (0, 0), (1, 1)),
    ((1, 3, 29), (4,), (3,), (1,), (2,), (1,)),
)


def cases(sizes: Sizes) -> Iterator[Case]:
    """All of this topic."""
    yield from _windows()
    yield from _reductions(sizes)
    for dtype in (F32, F16, I8, I32, I64):
        yield from _orders(dtype, sizes)


def _windows() -> Iterator[Case]:
    for dtype in TYPES:
        for shape, *attributes in _WINDOWS:
            for function in ("max", "sum"):
                make = partial(_window, function, attributes)
                # All below zero: padding that counts as zero would be the largest.
                values = -np.abs(numbers(dtype, shape, "w")) if dtype.kind != "u" else None
                yield case(make, numbers(dtype, shape, "w") if values is None else values)


def _window(function: Literal["max", "sum"], attributes: Any, x: Op) -> Op:
    return ops.Window(x, function, *attributes)


def _reductions(sizes: Sizes) -> Iterator[Case]:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((1,), (0,)), ((131,), (0,)), ((sizes.lanes + 1, 3), (1,)), ((3, sizes.lanes + 1), (0,)),
        ((5, 7, 11), (1,)), ((5, 7, 11), (0, 2)), ((2, 3, 4, 5), (0, 1, 2, 3)), ((2, 999), (1,)),
    ]  # fmt: skip
    for dtype in TYPES:
        for function in _FUNCTIONS:
            make = partial(_reduce, function)
            for shape, axes in shapes:
                narrow = function == "prod" and not is_float(dtype)
                x = small(dtype, shape, most=1) if narrow else numbers(dtype, shape, function)
                yield case(partial(make, axes), x)
            if function in {"max", "min"}:
                yield case(partial(make, (1,)), extremes(dtype, (17, 9), "r"), what="extremes")


def _reduce(function: Function, axes: tuple[int, ...], x: Op) -> Op:
    return ops.Reduce(x, function, axes)


def _orders(dtype: np.dtype[Any], sizes: Sizes) -> Iterator[Case]:
    """Positions of extremes with ties, running sums, the largest."""
    for shape, axis in (((1,), 0), ((7, sizes.lanes + 1), 1), ((11, 5, 3), 0), ((3, 64, 2), 1)):
        for last in (False, True):
            x = small(dtype, shape, "arg")
            yield case(partial(_arg, "max", axis, last), x)
            yield case(partial(_arg, "min", axis, last), x)
    x = small(dtype, (4, 9), "cum")
    yield case(partial(_cumsum, 1, False, False), x)
    yield case(partial(_cumsum, 0, True, True), x)
    yield case(partial(_top, ops.TopKValues, 3, 1), numbers(dtype, (5, 13), "top"))
    yield case(partial(_top, ops.TopKIndices, 3, 1), numbers(dtype, (5, 13), "top"))


def _arg(function: Literal["max", "min"], axis: int, last: bool, x: Op) -> Op:
    return ops.ArgReduce(x, function, axis, last)


def _cumsum(axis: int, exclusive: bool, reverse: bool, x: Op) -> Op:
    return ops.CumSum(x, axis, exclusive, reverse)


def _top(kind: type[ops.TopKValues | ops.TopKIndices], k: int, axis: int, x: Op) -> Op:
    return kind(x, k, axis, True)
