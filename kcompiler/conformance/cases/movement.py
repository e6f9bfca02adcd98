"""Cases of data movement: what is copied, and from where, must be exact in every type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from kcompiler.conformance.cases.case import Case, Sizes, case
from kcompiler.conformance.values import DType, extremes, generator, numbers
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Op
from kcompiler.graph.types import BOOL, F16, F32, I32, I64

I8 = np.dtype(np.int8)
Pairs = Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
TYPES = (F32, F16, I8, I32, I64, BOOL)


def cases(sizes: Sizes) -> Iterator[Case]:
    """All of this topic."""
    for dtype in TYPES:
        yield from _of_type(dtype, sizes)
    for dtype in (F32, I8):
        yield from _gathers(dtype)
    yield from _drawn()


def _of_type(dtype: DType, sizes: Sizes) -> Iterator[Case]:
    n = sizes.rows
    turned: Pairs = [
        ((7, 11), (1, 0)), ((n + 1, n - 1), (1, 0)), ((2, 3, 5, 7), (0, 2, 3, 1)),
        ((3, 5, 2), (2, 0, 1)), ((1, 13, 1, 5), (3, 2, 1, 0)),
    ]  # fmt: skip
    for shape, perm in turned:
        yield case(partial(_transpose, perm), extremes(dtype, shape, perm))
    other: Pairs = [((6, 35), (5, 42)), ((2, 3, 5), (30,)), ((1,), ()), ((12,), (2, 1, 6))]
    for shape, target in other:
        yield case(partial(_reshaped, target), numbers(dtype, shape, target))
    yield from _cut_and_joined(dtype)
    wide: Pairs = [((1,), (7,)), ((3, 1), (3, 65)), ((5,), (2, 3, 5)), ((), (2, 3))]
    for shape, target in wide:
        yield case(partial(_broadcast, target), numbers(dtype, shape, target))


def _cut_and_joined(dtype: DType) -> Iterator[Case]:
    """Slices, pads and concatenations."""
    for shape, starts, extents, steps in (
        ((11,), (3,), (5,), (1,)), ((9, 7), (8, 6), (9, 4), (-1, -2)),
        ((5, 13, 3), (1, 0, 2), (3, 5, 1), (1, 3, 1)), ((130, 3), (1, 0), (128, 3), (1, 1)),
    ):  # fmt: skip
        yield case(partial(_slice, starts, extents, steps), numbers(dtype, shape, "slice"))
    for shape, low, high, value in (
        ((5,), (1,), (0,), 0), ((3, 4), (0, 2), (1, 3), 1), ((2, 3, 5), (1, 0, 2), (0, 3, 1), 1),
        ((1, 1), (2, 2), (2, 2), 0),
    ):  # fmt: skip
        yield case(partial(_pad, low, high, value), numbers(dtype, shape, "pad"))
    for shapes, axis in (
        (((3,), (5,)), 0), (((2, 3), (2, 1), (2, 7)), 1), (((1, 5, 2), (4, 5, 2)), 0),
    ):  # fmt: skip
        parts = [numbers(dtype, s, i) for i, s in enumerate(shapes)]
        yield case(partial(_concat, axis), *parts)


def _transpose(perm: tuple[int, ...], x: Op) -> Op:
    return ops.Transpose(x, perm)


def _reshaped(shape: tuple[int, ...], x: Op) -> Op:
    """Turned around before, so that it is not a mere view."""
    turned = ops.Transpose(x, tuple(reversed(range(x.type.rank))))
    return ops.Reshape(turned, shape)


def _slice(starts: Any, extents: Any, steps: Any, x: Op) -> Op:
    return ops.Slice(x, starts, extents, steps)


def _pad(low: Any, high: Any, value: float, x: Op) -> Op:
    return ops.Pad(x, low, high, value)


def _concat(axis: int, *xs: Op) -> Op:
    return ops.Concat(xs, axis)


def _broadcast(shape: tuple[int, ...], x: Op) -> Op:
    return ops.Broadcast(x, shape)


def _gathers(dtype: DType) -> Iterator[Case]:
    """Indices from both ends, the first and the last of them, repeated, of both types."""
    for kind in (I64, I32):
        for shape, axis, indices in (
            ((1,), 0, [0]), ((9, 5), 0, [0, 8, -1, -9, 3, 3]), ((4, 7, 3), 1, [6, -7, 0, -1]),
            ((131, 2), 0, [[130, -131], [0, -1]]), ((5, 66), 1, [65, -66, 1, -2, 33]),
        ):  # fmt: skip
            values: Sequence[Array] = numbers(dtype, shape, "table"), np.array(indices, kind)
            yield case(partial(_gather, axis), *values)
            yield case(partial(_gather, axis), *values, what="constant", constant=(0,))


def _gather(axis: int, x: Op, indices: Op) -> Op:
    return ops.Gather(x, indices, axis)


def _drawn() -> Iterator[Case]:
    """Random permutations and cuts of random tensors, joined with themselves."""
    for number in range(12):
        rng = generator("movement", number)
        shape = tuple(int(n) for n in rng.integers(1, 14, 3))
        perm = tuple(int(i) for i in rng.permutation(3))
        axis = int(rng.integers(3))
        dtype = TYPES[number % len(TYPES)]
        make = partial(_moved, perm, axis, bool(rng.integers(2)))
        yield case(make, numbers(dtype, shape, number), what=f"drawn {number}")


def _moved(perm: tuple[int, ...], axis: int, backwards: bool, x: Op) -> Op:
    turned = ops.Transpose(x, perm)
    starts, steps = [0] * 3, [1] * 3
    if backwards:
        starts[axis], steps[axis] = turned.shape[axis] - 1, -1
    cut = ops.Slice(turned, tuple(starts), turned.shape, tuple(steps))
    return ops.Concat((cut, turned), axis)
