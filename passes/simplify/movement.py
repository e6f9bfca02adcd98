"""Data movement: what moves nothing disappears, what follows itself becomes one."""

from __future__ import annotations

import numpy as np

from kcompiler.graph.build import concat, reshape, slice_, transpose
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import (
    Broadcast,
    Concat,
    Gather,
    Pad,
    Reshape,
    Slice,
    Transpose,
)
from kcompiler.graph.types import I64
from kcompiler.pattern import Any, Const, node, one_of
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import tensor

X = Any("x")


class NoMovement(Rule):
    """Movement that leaves every element where it is."""

    pattern = node((Reshape, Transpose, Slice, Pad, Broadcast, Concat), X)
    exact = True

    def check(self, match: Match) -> str | None:
        root = match.root
        if match["x"].type != root.type:
            return "the shape changes"
        if isinstance(root, Transpose) and root.perm != tuple(range(len(root.perm))):
            return "dimensions change places"
        if isinstance(root, Slice) and min(root.steps, default=1) < 0:
            return "a dimension may be reversed"
        return None

    def build(self, match: Match) -> Op:
        return match["x"]

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 2, 3)
        return (
            Reshape(x, (2, 3)),
            Transpose(x, (0, 1)),
            Slice(x, (0, 0), (2, 3), (1, 1)),
            Pad(x, (0, 0), (0, 0), 1),
            Broadcast(x, (2, 3)),
            Concat((x,), 1),
        )[rng.integers(6)]


class Twice(Rule):
    """Two reshapes, transposes, slices, broadcasts or pads in a row are one."""

    pattern = one_of(
        *(node(k, node(k, X, name="inner")) for k in (Reshape, Transpose, Slice, Broadcast, Pad))
    )
    exact = True

    def check(self, match: Match) -> str | None:
        root, inner = match.root, match["inner"]
        if isinstance(root, Pad) and isinstance(inner, Pad) and root.value != inner.value:
            return "the pads have different values"
        return None

    def build(self, match: Match) -> Op:
        x = match["x"]
        match match.root, match["inner"]:
            case Reshape(shape=shape), _:
                return Reshape(x, shape)
            case Broadcast(shape=shape), _:
                return Broadcast(x, shape)
            case Transpose(perm=perm), Transpose(perm=inner):
                return Transpose(x, tuple(inner[p] for p in perm))
            case Pad() as outer, Pad() as first:
                low = tuple(map(sum, zip(outer.low, first.low, strict=True)))
                high = tuple(map(sum, zip(outer.high, first.high, strict=True)))
                return Pad(x, low, high, outer.value)
            case Slice() as outer, Slice() as first:
                return _slice_of_slice(x, outer, first)
        raise TypeError(f"no pair of movements: {match.root!r}")

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 4, 6)
        one = tensor("x", 4, 1)
        return (
            Reshape(Reshape(x, (2, 12)), (3, 8)),
            Transpose(Transpose(tensor("x", 2, 3, 4), (1, 2, 0)), (0, 2, 1)),
            Slice(Slice(x, (3, 1), (4, 2), (-1, 3)), (1, 0), (2, 2), (2, 1)),
            Broadcast(Broadcast(one, (4, 3)), (2, 4, 3)),
            Pad(Pad(x, (1, 0), (0, 2), 2), (0, 1), (1, 0), 2),
        )[rng.integers(5)]


def _slice_of_slice(x: Op, outer: Slice, first: Slice) -> Op:
    ranges = zip(outer.starts, first.starts, first.steps, strict=True)
    starts = tuple(start + own * step for own, start, step in ranges)
    steps = tuple(a * b for a, b in zip(outer.steps, first.steps, strict=True))
    return Slice(x, starts, outer.sizes, steps)


