"""Operators that rearrange, select or repeat elements."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from kcompiler.buckets.known import (
    Known,
    Place,
    Scene,
    UnsafeError,
    agree,
    built,
    refuse_padding,
    rule,
)
from kcompiler.buckets.layout import Layout, Segment, describe, dims_of, joined, padded, static
from kcompiler.buckets.spans import Span, join, span
from kcompiler.graph.operators import Broadcast, Concat, Gather, Pad, Reshape, Slice, Transpose


@rule(Transpose)
def transpose(op: Transpose, _: Scene, x: Known) -> Known:
    """Padding moves with its axis."""
    axes = tuple(x.axes[p] for p in op.perm)
    return x.renamed(axes, lambda place: [(op.perm.index(place[0]), place[1])])


@rule(Reshape)
def reshape(op: Reshape, scene: Scene, x: Known) -> Known:
    """A padded axis may be merged with axes without padding and split again, not be cut."""
    if not op.type.size or not any(map(padded, x.axes)):
        same = tuple(map(static, op.shape))
        if not scene.fits(same):
            raise UnsafeError("its shape depends on the extent, and its operand's does not")
        return Known(same, x.core)
    axes = [static(n) for n in op.shape]
    moved: dict[int, tuple[int, int]] = {}
    for old, new in _groups(op.x.shape, op.shape):
        for source, target, layout, copies in _regrouped(x, old, new, op.shape, scene):
            axes[target] = layout
            moved[source] = (target, copies)

    def where(place: Place) -> list[Place]:
        target, copies = moved[place[0]]
        before, after = len(dims_of(x.axes[place[0]])), len(dims_of(axes[target]))
        return [(target, (copy * before + place[1]) % after) for copy in range(copies)]

    return x.renamed(tuple(axes), where)


def _groups(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """The runs of axes of equal size, in both shapes; no element moves from one to another."""
    i = j = 0
    while i < len(old) or j < len(new):
        mine, yours = list(range(i, min(i + 1, len(old)))), list(range(j, min(j + 1, len(new))))
        i, j = i + 1, j + 1
        while _size(old, mine) != _size(new, yours) and (i < len(old) or j < len(new)):
            if _size(old, mine) < _size(new, yours):
                mine.append(i)
                i += 1
            else:
                yours.append(j)
                j += 1
        yield mine, yours


def _size(shape: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(shape[a] for a in axes)


def _regrouped(
    x: Known, old: Sequence[int], new: Sequence[int], shape: Sequence[int], scene: Scene
) -> Iterator[tuple[int, int, Layout, int]]:
    """The padded axis of a run, the axis that it becomes, its layout, and how often it comes."""
    layouts = [x.axes[i] for i in old]
    where = [i for i, layout in enumerate(layouts) if padded(layout)]
    if not where:
        return
    if len(where) > 1:
        first, second = (describe(layouts[i]) for i in where[:2])
        raise UnsafeError(f"it merges {first} with {second}")
    outer = math.prod(_static(layout) for layout in layouts[: where[0]])
    inner = math.prod(_static(layout) for layout in layouts[where[0] + 1 :])
    one = [Segment(s.dim, s.size * inner) for s in layouts[where[0]]]
    flat = joined(one * outer)
    for axis in new:
        before = math.prod(shape[a] for a in new if a < axis)
        after = math.prod(shape[a] for a in new if a > axis)
        found = _split(flat, before, after)
        if found is not None and _plausible(found, axis, scene):
            yield old[where[0]], axis, found, outer
            return
    raise UnsafeError(f"{describe(layouts[where[0]])} becomes {[shape[a] for a in new]}")


def _static(layout: Layout) -> int:
    return sum(s.size for s in layout)


def _split(flat: Layout, outer: int, inner: int) -> Layout | None:
    """The layout that, repeated and with axes inside, is `flat`."""
    if outer == 0 or len(flat) % outer:
        return None
    one = flat[: len(flat) // outer]
    if one * outer != flat or any(s.size % inner for s in one):
        return None
    return tuple(Segment(s.dim, s.size // inner) for s in one)


def _plausible(layout: Layout, axis: int, scene: Scene) -> bool:
    return all(sum(s.extent(d) for s in layout) == op.shape[axis] for d, op in scene.others)


@rule(Broadcast)
def broadcast(op: Broadcast, scene: Scene, x: Known) -> Known:
    """What is repeated along a dimension is the same in its padding."""
    shift = op.type.rank - op.x.type.rank
    axes: list[Layout] = []
    for axis, size in enumerate(op.shape):
        own = axis - shift
        if own >= 0 and op.x.shape[own] == size:
            axes.append(x.axes[own])
            continue
        if own >= 0:
            refuse_padding(x, own, "the axis that is repeated")
        axes.append(scene.layout_of(axis, size) or static(size))

    def at(place: Place | None) -> Span:
        own = None if place is None else (place[0] - shift, place[1])
        return x.at(own if own in x.pads else None)

    return built(axes, at, x.everywhere)


@rule(Slice)
def take_slice(op: Slice, scene: Scene, x: Known) -> Known:
    """A slice takes all of a padded axis, or fixed elements from its beginning."""
    axes = list(x.axes)
    for axis, layout in enumerate(x.axes):
        start, size, step = op.starts[axis], op.sizes[axis], op.steps[axis]
        if not padded(layout):
            axes[axis] = static(size)
        elif (start, size, step) != (0, op.x.shape[axis], 1):
            _check_beginning(op, axis, layout, scene)
            axes[axis] = static(size)
    kept = {a for a, layout in enumerate(axes) if padded(layout)}
    found = x.renamed(tuple(axes), lambda place: [place] if place[0] in kept else [])
    return built(axes, found.at, x.everywhere)


def _check_beginning(op: Slice, axis: int, layout: Layout, scene: Scene) -> None:
    start, size, step = op.starts[axis], op.sizes[axis], op.steps[axis]
    ends = (start, start + (size - 1) * step)
    first = layout[0]
    least = first.size * scene.least[first.dim] if first.dim is not None else first.size
    moved = any(o.starts[axis] != start or o.sizes[axis] != size for _, o in scene.others)  # type: ignore[attr-defined]
    if moved or size == 0 or max(ends) >= least:
        raise UnsafeError(f"elements {ends[0]} to {ends[1]} of {describe(layout)}")


@rule(Pad)
def pad(op: Pad, _: Scene, x: Known) -> Known:
    """Padding of the model's own comes after that of the bucket and keeps its value."""
    value = span(float(op.value), float(op.value))
    if math.isnan(value.lo) or math.isinf(value.lo):
        raise UnsafeError(f"its value is {op.value}")
    axes = []
    extra = False
    for layout, low, high in zip(x.axes, op.low, op.high, strict=True):
        axes.append(joined([Segment(None, low), *layout, Segment(None, high)]))
        extra |= low > 0 or high > 0
    found = x.renamed(tuple(axes), lambda place: [place])
    return found.mapped(lambda s: join(s, value)) if extra else found


