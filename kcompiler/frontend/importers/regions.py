"""RoiAlign: regions of a picture, each sampled in bins of one number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.importers.sampling import Edge, Tap, by_rows, linear, sampled
from kcompiler.frontend.limits import TABLE
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.types import F32, I64


@dataclass(frozen=True)
class _Bins:
    """What a node asks for: bins of each region, and how their samples become one number."""

    sizes: tuple[int, int]
    scale: float
    half: bool
    mode: str

    def sides(self, rois: Op, axis: int) -> tuple[Op, Op]:
        """Where regions begin in a dimension, and how long they are: [count, 1]."""
        low, high = (self._edge(rois, column) for column in (1 - axis, 3 - axis))
        length: Op = ops.Sub(high, low)
        return low, length if self.half else ops.Max(length, build.scalar(length, 1))

    def _edge(self, rois: Op, column: int) -> Op:
        """One side of all regions, in elements of the input."""
        side = ops.Mul(build.slice_axis(rois, 1, column, 1), build.constant(self.scale, F32))
        return ops.Sub(side, build.constant(0.5, F32)) if self.half else side


@onnx_op("RoiAlign")
def roi_align(node: Node) -> Op:
    """The mean or the maximum of samples in each bin of each region.

    The maximum is that of the four weighted neighbours of each sample, as ONNX's reference and
    onnxruntime have it. Without a number of samples a bin has as many as the region is large.
    """
    x, rois, images = node[0], build.cast(node[1], F32), build.cast(node[2], I64)
    before = "output_half_pixel" if node.opset < 16 else "half_pixel"
    half = node.string("coordinate_transformation_mode", before) == "half_pixel"
    sizes = (node.integer("output_height", 1), node.integer("output_width", 1))
    mode, samples = node.string("mode", "avg"), node.integer("sampling_ratio", 0)
    if mode not in {"avg", "max"}:
        raise ValueError(f"RoiAlign cannot take the {mode}")
    bins = _Bins(sizes, node.number("spatial_scale", 1.0), half, mode)
    if samples > 0:
        rows, columns = (samples * size for size in sizes)
        _check_samples(rois.shape[0] * rows * columns)
        return _aligned(x, rois, images, bins, (samples, samples))
    return _by_size(x, rois, images, bins)


def _by_size(x: Op, rois: Op, images: Op, bins: _Bins) -> Op:
    """Regions that are known, those with equally many samples together."""
    if not isinstance(rois, Constant):
        raise NotExpressible(
            "RoiAlign with as many samples as a region is large, in regions that are not known"
        )
    grids = np.stack([_samples(rois.value, axis, bins) for axis in (0, 1)], 1)
    of_each = grids.prod(1)
    _check_samples(float(of_each.sum()) * math.prod(bins.sizes))
    pairs = np.where(of_each[:, None] > 0, grids, 0).astype(np.int64)
    kinds, kind = np.unique(pairs, axis=0, return_inverse=True)
    parts, order = [], []
    for i, (high, wide) in enumerate(kinds.tolist()):
        chosen = np.flatnonzero(kind.reshape(-1) == i)
        order.extend(chosen.tolist())
        some = build.constant(rois.value[chosen], F32)
        which = build.gather(images, build.constant(chosen, I64), 0)
        parts.append(_aligned(x, some, which, bins, (high, wide)))
    if not parts:
        return _empty(x, 0, bins)
    back = build.constant(np.argsort(order), I64)
    return build.gather(build.concat(parts, 0), back, 0)


def _samples(
    rois: np.ndarray[tuple[int, ...], np.dtype[np.float32]], axis: int, bins: _Bins
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """How many samples each region has in a dimension of its bins, in the standard's float32."""
    shift = np.float32(0.5 if bins.half else 0)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below
        low, high = (rois[:, c] * np.float32(bins.scale) - shift for c in (1 - axis, 3 - axis))
        length = high - low if bins.half else np.maximum(high - low, np.float32(1))
        found = np.maximum(np.ceil(length / np.float32(bins.sizes[axis])), 0)
    if not np.isfinite(found).all():
        raise NotExpressible("RoiAlign of regions whose sides are not finite")
    return found.astype(np.float64)


def _check_samples(count: float) -> None:
    """Raise `NotExpressible` before tables of samples out of all proportion are made."""
    if count > TABLE:
        raise NotExpressible(
            f"RoiAlign of {count:,.0f} samples; the NPU has tables for up to {TABLE:,}"
        )


def _empty(x: Op, count: int, bins: _Bins) -> Op:
    return build.broadcast(build.scalar(x, 0), (count, x.shape[1], *bins.sizes))


def _aligned(x: Op, rois: Op, images: Op, bins: _Bins, samples: tuple[int, int]) -> Op:
    """All regions with equally many samples in each dimension of a bin."""
    count, sizes = rois.shape[0], bins.sizes
    if not count * samples[0] * samples[1]:
        return _empty(x, count, bins)
    taps: list[Sequence[Tap]] = []
    reached: list[Op] = []
    for i, extent in enumerate(x.shape[2:]):
        low, length = bins.sides(rois, i)
        steps = (np.arange(sizes[i] * samples[i]) + 0.5) / (samples[i] * sizes[i])
        place = ops.Add(low, ops.Mul(length, build.constant(steps, F32)))
        shape = (count, -1, 1) if i == 0 else (count, 1, -1)
        row = build.reshape(place, [place.shape[1] if n < 0 else n for n in shape])
        limit, zero = build.scalar(row, extent), build.scalar(row, 0)
        near = ops.And(ops.LessEqual(build.scalar(row, -1), row), ops.LessEqual(row, limit))
        reached.append(near)
        kept = ops.Min(ops.Max(row, zero), build.scalar(row, extent - 1))
        taps.append(linear(Edge(extent, "border", 0, extent - 1.0), kept))
    base = ops.Mul(images, build.constant(math.prod(x.shape[2:]), I64))
    combine = ops.Add if bins.mode == "avg" else ops.Max
    begin = build.reshape(base, (count, 1, 1))
    found = sampled(by_rows(x), begin, taps, x.shape[2:], combine)
    inside = build.expand_dims(ops.And(*reached), [-1])
    counted = ops.Where(inside, found, build.scalar(found, 0))
    split = (count, sizes[0], samples[0], sizes[1], samples[1], x.shape[1])
    apart = build.reshape(counted, split)
    y = build.mean(apart, (2, 4)) if bins.mode == "avg" else build.reduce_max(apart, (2, 4))
    return build.cast(build.transpose(build.squeeze(y, (2, 4)), (0, 3, 1, 2)), x.dtype)
