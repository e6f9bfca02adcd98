"""Pooling."""

from __future__ import annotations

import numpy as np

from kcompiler.frontend.helpers import wide
from kcompiler.frontend.importers.unpooling import positions_of_maxima
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.windows import Windows, read_windows
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op


def _windows(node: Node) -> Windows:
    return read_windows(node, node[0].shape[2:], node.integers("kernel_shape"))


def window(x: Op, function: str, w: Windows) -> Op:
    """A sliding sum or maximum."""
    return ops.Window(x, function, w.window, w.strides, w.low, w.high, w.dilations)  # type: ignore[arg-type]


@onnx_op("MaxPool")
def max_pool(node: Node) -> list[Op]:
    """The largest element of each window, and where it is."""
    w = _windows(node)
    largest = window(node[0], "max", w)
    if not node.wants(1):
        return [largest]
    by_columns = node.flag("storage_order")
    return [largest, positions_of_maxima(node[0], w, by_columns=by_columns)]


@onnx_op("AveragePool")
def average_pool(node: Node) -> Op:
    """The mean of each window; whether padding counts is an option."""
    w = _windows(node)
    return average(node[0], w, node)


def average(x: Op, w: Windows, node: Node) -> Op:
    """The mean of each window."""
    counts = _counts(w, node, x.shape[2:])
    return wide(x, lambda v: _scaled(window(v, "sum", w), counts))


def _scaled(total: Op, counts: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]) -> Op:
    if all((c == c[0]).all() for c in counts):
        return ops.Mul(total, build.scalar(total, 1 / float(np.prod([c[0] for c in counts]))))
    product = np.ones((), np.float64)
    for count in counts:
        product = product[..., None] * count
    return ops.Mul(total, build.constant(1 / product, total.dtype))


def _counts(
    w: Windows, node: Node, extents: tuple[int, ...]
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """How many elements each window counts, for each dimension on its own.

    What hangs over the declared padding (when rounding up) never counts.
    """
    rank = len(extents)
    padding = node.flag("count_include_pad")
    declared = w.high
    if node.flag("ceil_mode") and not node.string("auto_pad", "").startswith("SAME"):
        valid = node.string("auto_pad", "") == "VALID"
        declared = (0,) * rank if valid else node.integers("pads", (0,) * (2 * rank))[rank:]
    counts = []
    for i in range(rank):
        start, end = (-w.low[i], extents[i] + declared[i]) if padding else (0, extents[i])
        number = (extents[i] + w.low[i] + w.high[i] - w.reach[i]) // w.strides[i] + 1
        places = np.arange(number)[:, None] * w.strides[i] - w.low[i]
        taps = places + np.arange(w.window[i]) * w.dilations[i]
        counts.append(np.maximum(((taps >= start) & (taps < end)).sum(1), 1).astype(np.float64))
    return counts


@onnx_op("GlobalAveragePool")
def global_average_pool(node: Node) -> Op:
    """The mean over all spatial dimensions."""
    return wide(node[0], lambda x: build.mean(x, _spatial(x)))


@onnx_op("GlobalMaxPool")
def global_max_pool(node: Node) -> Op:
    """The maximum over all spatial dimensions."""
    return build.reduce_max(node[0], _spatial(node[0]))


@onnx_op("LpPool")
def lp_pool(node: Node) -> Op:
    """The p-norm of each window."""
    w, p = _windows(node), node.integer("p", 2)
    return wide(node[0], lambda x: root(window(power(x, p), "sum", w), p))


@onnx_op("GlobalLpPool")
def global_lp_pool(node: Node) -> Op:
    """The p-norm over all spatial dimensions."""
    p = node.integer("p", 2)
    return wide(node[0], lambda x: root(build.reduce_sum(power(x, p), _spatial(x)), p))


def power(x: Op, p: int) -> Op:
    """|x| to the power p."""
    if p == 2:
        return ops.Mul(x, x)
    return ops.Abs(x) if p == 1 else ops.Pow(ops.Abs(x), build.scalar(x, p))


def root(x: Op, p: int) -> Op:
    """The p-th root."""
    if p == 2:
        return ops.Sqrt(x)
    return x if p == 1 else ops.Pow(x, build.scalar(x, 1 / p))


def _spatial(x: Op) -> tuple[int, ...]:
    return tuple(range(2, x.type.rank))
