"""Reductions, windows, scans and orders: floats in float32, rounded once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import exports
from kcompiler.frontend.exporters.movement import cut
from kcompiler.graph.operators import (
    ArgReduce,
    CumSum,
    Reduce,
    TopKIndices,
    TopKValues,
    Window,
)
from kcompiler.graph.operators.reduction import kept
from kcompiler.graph.types import F32, I64, is_float
from kcompiler.scalar import convert, lowest, working_dtype


def _wide(net: Net, x: str) -> str:
    return net.cast(x, working_dtype(net.dtypes[x]))


@exports(Reduce)
def reduce(net: Net, op: Reduce, x: str) -> str:
    """A reduction that keeps its axes; over none of them it changes nothing."""
    if not op.axes:
        return x
    wide = _wide(net, x)
    if op.function in {"sum", "prod"} and not is_float(net.dtypes[wide]):
        by = integer_sum if op.function == "sum" else _integer_product
        return net.cast(by(net, wide, op.x.shape, op.axes), op.dtype)
    name = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd"}
    return net.cast(net(name[op.function], wide, net.ints(op.axes), keepdims=1), op.dtype)


def integer_sum(net: Net, x: str, shape: tuple[int, ...], axes: Sequence[int]) -> str:
    """A product with ones: onnxruntime's ReduceSum goes through float64 and saturates."""
    rows, dtype = _as_rows(net, x, shape, axes), net.dtypes[x]
    ones = net.constant(np.ones((math.prod(shape[a] for a in axes), 1), dtype))
    return net.reshape(net("MatMul", rows, ones), kept(shape, tuple(axes)))


def _integer_product(net: Net, x: str, shape: tuple[int, ...], axes: Sequence[int]) -> str:
    """Halves multiplied until one is left: ReduceProd goes through float64, too."""
    rows, count = _as_rows(net, x, shape, axes), math.prod(shape[a] for a in axes)
    height = math.prod(kept(shape, tuple(axes)))
    while count > 1:
        half = count // 2
        low, high, rest = (
            cut(net, rows, (0, a), (height, b), (1, 1))
            for a, b in ((0, half), (half, 2 * half), (2 * half, count))
        )
        paired = net("Mul", low, high)
        rows = net("Concat", paired, rest, axis=1) if count % 2 else paired
        count -= half
    return net.reshape(rows, kept(shape, tuple(axes)))


def _as_rows(net: Net, x: str, shape: tuple[int, ...], axes: Sequence[int]) -> str:
    """A matrix whose rows are what becomes one element."""
    rest = [a for a in range(len(shape)) if a not in axes]
    moved = net("Transpose", x, perm=(*rest, *axes))
    return net.reshape(
        moved, (math.prod(shape[a] for a in rest), math.prod(shape[a] for a in axes))
    )


@exports(ArgReduce)
def arg_reduce(net: Net, op: ArgReduce, x: str) -> str:
    """The place of the largest or smallest."""
    name = {"max": "ArgMax", "min": "ArgMin"}[op.function]
    last = int(op.last)
    return net(name, _wide(net, x), axis=op.axis, keepdims=1, select_last_index=last)


@exports(CumSum)
def cumsum(net: Net, op: CumSum, x: str) -> str:
    """Running sums."""
    axis = net.constant(np.array(op.axis, I64))
    flags = {"exclusive": int(op.exclusive), "reverse": int(op.reverse)}
    return net.cast(net("CumSum", _wide(net, x), axis, **flags), op.dtype)


@exports(TopKValues)
def top_values(net: Net, op: TopKValues, x: str) -> str:
    """The best elements; with `top_indices` of the same operand it is one node."""
    return net.cast(_top(net, op, x)[0], op.dtype)


@exports(TopKIndices)
def top_indices(net: Net, op: TopKIndices, x: str) -> str:
    """Where the best elements are."""
    return _top(net, op, x)[1]


def _top(net: Net, op: TopKValues | TopKIndices, x: str) -> tuple[str, ...]:
    attributes = {"axis": op.axis, "largest": int(op.largest), "sorted": 1}
    return net.results("TopK", _wide(net, x), net.ints([op.k]), **attributes)


@exports(Window)
def window(net: Net, op: Window, x: str) -> str:
    """A sum of float32 is a convolution of each channel with ones, a maximum is MaxPool."""
    wide = _wide(net, x)
    if op.function == "sum" and net.dtypes[wide] == F32:
        return net.cast(_summed(net, op, wide), op.dtype)
    inside = all(max(p) < k for *p, k in zip(op.pads_low, op.pads_high, op.window, strict=True))
    if op.function == "max" and is_float(net.dtypes[wide]) and inside:
        return net.cast(net("MaxPool", wide, kernel_shape=op.window, **_sliding(op)), op.dtype)
    return net.cast(_by_axes(net, op, wide), op.dtype)


def _sliding(op: Window) -> dict[str, tuple[int, ...]]:
    pads = (*op.pads_low, *op.pads_high)
    return {"strides": op.strides, "pads": pads, "dilations": op.dilations}


def _summed(net: Net, op: Window, x: str) -> str:
    channels = op.x.shape[1]
    ones = net.constant(np.ones((channels, 1, *op.window), F32))
    return net("Conv", x, ones, group=channels, **_sliding(op))


def _by_axes(net: Net, op: Window, x: str) -> str:
    """One dimension after the other, for every type and any padding."""
    dtype = net.dtypes[x]
    fill = lowest(dtype) if op.function == "max" else 0
    pads = net.ints([0, 0, *op.pads_low, 0, 0, *op.pads_high])
    result = net("Pad", x, pads, net.constant(convert(np.asarray(fill), dtype)))
    extents = zip(op.pads_low, op.x.shape[2:], op.pads_high, strict=True)
    shape = [*op.x.shape[:2], *map(sum, extents)]
    for i, count in enumerate(op.shape[2:]):
        result = _along(net, op, result, shape, i)
        shape[2 + i] = count
    return result


def _along(net: Net, op: Window, x: str, shape: list[int], i: int) -> str:
    name = {"max": "Max", "sum": "Add"}[op.function]
    reach = (op.shape[2 + i] - 1) * op.strides[i] + 1
    steps = [1] * len(shape)
    steps[2 + i] = op.strides[i]
    total = ""
    for tap in range(op.window[i]):
        starts, ends = [0] * len(shape), [*shape]
        starts[2 + i] = tap * op.dilations[i]
        ends[2 + i] = starts[2 + i] + reach
        part = cut(net, x, starts, ends, steps)
        total = net(name, total, part) if total else part
    return total
