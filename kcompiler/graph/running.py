"""Running sums and products without an operator for them: reductions of what a mask lets through.

Element i is the reduction over all j of x[j] where the mask has j up to i, and of the neutral
element elsewhere. Nothing is multiplied by zero, so infinities and NaN reach only what follows
them. A long axis is cut into blocks, whose totals run in the same way.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BOOL
from kcompiler.scalar import working_dtype

Function = Literal["sum", "prod"]

DIRECT = 128
"""The longest axis that is not cut: its mask has the square of that many elements."""
BLOCK = 64


def running(x: Op, axis: int, function: Function, *, exclusive: bool, reverse: bool) -> Op:
    """The running sum or product along an axis, of x's type; sums are kept in its working type."""
    wide = build.cast(x, working_dtype(x.dtype))
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    rows = build.reshape(wide, (before, x.shape[axis], after))
    found = _rows(rows, function, exclusive=exclusive, reverse=reverse)
    return build.cast(build.reshape(found, x.shape), x.dtype)


def _rows(x: Op, function: Function, *, exclusive: bool, reverse: bool) -> Op:
    before, count, after = x.shape
    if count <= DIRECT:
        return _masked(x, function, exclusive=exclusive, reverse=reverse)
    blocks = -(-count // BLOCK)
    filled = build.pad(x, (0, 0, 0), (0, blocks * BLOCK - count, 0), _neutral(function))
    apart = build.reshape(filled, (before * blocks, BLOCK, after))
    inner = _masked(apart, function, exclusive=exclusive, reverse=reverse)
    totals = build.reshape(ops.Reduce(apart, function, (1,)), (before, blocks, after))
    reached = _rows(totals, function, exclusive=True, reverse=reverse)
    combine = ops.Add if function == "sum" else ops.Mul
    whole = combine(
        build.reshape(inner, (before, blocks, BLOCK, after)),
        build.reshape(reached, (before, blocks, 1, after)),
    )
    joined = build.reshape(whole, (before, blocks * BLOCK, after))
    return build.slice_axis(joined, 1, 0, count)


def _masked(x: Op, function: Function, *, exclusive: bool, reverse: bool) -> Op:
    before, count, after = x.shape
    place = np.arange(count)
    result, element = place[:, None, None], place[None, :, None]
    if reverse:
        result, element = element, result
    mask = build.constant(element < result if exclusive else element <= result, BOOL)
    each = build.reshape(x, (before, 1, count, after))
    chosen = ops.Where(mask, each, build.scalar(x, _neutral(function)))
    return build.reshape(ops.Reduce(chosen, function, (2,)), (before, count, after))


def _neutral(function: Function) -> int:
    return 0 if function == "sum" else 1