class TransposeOfOnes(Rule):
    """A transpose that only moves extents of 1 is a reshape; a broadcast that adds them too."""

    pattern = one_of(node(Transpose, X), node(Broadcast, X))
    exact = True

    def check(self, match: Match) -> str | None:
        root, x = match.root, match["x"]
        if isinstance(root, Broadcast):
            return None if root.type.size == x.type.size else "elements are repeated"
        if not isinstance(root, Transpose) or x.type.rank == 0:
            return "nothing is moved"
        real = [p for p in root.perm if x.shape[p] != 1]
        return None if real == sorted(real) else "elements change places"

    def build(self, match: Match) -> Op:
        return Reshape(match["x"], match.root.shape)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 4, 1, 6)
        return Transpose(x, (1, 0, 2)) if rng.integers(2) else Broadcast(x, (1, 4, 1, 6))


class UnitsUnderTranspose(Rule):
    """A reshape that only adds or drops extents of 1 goes before the transpose under it.

    So transposes meet each other and the operators that absorb them.
    """

    pattern = node(Reshape, node(Transpose, X, name="inner"))
    exact = True
    exclusive = True

    def check(self, match: Match) -> str | None:
        kept = [e for e in match["inner"].shape if e != 1]
        return None if kept == [e for e in match.root.shape if e != 1] else "elements regroup"

    def build(self, match: Match) -> Op:
        inner, x, shape = match.node(Transpose, "inner"), match["x"], match.root.shape
        real = [p for p in inner.perm if x.shape[p] != 1]
        rank = {p: i for i, p in enumerate(sorted(real))}
        ones = [i for i, e in enumerate(shape) if e == 1]
        # The reshaped x: its real dimensions in their own order, all extents of 1 behind them.
        flat = reshape(x, [x.shape[p] for p in sorted(real)] + [1] * len(ones))
        order, units = iter(real), iter(range(len(real), len(shape)))
        return transpose(flat, [next(units) if e == 1 else rank[next(order)] for e in shape])

    def example(self, rng: np.random.Generator) -> Op:
        x = Transpose(tensor("x", 1, 3, 4, 2), (0, 2, 1, 3))
        return Reshape(x, ((4, 3, 2), (4, 1, 3, 2), (1, 1, 4, 3, 2))[rng.integers(3)])


class SliceOfConcat(Rule):
    """A slice of joined tensors takes from those pieces only that it touches."""

    pattern = node(Slice, node(Concat, name="joined"))
    exact = True

    def check(self, match: Match) -> str | None:
        root, axis = match.node(Slice, "root"), match.node(Concat, "joined").axis
        if root.steps[axis] != 1 and len(_touched(match)) > 1:
            return "the slice steps over several pieces"
        return None if root.sizes[axis] else "the slice is empty"

    def build(self, match: Match) -> Op:
        root, axis = match.node(Slice, "root"), match.node(Concat, "joined").axis
        pieces = []
        for piece, begin in _touched(match):
            start = max(root.starts[axis] - begin, 0)
            stop = min(root.starts[axis] + root.sizes[axis] - begin, piece.shape[axis])
            size = stop - start if root.steps[axis] == 1 else root.sizes[axis]
            starts, sizes = list(root.starts), list(root.sizes)
            starts[axis], sizes[axis] = start, size
            pieces.append(slice_(piece, starts, sizes, root.steps))
        return concat(pieces, axis)

    def example(self, rng: np.random.Generator) -> Op:
        joined = Concat((tensor("x", 2, 3), tensor("y", 2, 2), tensor("z", 2, 4)), 1)
        start, step = ((1, 1), (3, 1), (8, -1), (5, 2))[rng.integers(4)]
        size = 6 if start == 1 else 2
        return Slice(joined, (0, start), (1, size), (1, step))


def _touched(match: Match) -> list[tuple[Op, int]]:
    """The pieces that a slice reads, with where each begins."""
    root, joined = match.node(Slice, "root"), match.node(Concat, "joined")
    axis = joined.axis
    first = root.starts[axis]
    last = first + (root.sizes[axis] - 1) * root.steps[axis]
    low, high = min(first, last), max(first, last)
    found, begin = [], 0
    for piece in joined.xs:
        if begin <= high and begin + piece.shape[axis] > low:
            found.append((piece, begin))
        begin += piece.shape[axis]
    return found


