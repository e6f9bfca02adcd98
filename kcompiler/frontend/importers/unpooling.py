"""Operators that put windows back where they came from, and say where maxima were."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import plus, table_size
from kcompiler.frontend.importers.scatter import scattered
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.windows import Windows, read_windows
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import I64, is_float
from kcompiler.scalar import lowest

MOST_TAPS = 81
"""Elements of a window that are compared one after the other."""


def positions_of_maxima(x: Op, w: Windows, *, by_columns: bool) -> Op:
    """Where the first maximum of each window is, counted in the whole tensor."""
    if math.prod(w.window) > MOST_TAPS:
        raise NotExpressible(
            f"the positions of maxima in windows of more than {MOST_TAPS} elements"
        )
    rank, extents = len(w.window), x.shape[2:]
    below = -np.inf if is_float(x.dtype) else int(lowest(x.dtype))
    padded = build.pad(x, (0, 0, *w.low), (0, 0, *w.high), below)
    sizes = [(padded.shape[2 + i] - w.reach[i]) // w.strides[i] + 1 for i in range(rank)]
    order = range(rank) if not by_columns else range(rank)[::-1]
    strides = [0] * rank
    step = 1
    for i in list(order)[::-1]:
        strides[i], step = step, step * extents[i]
    table_size(*sizes)
    best: Op | None = None
    where: Op | None = None
    for tap in product(*map(range, w.window)):
        starts = [t * d for t, d in zip(tap, w.dilations, strict=True)]
        seen = build.slice_(padded, (0, 0, *starts), (*x.shape[:2], *sizes), (1, 1, *w.strides))
        place = np.zeros(sizes, np.int64)
        for i in range(rank):
            along = np.arange(sizes[i]) * w.strides[i] - w.low[i] + starts[i]
            place += (along * strides[i]).reshape(-1, *(1,) * (rank - i - 1))
        here = build.constant(place, I64)
        if best is None or where is None:
            best, where = seen, build.broadcast(here, (1, 1, *sizes))
        else:
            better = ops.Less(best, seen)
            best, where = ops.Where(better, seen, best), ops.Where(better, here, where)
    if where is None:
        raise ValueError("a window without elements")
    planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *(1,) * rank)
    return ops.Add(where, build.constant(planes * math.prod(extents), I64))


@onnx_op("MaxUnpool")
def max_unpool(node: Node) -> Op:
    """Each element back at its position, zeros elsewhere; a larger shape has zeros behind."""
    x, at = node[0], build.cast(node[1], I64)
    kernel = node.integers("kernel_shape")
    w = read_windows(node, x.shape[2:], kernel)
    sizes = [
        (n - 1) * s - low - high + k
        for n, s, low, high, k in zip(x.shape[2:], w.strides, w.low, w.high, kernel, strict=True)
    ]
    planes, area = math.prod(x.shape[:2]), math.prod(sizes)
    table_size(planes, area)
    begin = build.constant(np.arange(planes)[:, None] * area, I64)
    local = ops.Sub(build.reshape(at, (planes, math.prod(x.shape[2:]))), begin)
    zeros = build.constant(np.zeros((planes, area)), x.dtype)
    values = build.reshape(x, local.shape)
    found = build.reshape(scattered(zeros, local, values, 1), (*x.shape[:2], *sizes))
    wanted = node.integers_of(2) or found.shape
    behind = [e - n for e, n in zip(wanted, found.shape, strict=True)]
    if min(behind) < 0:
        raise NotExpressible(f"MaxUnpool into {list(wanted)}, less than its windows cover")
    return build.pad(found, (0,) * len(behind), behind)


@onnx_op("Col2Im")
def col2im(node: Node) -> Op:
    """Columns of blocks added up where the blocks lie in the image, one tap after the other."""
    x, image, block = node[0], node.integers_of(1) or (), node.integers_of(2) or ()
    windows = read_windows(node, image, block)
    taps = math.prod(block)
    if taps > MOST_TAPS:
        raise NotExpressible(f"Col2Im of blocks of more than {MOST_TAPS} elements")
    padded = [e + a + b for e, a, b in zip(image, windows.low, windows.high, strict=True)]
    grid = [
        (n - r) // s + 1 for n, r, s in zip(padded, windows.reach, windows.strides, strict=True)
    ]
    apart = build.reshape(x, (x.shape[0], x.shape[1] // taps, taps, *grid))
    total: Op | None = None
    for number, tap in enumerate(product(*map(range, block))):
        part = build.squeeze(build.slice_axis(apart, 2, number, 1), [2])
        low = [t * d for t, d in zip(tap, windows.dilations, strict=True)]
        spread = _spread(part, windows.strides)
        high = [n - a - e for n, a, e in zip(padded, low, spread.shape[2:], strict=True)]
        total = plus(build.pad(spread, (0, 0, *low), (0, 0, *high)), total)
    if total is None:
        raise ValueError("a block without elements")
    return build.slice_(total, (0, 0, *windows.low), (*total.shape[:2], *image))


def _spread(x: Op, strides: tuple[int, ...]) -> Op:
    """Zeros between the elements of each spatial dimension."""
    for axis, stride in enumerate(strides, 2):
        extent = x.shape[axis]
        apart = build.expand_dims(x, [axis + 1])
        high = [0] * apart.type.rank
        high[axis + 1] = stride - 1
        filled = build.pad(apart, (0,) * apart.type.rank, high)
        merged = (*x.shape[:axis], extent * stride, *x.shape[axis + 1 :])
        x = build.slice_axis(build.reshape(filled, merged), axis, 0, (extent - 1) * stride + 1)
    return x
