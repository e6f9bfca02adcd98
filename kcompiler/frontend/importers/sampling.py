"""Operators that read between the elements of a tensor, at places that are data.

Positions are computed in float32 and become indices of rows (one row holds all channels of a
place), which are gathered, weighted and added. What lies outside is another row or zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import channels, plus
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.windows import read_windows
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import F32, I64, is_float

CUBIC = -0.75
_REACH = 1e9
"""Positions are cut here: beyond, and as NaN, they are no index."""


@dataclass(frozen=True)
class Tap:
    """One of the elements that a position reads along a dimension: where, whether, how much."""

    index: Op
    inside: Op | None = None
    weight: Op | None = None


@dataclass(frozen=True)
class Edge:
    """What lies beyond the elements of a dimension: `zeros`, `border` or `reflection`."""

    extent: int
    padding: str
    low: float
    high: float

    def tap(self, place: Op, weight: Op | None) -> Tap:
        """The element at an integer position, given as float32."""
        last = build.scalar(place, self.extent - 1)
        zero = build.scalar(place, 0)
        inside = None
        if self.padding == "zeros":
            inside = ops.And(ops.LessEqual(zero, place), ops.LessEqual(place, last))
        elif self.padding == "reflection":
            place = self.reflected(place)
        index = build.cast(ops.Min(ops.Max(place, zero), last), I64)
        return Tap(index, inside, weight)

    def reflected(self, x: Op) -> Op:
        """A position mirrored at both ends until it lies between them."""
        span = self.high - self.low
        if span <= 0:
            return build.broadcast(build.scalar(x, self.low), x.shape)
        low, full = build.scalar(x, self.low), build.scalar(x, 2 * span)
        away = ops.Fmod(ops.Abs(ops.Sub(x, low)), full)
        return ops.Add(low, ops.Min(away, ops.Sub(full, away)))

    def placed(self, x: Op) -> Op:
        """A position as the interpolation takes it."""
        if self.padding == "zeros":
            return x
        outside = ops.Or(
            ops.Less(x, build.scalar(x, self.low)), ops.Less(build.scalar(x, self.high), x)
        )
        if self.padding == "reflection":
            return ops.Where(outside, self.reflected(x), x)
        last = build.scalar(x, self.extent - 1)
        return ops.Where(outside, ops.Min(ops.Max(x, build.scalar(x, 0)), last), x)


@onnx_op("GridSample")
def grid_sample(node: Node) -> Op:
    """Each place of a grid, given from -1 to 1 with the last dimension first."""
    x, grid = node[0], node[1]
    mode = node.string("mode", "linear").removeprefix("bi")
    extents, padding = x.shape[2:], node.string("padding_mode", "zeros")
    if mode not in _TAPS or padding not in {"zeros", "border", "reflection"}:
        raise ValueError(f"GridSample cannot be {mode} with {padding}")
    if not is_float(x.dtype) or grid.shape[-1] != len(extents):
        raise NotExpressible(f"GridSample of {x.type} at {grid.type}")
    corners = node.flag("align_corners")
    places = math.prod(grid.shape[1:-1])
    flat = build.cast(build.reshape(grid, (grid.shape[0], places, len(extents))), F32)
    taps = []
    for i, extent in enumerate(extents):
        part = build.slice_axis(flat, 2, len(extents) - 1 - i, 1)
        number = build.reshape(part, (grid.shape[0], places))
        low, high = (0.0, extent - 1.0) if corners else (-0.5, extent - 0.5)
        edge = Edge(extent, padding, low, high)
        place = _position(number, extent, corners=corners)
        bounded = mode == "cubic" and padding == "border"  # each of its taps is, as in PyTorch
        taps.append(_TAPS[mode](edge, place if bounded else edge.placed(place)))
    base = np.arange(x.shape[0])[:, None] * math.prod(extents)
    found = sampled(by_rows(x), base, taps, extents)
    back = build.transpose(found, (0, 2, 1))
    return build.cast(build.reshape(back, (*x.shape[:2], *grid.shape[1:-1])), x.dtype)


@onnx_op("DeformConv")
def deform_conv(node: Node) -> Op:
    """A convolution whose taps are moved by offsets: what they read is sampled, then contracted."""
    x, w, offset = node[0], node[1], node[2]
    if x.type.rank != 4:
        raise NotExpressible("DeformConv of other than two dimensions")
    groups, parts = node.integer("group", 1), node.integer("offset_group", 1)
    windows = read_windows(node, x.shape[2:], node.integers("kernel_shape", w.shape[2:]))
    count, size = math.prod(windows.window), offset.shape[2:]
    shape = (x.shape[0], parts, count, math.prod(size))
    moves = build.cast(build.reshape(offset, (*shape[:3], 2, shape[3])), F32)
    steps = list(product(*map(range, windows.window)))
    taps = []
    for i, extent in enumerate(x.shape[2:]):
        step = np.array([s[i] for s in steps]) * windows.dilations[i] - windows.low[i]
        begin = np.broadcast_to(
            (np.arange(size[i]) * windows.strides[i]).reshape(-1, *(1,) * (1 - i)), size
        )
        fixed = build.constant((step[:, None] + begin.reshape(1, -1)).astype(np.float32), F32)
        move = build.reshape(build.slice_axis(moves, 3, i, 1), shape)
        taps.append(linear(Edge(extent, "zeros", 0, extent - 1.0), ops.Add(move, fixed)))
    apart = build.reshape(x, (x.shape[0] * parts, x.shape[1] // parts, *x.shape[2:]))
    base = np.arange(x.shape[0] * parts).reshape(x.shape[0], parts, 1, 1)
    found = sampled(by_rows(apart), base * math.prod(x.shape[2:]), taps, x.shape[2:])
    if node.get(4) is not None:
        found = ops.Mul(found, build.reshape(node[4], (*shape, 1)))
    # [batch, part, tap, place, channel of a part] -> [batch, group, channel of a group, tap, place]
    moved = build.transpose(found, (0, 1, 4, 2, 3))
    inner = x.shape[1] // groups
    columns = build.reshape(moved, (x.shape[0], groups, inner, count, shape[3]))
    filters = build.reshape(w, (groups, w.shape[0] // groups, inner, count))
    columns = build.cast(columns, x.dtype)
    sums = ops.Contract(columns, filters, "ngckp,gmck->ngmp", x.dtype)
    y = build.reshape(sums, (x.shape[0], w.shape[0], *size))
    bias = node.get(3)
    return plus(y, None if bias is None else channels(bias, 4))


def sampled(
    rows: Op, base: Op | np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    taps: Sequence[Sequence[Tap]], extents: Sequence[int],
    combine: Callable[[Op, Op], Op] = ops.Add,
) -> Op:  # fmt: skip
    """The weighted rows of all combinations of taps, added up: [..., channels]."""
    begin = base if isinstance(base, Op) else build.constant(base, I64)
    strides = [math.prod(extents[i + 1 :]) for i in range(len(extents))]
    values = [_value(rows, begin, chosen, strides) for chosen in product(*taps)]
    return reduce(combine, values)


def _value(rows: Op, begin: Op, chosen: Sequence[Tap], strides: Sequence[int]) -> Op:
    """The row that taps of all dimensions lead to, with their weights."""
    at = begin
    for tap, stride in zip(chosen, strides, strict=True):
        at = ops.Add(at, ops.Mul(tap.index, build.constant(stride, I64)))
    value = build.cast(build.gather(rows, at, 0), F32)
    for tap in chosen:
        if tap.inside is not None:
            inside = build.expand_dims(tap.inside, [-1])
            value = ops.Where(inside, value, build.scalar(value, 0))
    for tap in chosen:
        if tap.weight is not None:
            value = ops.Mul(value, build.expand_dims(tap.weight, [-1]))
    return value


def by_rows(x: Op) -> Op:
    """[batch, channels, *places] as [batch * places, channels]."""
    moved = build.transpose(x, (0, *range(2, x.type.rank), 1))
    return build.reshape(moved, (x.type.size // x.shape[1], x.shape[1]))


def _position(number: Op, extent: int, *, corners: bool) -> Op:
    """From -1 to 1, to an index of an element, or between two."""
    shifted = ops.Add(number, build.scalar(number, 1))
    if corners:
        place: Op = ops.Mul(
            ops.Mul(shifted, build.scalar(number, 0.5)), build.scalar(number, extent - 1)
        )
    else:
        wide = ops.Sub(ops.Mul(shifted, build.scalar(number, extent)), build.scalar(number, 1))
        place = ops.Mul(wide, build.scalar(number, 0.5))
    reach = build.scalar(number, _REACH)
    return ops.Min(ops.Max(place, ops.Neg(reach)), reach)


def _nearest(edge: Edge, x: Op) -> list[Tap]:
    return [edge.tap(ops.Round(x), None)]


def linear(edge: Edge, x: Op) -> list[Tap]:
    """The two elements that a position lies between, by how near they are."""
    first = ops.Floor(x)
    away = ops.Sub(x, first)
    one = build.scalar(x, 1)
    return [edge.tap(first, ops.Sub(one, away)), edge.tap(ops.Add(first, one), away)]


def _cubic(edge: Edge, x: Op) -> list[Tap]:
    first = ops.Floor(x)
    away = ops.Sub(x, first)
    found = []
    for step in (-1, 0, 1, 2):
        distance = ops.Abs(ops.Sub(away, build.scalar(x, step)))
        weight = _polynomial(distance, near=step in {0, 1})
        found.append(edge.tap(ops.Add(first, build.scalar(x, step)), weight))
    return found


def _polynomial(s: Op, *, near: bool) -> Op:
    """Keys' kernel at a distance of up to one element (near), or of one to two."""
    a = CUBIC
    powers = (a + 2, -(a + 3), 0.0, 1.0) if near else (a, -5 * a, 8 * a, -4 * a)
    value: Op = build.scalar(s, powers[0])
    for power in powers[1:]:
        value = ops.Add(ops.Mul(value, s), build.scalar(s, power))
    return value


_TAPS = {"nearest": _nearest, "linear": linear, "cubic": _cubic}
