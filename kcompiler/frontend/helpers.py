"""What several importers need."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kcompiler.errors import UnsupportedError
from kcompiler.frontend.limits import TABLE
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import compute_dtype


def either_type(first: bool, yes: np.dtype[Any], no: np.dtype[Any]) -> np.dtype[Any]:
    """One of two element types."""
    return yes if first else no


def wide(x: Op, compute: Callable[[Op], Op]) -> Op:
    """`compute` in the compute type, rounded once: for an ONNX operator that is decomposed."""
    return build.cast(compute(build.cast(x, compute_dtype(x.dtype))), x.dtype)


def table_size(*extents: int, limit: int = TABLE) -> None:
    """Raise `UnsupportedError` before a table out of all proportion is made."""
    size = math.prod(extents)
    if size > limit or any(e < 0 for e in extents):
        raise UnsupportedError(
            f"a table of {size:,} elements would be needed",
            why=f"the limit is {limit:,}: shapes like {list(extents)} come from a broken model",
            fix="check the shapes that the model computes",
        )


def take(x: Op, axis: int, indices: Sequence[int] | np.ndarray[Any, Any]) -> Op:
    """X at known indices along an axis: slices and repetition where they suffice, else a gather."""
    wanted = np.asarray(indices, np.int64)
    extent = x.shape[axis]
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= extent):
        raise ValueError(f"index {wanted.min()}..{wanted.max()} of an axis of {extent}")
    repeats = _repeats(wanted)
    if repeats > 1:
        return _repeat(take(x, axis, wanted[::repeats]), axis, repeats)
    runs = _runs(wanted)
    if len(runs) > 8:
        return build.gather(x, build.constant(wanted, np.dtype(np.int64)), axis)
    return build.concat([_run(x, axis, *run) for run in runs], axis)


def _repeats(wanted: np.ndarray[Any, Any]) -> int:
    """How often every index stands in a row, if that is the same for all (else 1)."""
    if len(wanted) < 2:
        return 1
    changes = np.flatnonzero(np.diff(wanted)) + 1
    lengths = np.diff(np.concatenate(([0], changes, [len(wanted)])))
    return int(lengths[0]) if (lengths == lengths[0]).all() else 1


def _runs(wanted: np.ndarray[Any, Any]) -> list[tuple[int, int, int]]:
    """Arithmetic progressions (start, size, step) that make up the indices."""
    runs: list[tuple[int, int, int]] = []
    at = 0
    steps = np.diff(wanted)
    while at < len(wanted) and len(runs) <= 8:
        size = 1
        if at + 1 < len(wanted):
            other = np.flatnonzero(steps[at:] != steps[at])
            size = int(other[0] if len(other) else len(wanted) - 1 - at) + 1
        step = int(steps[at]) if size > 1 else 1
        runs.append((int(wanted[at]), size, step))
        at += size
    return runs or [(0, 0, 1)]


def _run(x: Op, axis: int, start: int, size: int, step: int) -> Op:
    if step == 0:
        return _repeat(build.slice_axis(x, axis, start, 1), axis, size)
    return build.slice_axis(x, axis, start, size, step)


def _repeat(x: Op, axis: int, count: int) -> Op:
    """Every slice along an axis `count` times in a row."""
    before, after = x.shape[: axis + 1], x.shape[axis + 1 :]
    apart = build.reshape(x, (*before, 1, *after))
    return build.reshape(
        build.broadcast(apart, (*before, count, *after)),
        (*x.shape[:axis], x.shape[axis] * count, *after),
    )


def from_negative(indices: Op, extent: int) -> Op:
    """Indices that may count from the end, counted from the front."""
    zero = build.scalar(indices, 0)
    return ops.Where(
        ops.Less(indices, zero), ops.Add(indices, build.scalar(indices, extent)), indices
    )


def channels(x: Op, rank: int) -> Op:
    """A vector of one value a channel, so that it broadcasts to [N, C, *S] of a rank."""
    return build.reshape(x, (x.type.size, *(1,) * (rank - 2)))


def plus(x: Op, bias: Op | None) -> Op:
    """X + bias, where there is one."""
    return x if bias is None else ops.Add(x, bias)


def normal_axes(axes: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Axes counted from the front, ascending; all of them for None."""
    if axes is None:
        return tuple(range(rank))
    found = [build.normal_axis(a, rank) for a in axes]
    if len(set(found)) != len(found):
        raise ValueError(f"axes {list(axes)} repeat")
    return tuple(sorted(found))