class FlatConcat(Rule):
    """Joined pieces that are joined themselves lie flat; neighbouring slices of one tensor grow."""

    pattern = node(Concat)
    exact = True

    def check(self, match: Match) -> str | None:
        joined = match.node(Concat, "root")
        return "nothing to flatten" if len(_flat(joined)) == len(joined.xs) else None

    def build(self, match: Match) -> Op:
        joined = match.node(Concat, "root")
        return concat(_flat(joined), joined.axis)

    def example(self, rng: np.random.Generator) -> Op:
        x, y = tensor("x", 5, 2), tensor("y", 3, 2)
        if rng.integers(2):
            return Concat((y, Concat((x, y), 0), x), 0)
        parts = (Slice(x, (1, 0), (2, 2), (1, 1)), Slice(x, (3, 0), (1, 2), (1, 1)))
        return Concat((y, *parts, tensor("e", 0, 2)), 0)


def _flat(joined: Concat) -> list[Op]:
    """The pieces with those of inner joins in their place, neighbours brought together."""
    axis, found = joined.axis, list[Op]()
    for piece in joined.xs:
        inner = isinstance(piece, Concat) and piece.axis == axis
        for part in piece.operands if inner else (piece,):
            if not part.type.size and joined.type.size:
                continue
            grown = _neighbours(found[-1], part, axis) if found else None
            if grown is None:
                found.append(part)
            else:
                found[-1] = grown
    return found


def _neighbours(left: Op, right: Op, axis: int) -> Op | None:
    """One slice for two that lie side by side in one tensor, or None."""
    if not (isinstance(left, Slice) and isinstance(right, Slice) and left.x is right.x):
        return None
    end = left.starts[axis] + left.sizes[axis]
    if {*left.steps, *right.steps} != {1} or end != right.starts[axis]:
        return None
    before, after = list(left.starts), list(right.starts)
    before[axis] = after[axis] = 0
    if before != after:
        return None
    sizes = list(left.sizes)
    sizes[axis] += right.sizes[axis]
    return slice_(left.x, left.starts, sizes)


class GatherEvenly(Rule):
    """Gathering at constant, evenly spaced indices is a slice."""

    pattern = node(Gather, X, Const("at"))
    exact = True

    def check(self, match: Match) -> str | None:
        return None if _even(match) else "the indices are not evenly spaced"

    def build(self, match: Match) -> Op:
        gather, even = match.node(Gather, "root"), _even(match)
        if even is None:
            raise TypeError("checked before")
        start, size, step = even
        x, axis = gather.x, gather.axis
        starts, sizes, steps = [0] * x.type.rank, list(x.shape), [1] * x.type.rank
        starts[axis], sizes[axis], steps[axis] = start, size, step
        return reshape(slice_(x, starts, sizes, steps), gather.shape)

    def example(self, rng: np.random.Generator) -> Op:
        at = (np.asarray(-1), np.asarray([[3, 1]]), np.asarray([0, 1, 2]))[rng.integers(3)]
        return Gather(tensor("x", 2, 4), Constant(at.astype(I64)), 1)


def _even(match: Match) -> tuple[int, int, int] | None:
    """Start, size and step of evenly spaced indices."""
    gather = match.node(Gather, "root")
    extent = gather.x.shape[gather.axis]
    at = match.node(Constant, "at").value.astype(np.int64).reshape(-1)
    if not at.size or at.min() < -extent or at.max() >= extent:
        return None
    at = np.where(at < 0, at + extent, at)
    step = int(at[1] - at[0]) if at.size > 1 else 1
    return (int(at[0]), int(at.size), step) if step and (np.diff(at) == step).all() else None


RULES: tuple[Rule, ...] = (
    NoMovement(),
    Twice(),
    TransposeOfOnes(),
    UnitsUnderTranspose(),
    SliceOfConcat(),
    FlatConcat(),
    GatherEvenly(),
)
