"""Convolution and its transpose."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import channels
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.windows import Windows, read_windows
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import I64


@onnx_op("Conv")
def conv(node: Node) -> Op:
    """A convolution of 1 to 3 dimensions, and the bias."""
    x, w, bias = node[0], node[1], node.get(2)
    y = convolved(node, x, w, x.dtype)
    return y if bias is None else ops.Add(y, channels(bias, y.type.rank))


def convolved(node: Node, x: Op, w: Op, dtype: np.dtype[np.generic], fill: int = 0) -> Op:
    """The convolution without bias; `fill` is what the padding holds."""
    _check_rank(x, w)
    kernel = node.integers("kernel_shape", w.shape[2:])
    if kernel != w.shape[2:]:
        raise ValueError(f"kernel_shape {list(kernel)}, but weights {w.type}")
    windows = read_windows(node, x.shape[2:], kernel)
    low, high = windows.low, windows.high
    if fill or min((*low, *high)) < 0:
        x, low, high = _padded(x, low, high, fill)
    group = node.integer("group", 1)
    return ops.Conv(x, w, windows.strides, low, high, windows.dilations, group, dtype)


def _check_rank(x: Op, w: Op) -> None:
    if x.type.rank != w.type.rank or x.type.rank < 3:
        raise ValueError(f"a convolution of {x.type} with {w.type}")
    if x.type.rank > 5:
        raise NotExpressible("convolutions have at most 3 dimensions")


def _padded(
    x: Op, low: tuple[int, ...], high: tuple[int, ...], fill: int
) -> tuple[Op, tuple[int, ...], tuple[int, ...]]:
    """X with its padding made explicit; negative padding cuts."""
    starts = (0, 0, *(max(-p, 0) for p in low))
    ends = (0, 0, *(max(-p, 0) for p in high))
    sizes = [e - a - b for e, a, b in zip(x.shape, starts, ends, strict=True)]
    cut = build.slice_(x, starts, sizes)
    before, after = (0, 0, *(max(p, 0) for p in low)), (0, 0, *(max(p, 0) for p in high))
    zeros = (0,) * len(low)
    return build.pad(cut, before, after, fill), zeros, zeros


@onnx_op("ConvTranspose")
def conv_transpose(node: Node) -> Op:
    """One convolution that computes all sub-pixels as channels, then interleaves them.

    Output o of one dimension is the sum over taps t with o + low = i * stride + t * dilation. For
    each phase o % stride these taps are a small convolution of their own.
    """
    x, w, bias = node[0], node[1], node.get(2)
    _check_rank(x, w)
    group, rank = node.integer("group", 1), x.type.rank - 2
    if group < 1 or w.shape[0] != x.shape[1] or x.shape[1] % group:
        raise ValueError(f"{x.type} cannot be taken by weights {w.type} in {group} groups")
    plain, out = _transposed_windows(node, x.shape[2:], w.shape[2:])
    taps = [_Taps.of(plain, i, x.shape[2 + i], out[i]) for i in range(rank)]
    y = _phases(x, _phase_weights(w, taps, group), taps, group)
    filters = w.shape[1] * group
    split = build.reshape(y, (y.shape[0], filters, *plain.strides, *y.shape[2:]))
    pairs = [axis for i in range(rank) for axis in (2 + rank + i, 2 + i)]
    merged = [q * s for q, s in zip(y.shape[2:], plain.strides, strict=True)]
    whole = build.reshape(build.transpose(split, (0, 1, *pairs)), (*split.shape[:2], *merged))
    result = build.slice_(whole, (0,) * (rank + 2), (*whole.shape[:2], *out))
    return result if bias is None else ops.Add(result, channels(bias, rank + 2))


def _transposed_windows(
    node: Node, extents: tuple[int, ...], window: tuple[int, ...]
) -> tuple[Windows, tuple[int, ...]]:
    """The windows, with the padding that is cut at the low end, and the output's extents."""
    rank = len(extents)
    plain = read_windows(_without_auto_pad(node), extents, window)
    extra = node.integers("output_padding", (0,) * rank)
    auto = node.string("auto_pad", "NOTSET")
    full = [
        s * (n - 1) + o + r
        for s, n, o, r in zip(plain.strides, extents, extra, plain.reach, strict=True)
    ]
    if node.has("output_shape"):
        out = node.integers("output_shape")[-rank:]
    elif auto in {"SAME_UPPER", "SAME_LOWER"}:
        out = tuple(n * s for n, s in zip(extents, plain.strides, strict=True))
    else:
        low, high = ((0,) * rank,) * 2 if auto == "VALID" else (plain.low, plain.high)
        out = tuple(f - a - b for f, a, b in zip(full, low, high, strict=True))
        return _checked(Windows(window, plain.strides, plain.dilations, low, high), out)
    total = [max(0, f - o) for f, o in zip(full, out, strict=True)]
    low = tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total)
    return _checked(Windows(window, plain.strides, plain.dilations, low, low), out)


