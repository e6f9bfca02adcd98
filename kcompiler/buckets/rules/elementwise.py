"""Inputs, constants and functions of single elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kcompiler.buckets.known import Known, Place, Scene, UnsafeError, agree, built, rule
from kcompiler.buckets.layout import Dims, Layout, describe, dims_of, padded, static, unpad
from kcompiler.buckets.spans import Span, apply, span_of
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Elementwise, Host, Item


@rule(Elementwise)
def elementwise(op: Elementwise, _: Scene, *operands: Known) -> Known:
    """An element-wise operator keeps padding in its place when its operands have it there too."""
    rank = op.type.rank
    axes = tuple(_shared(op, operands, axis - rank) for axis in range(rank))

    def at(place: Place | None) -> Span:
        spans = [x.at(_own(o, x, place, rank)) for o, x in zip(op.operands, operands, strict=True)]
        return apply(op.function, spans, op.dtype)

    count = sum(map(padded, axes))
    corners = [
        x.corner if x.corner and len(x.padded_axes) == count else x.everywhere for x in operands
    ]
    found = built(axes, at, apply(op.function, corners, op.dtype))
    if op.function == "where" and found.core.below and not found.core.odd:
        # So a mask is made; one that hides all keys from a query would mean nothing.
        return replace(found, core=replace(found.core, seen=True))
    return found


def _shared(op: Op, operands: tuple[Known, ...], axis: int) -> Layout:
    """The layout of an axis of the result; operands of extent 1 say nothing about it."""
    found = []
    for operand, known in zip(op.operands, operands, strict=True):
        if -axis > operand.type.rank:
            continue
        layout = known.axes[axis]
        if padded(layout) and operand.shape[axis] == 1 and op.shape[axis] != 1:
            raise UnsafeError("an axis of a dimension is repeated along another")
        if operand.shape[axis] == op.shape[axis]:
            found.append(layout)
    return agree(found)


def _own(operand: Op, known: Known, place: Place | None, rank: int) -> Place | None:
    """The place of an operand that an element of the result reads."""
    if place is None:
        return None
    own = (place[0] - rank + operand.type.rank, place[1])
    return own if own in known.pads else None


@rule(Constant)
def constant(op: Constant, scene: Scene) -> Known:
    """A constant must be the same at all extents, apart from the elements that padding adds."""
    sizes = enumerate(op.shape)
    axes = tuple(scene.layout_of(axis, size) or static(size) for axis, size in sizes)
    for dims, other in scene.others:
        if not isinstance(other, Constant) or not _agree(op, other, axes, scene.bucket, dims):
            raise UnsafeError("its numbers depend on the extent (a count, a position from the end)")
    for axis, layout in enumerate(axes):
        if len(layout) > 1 and padded(layout) and not _uniform(op.value, axis):
            raise UnsafeError(f"it is not the same all along {describe(layout)}")
    core = span_of(op.value)
    if not any(map(padded, axes)):
        return Known(axes, core)
    seen = replace(core, seen=core.below)
    return built(axes, lambda p: seen if p is None else _beside(op.value, axes, p, scene), core)


def _agree(
    op: Constant, other: Constant, axes: tuple[Layout, ...], bucket: Dims, dims: Dims
) -> bool:
    """Whether two constants have the same elements in the part that both keep."""
    both = {name: min(size, dims[name]) for name, size in bucket.items()}
    mine, yours = unpad(op.value, axes, bucket, both), unpad(other.value, axes, dims, both)
    return _equal(mine, yours)


def _equal(x: Array, y: Array) -> bool:
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    return bool(np.array_equal(x, y)) or bool(((x == y) | (_nan(x) & _nan(y))).all())


def _nan(x: Array) -> Array:
    return np.not_equal(x, x)  # numpy's isnan does not know all of ml_dtypes


def _uniform(value: Array, axis: int) -> bool:
    return _equal(value, np.broadcast_to(value.take([0], axis), value.shape))


def _beside(value: Array, axes: tuple[Layout, ...], place: Place, scene: Scene) -> Span:
    """The span of a constant where one axis is in the padding and the others are kept.

    Along another axis of the same dimension, only elements before the padding are kept: of a causal
    mask, only the part above the diagonal counts.
    """
    axis, number = place
    dim = dims_of(axes[axis])[number]
    mine = _along(value.ndim, axis, _elements(axes[axis], number, scene))
    inside = np.broadcast_to(mine >= scene.least[dim], value.shape)
    for other, layout in enumerate(axes):
        for i, name in enumerate(dims_of(layout)):
            if other != axis and name == dim:
                theirs = _along(value.ndim, other, _elements(layout, i, scene))
                inside = inside & ((theirs < 0) | (theirs < mine))
    return span_of(value[inside])


def _elements(layout: Layout, number: int, scene: Scene) -> Array:
    """For each place of an axis, which element of a segment's dimension it holds; else -1."""
    found: list[Array] = []
    count = 0
    for segment in layout:
        size = segment.extent(scene.bucket)
        mine = segment.dim is not None and count == number
        found.append(np.arange(size) // segment.size if mine else np.full(size, -1))
        count += segment.dim is not None
    return np.concatenate(found)


def _along(rank: int, axis: int, values: Array) -> Array:
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


@rule(Host, Item)
def host(*_: Op | Scene | Known) -> Known:
    """What an operator on the host makes of padding is not known."""
    raise UnsafeError("it is not taken apart into operators of the graph")


def counts_up(value: Array) -> bool:
    """Whether a tensor holds 0, 1, 2… along its one axis of more than one element."""
    flat = value.reshape(-1)
    long = [n for n in value.shape if n != 1]
    return len(long) == 1 and np.array_equal(flat, np.arange(flat.size))
