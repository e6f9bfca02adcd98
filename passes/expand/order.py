"""The k best by comparison: an element's rank is the number of those that come before it.

NaN is above all numbers, as numpy sorts; of equal elements the first comes first. A long axis is
cut into blocks, whose best are candidates for the next round. Candidates stand in the order of
their blocks, and equal ones of a block by index, so that among them too the first comes first.
"""

from __future__ import annotations

import math

import numpy as np

from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BOOL, I32, is_float
from kcompiler.scalar import highest, lowest

SMALLEST_BLOCK = 64


def block_of(k: int) -> int:
    """The elements of a block: at least twice as many as are taken of it."""
    return max(SMALLEST_BLOCK, 1 << (2 * k - 1).bit_length())


def comparisons(rows: int, count: int, k: int) -> int:
    """How many pairs are compared to find the k best of so many elements in each row."""
    block, total = block_of(k), 0
    while count > 2 * block:
        blocks = -(-count // block)
        total += blocks * block**2
        count = blocks * k
    return rows * (total + count**2)


def best(x: Op, k: int, axis: int, *, largest: bool) -> tuple[Op, Op]:
    """The k largest or smallest elements along an axis, and where they are (i32)."""
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    rows = build.reshape(x, (before, x.shape[axis], after))
    values, indices = _best(rows, None, k, largest=largest)
    return build.reshape(values, shape), build.reshape(indices, shape)


def _best(x: Op, indices: Op | None, k: int, *, largest: bool) -> tuple[Op, Op]:
    """Of x[before, count, after]; `indices` are where its elements were, if not in this order."""
    before, count, after = x.shape
    block = block_of(k)
    if count <= 2 * block:
        at = _positions(x, k, largest=largest)
        values = _chosen(x, at)
        return values, at if indices is None else _chosen(indices, at)
    blocks = -(-count // block)
    filled = build.pad(x, (0, 0, 0), (0, blocks * block - count, 0), _last(x, largest=largest))
    apart = build.reshape(filled, (before * blocks, block, after))
    at = _positions(apart, k, largest=largest)
    values = build.reshape(_chosen(apart, at), (before, blocks * k, after))
    if indices is None:
        begin = build.constant(np.arange(blocks).reshape(1, blocks, 1, 1) * block, I32)
        where: Op = ops.Add(build.reshape(at, (before, blocks, k, after)), begin)
    else:
        # What fills the last block may be chosen and carries index 0; it loses in the end.
        known = build.pad(indices, (0, 0, 0), (0, blocks * block - count, 0))
        where = _chosen(build.reshape(known, (before * blocks, block, after)), at)
    where = build.reshape(where, (before, blocks * k, after))
    return _best(values, where, k, largest=largest)


def _positions(x: Op, k: int, *, largest: bool) -> Op:
    """Where the k best of x[before, count, after] are: the elements of rank 0 to k - 1."""
    before, count, after = x.shape
    mine = build.reshape(x, (before, count, 1, after))
    other = build.reshape(x, (before, 1, count, after))
    place = np.arange(count)
    earlier = build.constant((place[None, :] < place[:, None])[..., None], BOOL)
    first = ops.Where(
        earlier,
        ops.Not(_better(mine, other, largest=largest)),
        _better(other, mine, largest=largest),
    )
    rank = ops.Reduce(build.cast(first, I32), "sum", (2,))
    wanted = build.constant(np.arange(k).reshape(k, 1, 1), I32)
    hit = ops.Equal(build.reshape(rank, (before, 1, count, after)), wanted)
    numbers = build.constant(place[:, None], I32)
    found = ops.Reduce(ops.Where(hit, numbers, build.constant(0, I32)), "max", (2,))
    return build.reshape(found, (before, k, after))


def _better(a: Op, b: Op, *, largest: bool) -> Op:
    """Whether a comes before b by value."""
    above, below = (a, b) if largest else (b, a)
    if not is_float(a.dtype):
        return ops.Less(below, above)
    return ops.And(ops.Not(ops.LessEqual(above, below)), ops.Not(ops.IsNan(below)))


def _chosen(x: Op, at: Op) -> Op:
    """The elements of x[before, count, after] at positions [before, k, after]."""
    before, count, after = x.shape
    k = at.shape[1]
    wanted = build.reshape(at, (before, k, 1, after))
    hit = ops.Equal(wanted, build.constant(np.arange(count)[:, None], I32))
    each = build.reshape(x, (before, 1, count, after))
    lowest_ = -np.inf if is_float(x.dtype) else int(lowest(x.dtype))
    found = ops.Reduce(ops.Where(hit, each, build.scalar(x, lowest_)), "max", (2,))
    return build.reshape(found, (before, k, after))


def _last(x: Op, *, largest: bool) -> float:
    """What comes after everything that precedes it, by value or by index."""
    if not is_float(x.dtype):
        return int(lowest(x.dtype) if largest else highest(x.dtype))
    return -np.inf if largest else np.nan