@rule(Concat)
def concat(op: Concat, _: Scene, *xs: Known) -> Known:
    """Tensors one after the other keep their padding between them; beside it they must agree."""
    rank = op.type.rank
    axes = [
        joined(s for x in xs for s in x.axes[a]) if a == op.axis else agree([x.axes[a] for x in xs])
        for a in range(rank)
    ]
    along = [s for x in xs for s in (x.at(p) for p in x.places(op.axis))]

    def at(place: Place | None) -> Span:
        if place is not None and place[0] == op.axis:
            return along[place[1]]
        return join(*(x.at(place) for x in xs))

    return built(axes, at, join(*(x.everywhere for x in xs)))


@rule(Gather)
def gather(op: Gather, scene: Scene, x: Known, indices: Known) -> Known:
    """Padded indices lie inside the table; those into a padded axis are fixed and at its start."""
    size = op.x.shape[op.axis]
    low = 0
    if padded(x.axes[op.axis]):
        beginning = len(x.axes[op.axis]) == 1
        known = scene.least[x.axes[op.axis][0].dim or ""] if beginning else 0
        inside = indices.core.lo >= 0 and indices.core.hi < known
        if not beginning or not inside:
            raise UnsafeError(f"the table's axis is {describe(x.axes[op.axis])}")
    else:
        low = -size
    # Kept indices are the caller's; those in the padding are ours to answer for.
    for where in (*indices.pads.values(), *([indices.corner] if indices.corner else [])):
        if not (low <= where.lo and where.hi < size):
            raise UnsafeError(f"a padded index may be {where.lo:g} to {where.hi:g}, of {size} rows")
    return _gathered(op, x, indices)


def _gathered(op: Gather, x: Known, indices: Known) -> Known:
    inner = len(indices.axes)
    axes = (*x.axes[: op.axis], *indices.axes, *x.axes[op.axis + 1 :])
    whole = join(x.core, *(x.at(p) for p in x.places(op.axis)))

    def at(place: Place | None) -> Span:
        if place is None or op.axis <= place[0] < op.axis + inner:
            return whole if place is not None else x.core
        own = place[0] if place[0] < op.axis else place[0] - inner + 1
        return x.at((own, place[1]))

    return built(axes, at, x.everywhere)