def _checked(windows: Windows, out: tuple[int, ...]) -> tuple[Windows, tuple[int, ...]]:
    if min(out) < 1:
        raise ValueError(f"the output would have the extents {list(out)}")
    return windows, out


def _without_auto_pad(node: Node) -> Node:
    hidden = {"auto_pad", "ceil_mode"}
    kept = {name: a for name, a in node.attributes.items() if name not in hidden}
    return Node(node.proto, node.name, node.opset, node.operands, kept, node.decode)


class _Taps:
    """One dimension of a transposed convolution: which tap each phase uses at which input offset.

    `table[phase, j]` is the tap at input offset `first + j`, or the window's size for none.
    """

    def __init__(self, table: np.ndarray[tuple[int, ...], np.dtype[np.int64]], low: int, high: int):
        self.table = table
        self.low = low
        self.high = high

    @classmethod
    def of(cls, windows: Windows, axis: int, extent: int, out: int) -> _Taps:
        """The taps of one dimension."""
        window, stride = windows.window[axis], windows.strides[axis]
        dilation, low = windows.dilations[axis], windows.low[axis]
        used = [
            (phase, (low + phase - tap * dilation) // stride, tap)
            for phase, tap in product(range(stride), range(window))
            if (low + phase - tap * dilation) % stride == 0
        ]
        offsets = [offset for _, offset, _ in used]
        first, last = min(offsets), max(offsets)
        table = np.full((stride, last - first + 1), window, np.int64)
        for phase, offset, tap in used:
            table[phase, offset - first] = tap
        count = -(-out // stride)
        return cls(table, -first, count - 1 + last - (extent - 1))


def _phase_weights(w: Op, taps: list[_Taps], group: int) -> Op:
    """[C, M/g, *K] -> [M * phases, C/g, *taps], with 0 where a phase has no tap."""
    window = w.shape[2:]
    flat = build.reshape(w, (*w.shape[:2], math.prod(window)))
    none = math.prod(window)
    index = np.zeros((1, 1), np.int64)
    absent = np.zeros((1, 1), bool)
    for extent, axis in zip(window, taps, strict=True):
        phases = axis.table.shape[0]
        index = (index[:, None, :, None] * extent + axis.table[None, :, None, :]).reshape(
            index.shape[0] * phases, -1
        )
        absent = (absent[:, None, :, None] | (axis.table == extent)[None, :, None, :]).reshape(
            index.shape
        )
    index[absent] = none
    picked = build.gather(build.pad(flat, (0, 0, 0), (0, 0, 1)), build.constant(index, I64), 2)
    c, m, phases, count = picked.shape
    apart = build.reshape(picked, (group, c // group, m, phases, count))
    moved = build.transpose(apart, (0, 2, 3, 1, 4))
    sizes = [axis.table.shape[1] for axis in taps]
    return build.reshape(moved, (group * m * phases, c // group, *sizes))


def _phases(x: Op, weights: Op, taps: list[_Taps], group: int) -> Op:
    ones = (1,) * len(taps)
    x, low, high = _cut(x, [t.low for t in taps], [t.high for t in taps])
    return ops.Conv(x, weights, ones, low, high, ones, group, x.dtype)


def _cut(x: Op, low: list[int], high: list[int]) -> tuple[Op, tuple[int, ...], tuple[int, ...]]:
    """Negative pads cut the input; the others remain."""
    starts = (0, 0, *(max(-p, 0) for p in low))
    ends = (0, 0, *(max(-p, 0) for p in high))
    sizes = [e - a - b for e, a, b in zip(x.shape, starts, ends, strict=True)]
    positive = tuple(max(p, 0) for p in low), tuple(max(p, 0) for p in high)
    return build.slice_(x, starts, sizes), *positive
