"""Operators that rearrange, select or repeat elements."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np

from kcompiler.frontend.helpers import table_size, take
from kcompiler.frontend.limits import INDICES
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.types import BOOL, I64


@onnx_op("Reshape")
def reshape(node: Node) -> Op:
    """0 keeps an extent, -1 takes what is left."""
    x, wanted = node[0], list(node.integers_of(1, "shape") or ())
    if not node.flag("allowzero"):
        wanted = [x.shape[i] if e == 0 else e for i, e in enumerate(wanted)]
    if wanted.count(-1) == 1:
        known = math.prod(e for e in wanted if e != -1)
        wanted[wanted.index(-1)] = x.type.size // known if known else 0
    if any(e < 0 for e in wanted):
        raise ValueError(f"{x.type} cannot have the shape {wanted}")
    return build.reshape(x, wanted)


@onnx_op("Flatten")
def flatten(node: Node) -> Op:
    """A matrix: the dimensions before an axis, and the others."""
    x, axis = node[0], node.integer("axis", 1)
    axis = axis + x.type.rank if axis < 0 else axis
    return build.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@onnx_op("Squeeze")
def squeeze(node: Node) -> Op:
    """Without extents of 1: the named ones, or all."""
    axes = node.integers_of(1, "axes")
    if axes is None:
        axes = tuple(i for i, e in enumerate(node[0].shape) if e == 1)
    return build.squeeze(node[0], axes)


@onnx_op("Unsqueeze")
def unsqueeze(node: Node) -> Op:
    """With extents of 1 inserted."""
    axes = node.integers_of(1, "axes")
    if axes is None:
        raise ValueError("axes are missing")
    return build.expand_dims(node[0], axes)


@onnx_op("Transpose")
def transpose(node: Node) -> Op:
    """Backwards by default."""
    backwards = tuple(range(node[0].type.rank))[::-1]
    return build.transpose(node[0], node.integers("perm", backwards))


@onnx_op("Concat")
def concat(node: Node) -> Op:
    """Empty tensors disappear."""
    axis = build.normal_axis(node.integer("axis"), node[0].type.rank)
    whole = ops.Concat(tuple(node[i] for i in range(len(node))), axis)
    parts = [p for p in whole.xs if p.shape[axis]]
    return build.concat(parts, axis) if parts else whole.xs[0]


@onnx_op("Split")
def split(node: Node) -> list[Op]:
    """Sizes are an attribute before opset 13; without them the parts are equal."""
    x = node[0]
    axis = build.normal_axis(node.integer("axis", 0), x.type.rank)
    sizes = node.integers_of(1, "split")
    if sizes is None:
        count = node.integer("num_outputs", len(node.proto.output))
        part = -(-x.shape[axis] // count)
        sizes = tuple(min(part, max(0, x.shape[axis] - i * part)) for i in range(count))
    if sum(sizes) != x.shape[axis] or any(s < 0 for s in sizes):
        raise ValueError(f"parts of {list(sizes)} of an axis of {x.shape[axis]}")
    starts = accumulate(sizes, initial=0)
    return [build.slice_axis(x, axis, a, s) for a, s in zip(starts, sizes, strict=False)]


@onnx_op("Slice")
def slice_(node: Node) -> Op:
    """Bounds are attributes before opset 10; they are clamped as in Python."""
    x = node[0]
    starts, ends = node.integers_of(1, "starts"), node.integers_of(2, "ends")
    if starts is None or ends is None:
        raise ValueError("starts or ends are missing")
    axes = node.integers_of(3, "axes") or tuple(range(len(starts)))
    steps = node.integers_of(4) or (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = build.normal_axis(axis, x.type.rank)
        chosen = _chosen(x.shape[at], start, end, step)
        first = chosen.start if len(chosen) else 0
        x = build.slice_axis(x, at, first, len(chosen), step if len(chosen) > 1 else 1)
    return x


# Ends that mean "to the end" to onnxruntime, in either direction.
_ALL_THE_WAY = ((1 << 31) - 1, (1 << 63) - 1)


def _chosen(extent: int, start: int, end: int, step: int) -> range:
    """The elements of an axis; bounds are clamped, backwards in another way than Python does it."""
    if step == 0:
        raise ValueError("a step of 0")
    start, end = start + extent * (start < 0), end + extent * (end < 0)
    low, high = (0, extent) if step > 0 else (-1, extent - 1)
    start = min(max(start, 0), high)
    if end in _ALL_THE_WAY and step < 0:
        end = low
    return range(start, min(max(end, low), high), step) if extent else range(0)


@onnx_op("Expand")
def expand(node: Node) -> Op:
    """Both shapes broadcast."""
    wanted = node.integers_of(1)
    shape = np.broadcast_shapes(node[0].shape, wanted or ())
    return build.broadcast(node[0], shape)


@onnx_op("Tile")
def tile(node: Node) -> Op:
    """The whole tensor several times along each axis."""
    x, repeats = node[0], node.integers_of(1)
    if repeats is None or len(repeats) != x.type.rank or any(r < 0 for r in repeats):
        raise ValueError("one number of repetitions a dimension is needed")
    apart = [e for extent in x.shape for e in (1, extent)]
    full = [e for pair in zip(repeats, x.shape, strict=True) for e in pair]
    repeated = build.broadcast(build.reshape(x, apart), full)
    return build.reshape(repeated, [r * e for r, e in zip(repeats, x.shape, strict=True)])


@onnx_op("Pad")
def pad(node: Node) -> Op:
    """Constant, or a continuation of the contents; negative pads cut."""
    x = node[0]
    low, high = _pads(node, x.type.rank)
    mode = node.string("mode", "constant")
    x = _cut(x, low, high)
    low, high = [max(p, 0) for p in low], [max(p, 0) for p in high]
    if mode == "constant":
        return build.pad(x, low, high, _pad_value(node, x))
    if mode not in {"reflect", "edge", "wrap"}:
        raise ValueError(f"padding {mode!r} is unknown")
    for axis, (before, after) in enumerate(zip(low, high, strict=True)):
        if before or after:
            x = _continued(x, axis, before, after, mode)
    return x


def _pads(node: Node, rank: int) -> tuple[list[int], list[int]]:
    pads = node.integers_of(1, "pads") or ()
    axes = node.integers_of(3) or tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise ValueError(f"{len(pads)} pads for {len(axes)} axes")
    low, high = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        at = build.normal_axis(axis, rank)
        low[at], high[at] = pads[i], pads[len(axes) + i]
    return low, high


def _pad_value(node: Node, x: Op) -> float | int:
    if node.opset < 11:
        return node.number("value", 0.0)
    value = node.value(2)
    if value is None or value.size == 0:
        return 0
    number = build.constant(value.reshape(()), x.dtype).value.item()
    return float(number) if isinstance(number, float) else int(number)


def _cut(x: Op, low: list[int], high: list[int]) -> Op:
    starts = [max(-p, 0) for p in low]
    sizes = [
        extent - start - max(-p, 0) for extent, start, p in zip(x.shape, starts, high, strict=True)
    ]
    return build.slice_(x, starts, sizes)


def _continued(x: Op, axis: int, before: int, after: int, mode: str) -> Op:
    extent = x.shape[axis]
    table_size(before + extent + after, limit=INDICES)
    if extent == 0:
        raise ValueError("an empty axis has nothing to continue")
    if mode == "reflect":
        mode = "edge" if extent == 1 else mode
    indices = np.pad(np.arange(extent), (before, after), mode)  # type: ignore[call-overload]
    return take(x, axis, indices)


@onnx_op("DepthToSpace")
def depth_to_space(node: Node) -> Op:
    """Channels become blocks of pixels; DCR and CRD differ in which channels belong together."""
    (n, c, h, w), b = node[0].shape, node.integer("blocksize")
    if node.string("mode", "DCR") == "DCR":
        apart = build.reshape(node[0], (n, b, b, c // (b * b), h, w))
        moved = build.transpose(apart, (0, 3, 4, 1, 5, 2))
    else:
        apart = build.reshape(node[0], (n, c // (b * b), b, b, h, w))
        moved = build.transpose(apart, (0, 1, 4, 2, 5, 3))
    return build.reshape(moved, (n, c // (b * b), h * b, w * b))


@onnx_op("SpaceToDepth")
def space_to_depth(node: Node) -> Op:
    """Blocks of pixels become channels."""
    (n, c, h, w), b = node[0].shape, node.integer("blocksize")
    apart = build.reshape(node[0], (n, c, h // b, b, w // b, b))
    crd = node.string("mode", "DCR") == "CRD"
    moved = build.transpose(apart, (0, 1, 3, 5, 2, 4) if crd else (0, 3, 5, 1, 2, 4))
    return build.reshape(moved, (n, c * b * b, h // b, w // b))


@onnx_op("Trilu")
def trilu(node: Node) -> Op:
    """The upper or lower triangle, else 0."""
    x, k = node[0], node.value(1)
    rows, columns = x.shape[-2:]
    table_size(rows, columns)
    diagonal = 0 if k is None else int(k.item())
    if node.flag("upper", True):
        mask = ~np.tri(rows, columns, diagonal - 1, dtype=bool)
    else:
        mask = np.tri(rows, columns, diagonal, dtype=bool)
    return ops.Where(build.constant(mask, BOOL), x, build.scalar(x, 0))


@onnx_op("ReverseSequence")
def reverse_sequence(node: Node) -> Op:
    """The first elements of each sequence backwards: slices where their number is known."""
    batch, time = node.integer("batch_axis", 1), node.integer("time_axis", 0)
    if not isinstance(node[1], Constant):
        return _reversed(node[0], node[1], batch, time)
    lengths = node.known(1).reshape(-1)
    parts = []
    for i, length in enumerate(lengths.tolist()):
        row = build.slice_axis(node[0], batch, i, 1)
        count = row.shape[time]
        if not 0 <= length <= count:
            raise ValueError(f"a sequence of {length} in a tensor of {count}")
        parts.append(take(row, time, [*range(length)[::-1], *range(length, count)]))
    return build.concat(parts, batch)


def _reversed(x: Op, lengths: Op, batch: int, time: int) -> Op:
    """Rows gathered from where each stands in its sequence."""
    if {batch, time} != {0, 1}:
        raise ValueError(f"batches along axis {batch} and time along {time}")
    rows = build.swap_axes(x, 0, 1) if batch else x
    count, steps = rows.shape[:2]
    place = build.constant(np.arange(steps), I64)
    length = build.reshape(build.cast(lengths, I64), (count, 1))
    back = ops.Sub(ops.Sub(length, build.constant(1, I64)), place)
    step = ops.Where(ops.Less(place, length), back, place)
    at = ops.Add(step, build.constant(np.arange(count)[:, None] * steps, I64))
    flat = build.reshape(rows, (count * steps, *rows.shape[2:]))
    found = build.gather(flat, at, 0)
    return build.swap_axes(found, 0, 1) if batch else found


@onnx_op("Compress")
def compress(node: Node) -> Op:
    """The slices that a known condition picks."""
    chosen = np.flatnonzero(node.known(1))
    x = node[0] if node.has("axis") else build.reshape(node[0], (node[0].type.size,))
    return take(x, build.normal_axis(node.integer("axis", 0), x.type.rank), chosen)


@onnx_op("CenterCropPad")
def center_crop_pad(node: Node) -> Op:
    """Cut or padded to a size, the middle kept in the middle."""
    x = node[0]
    sizes = node.integers_of(1) or ()
    axes = node.integers("axes", range(x.type.rank))
    low, high = [0] * x.type.rank, [0] * x.type.rank
    for axis, size in zip(axes, sizes, strict=True):
        at = build.normal_axis(axis, x.type.rank)
        missing = size - x.shape[at]
        low[at] = missing // 2 if missing >= 0 else -(-missing // 2)
        high[at] = missing - low[at]
    return build.pad(_cut(x, low, high), [max(p, 0) for p in low], [max(p, 0) for p in high])
