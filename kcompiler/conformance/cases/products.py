"""Cases of contractions and convolutions: sizes around the array's, edges, strides, groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kcompiler.conformance.cases.case import Case, Sizes, case
from kcompiler.conformance.values import DType, extremes, generator, numbers
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BF16, F16, F32, I32

I8, U8 = np.dtype(np.int8), np.dtype(np.uint8)
PRODUCTS: tuple[tuple[DType, DType, DType], ...] = (
    (F32, F32, F32),
    (F16, F16, F16),
    (BF16, BF16, BF16),
    (F16, F16, F32),
    (I8, I8, I32),
    (U8, I8, I32),
    (U8, U8, I32),
)
_MAIN = (PRODUCTS[0], PRODUCTS[1], PRODUCTS[4], PRODUCTS[5])


def cases(sizes: Sizes) -> Iterator[Case]:
    """All of this topic."""
    yield from _matrices(sizes)
    yield from _equations()
    yield from _convolutions(sizes)
    yield from _drawn()


def _matrices(sizes: Sizes) -> Iterator[Case]:
    n = sizes.rows
    extents = [
        (1, 1, 1), (7, 5, 3), (1, n + 1, 1), (n - 1, n, n + 1), (n + 1, n - 1, n),
        (2, 2 * n + 3, n + 7), (n + 5, 3, 2 * n + 1), (13, 331, 11), (5, 2003, 7), (24, 907, 23),
    ]  # fmt: skip
    for x, y, result in PRODUCTS:
        for m, k, p in extents:
            values = numbers(x, (m, k), "a"), numbers(y, (k, p), "b")
            yield case(partial(_contract, "ik,kj->ij", result), *values)
    for x, y, result in _MAIN:
        values = numbers(x, (n + 1, 37), "a"), numbers(y, (n + 3, 37), "b")
        make = partial(_contract, "ik,jk->ij", result)
        yield case(make, *values, what="constant", constant=(1,))
        yield case(make, *values, what="transposed")
        values = extremes(x, (19, 29), "a"), extremes(y, (29, 23), "b")
        yield case(partial(_contract, "ik,kj->ij", result), *values, what="extremes")


def _contract(equation: str, dtype: DType, x: Op, y: Op) -> Op:
    return ops.Contract(x, y, equation, dtype)


def _equations() -> Iterator[Case]:
    """Batches, outer and inner products, results in another order, sums of one operand alone."""
    found: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        ("bik,bkj->bij", (3, 5, 7), (3, 7, 11)),
        ("bhik,bhjk->bhij", (2, 3, 5, 13), (2, 3, 7, 13)),
        ("ik,kj->ji", (17, 19), (19, 5)),
        ("ki,kj->ij", (19, 17), (19, 5)),
        ("bki,jk->bij", (2, 9, 7), (3, 9)),
        ("i,j->ij", (31,), (17,)),
        ("k,k->", (129,), (129,)),
        ("ik,k->i", (67, 33), (33,)),
        ("b,bj->bj", (5,), (5, 9)),
        ("ikl,klj->ij", (5, 3, 7), (3, 7, 9)),
    ]
    for x, y, result in _MAIN:
        for equation, left, right in found:
            make = partial(_contract, equation, result)
            yield case(make, numbers(x, left, "a"), numbers(y, right, "b"))


@dataclass(frozen=True)
class How:
    """How a window moves: `low` and `high` are the pads at both ends."""

    strides: tuple[int, ...] = (1, 1)
    low: tuple[int, ...] = (0, 0)
    high: tuple[int, ...] = (0, 0)
    dilations: tuple[int, ...] = (1, 1)
    groups: int = 1


SAME = How(low=(1, 1), high=(1, 1))


def conv(dtype: DType, how: How, x: Op, w: Op) -> Op:
    """A convolution with a result of an element type."""
    return ops.Conv(x, w, how.strides, how.low, how.high, how.dilations, how.groups, dtype)


def _convolutions(sizes: Sizes) -> Iterator[Case]:
    n = sizes.rows
    two: list[tuple[tuple[int, ...], tuple[int, ...], How]] = [
        ((1, 1, 1, 1), (1, 1, 1, 1), How()),
        ((1, 3, 13, 11), (5, 3, 3, 3), SAME),
        ((2, 8, 17, 15), (9, 8, 3, 3), replace(SAME, strides=(2, 2))),
        ((1, 4, 12, 10), (6, 4, 3, 2), How((1, 2), (2, 0), (1, 1))),
        ((1, 5, 15, 15), (3, 5, 3, 3), How((1, 1), (2, 2), (2, 2), (2, 2))),
        ((1, 6, 9, 9), (6, 1, 3, 3), replace(SAME, groups=6)),
        ((1, 6, 10, 9), (12, 1, 5, 5), How((2, 1), (2, 2), (2, 2), groups=6)),
        ((1, 12, 7, 7), (8, 3, 3, 3), replace(SAME, groups=4)),
        ((1, n + 1, 5, 3), (n - 1, n + 1, 1, 1), How()),
        ((1, 2, 31, 29), (7, 2, 7, 7), How((2, 2), (3, 3), (3, 3))),
        ((1, 3, 5, 5), (4, 3, 5, 5), How()),
        ((1, 3, 4, 5), (2, 3, 3, 3), How((3, 3), (0, 2), (2, 0))),
    ]
    for x, y, result in PRODUCTS:
        for shape, weights, how in two:
            values = numbers(x, shape, "x"), numbers(y, weights, "w")
            yield case(partial(conv, result, how), *values, constant=(1,), what="constant")
    one, three = How((2,), (1,), (2,), (1,)), How((1, 2, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1))
    for x, y, result in _MAIN:
        make = partial(conv, result)
        yield case(partial(make, SAME), numbers(x, (1, 3, 9, 8), "x"), numbers(y, (5, 3, 3, 3)))
        yield case(partial(make, one), numbers(x, (1, 4, 37), "x"), numbers(y, (3, 4, 5)))
        values = numbers(x, (1, 2, 5, 6, 7), "x"), numbers(y, (3, 2, 3, 2, 2))
        yield case(partial(make, three), *values)


def _drawn() -> Iterator[Case]:
    """Random convolutions and matrix products."""
    for number in range(24):
        rng = generator("products", number)
        x, y, result = _MAIN[number % len(_MAIN)]
        m, k, n = (int(rng.integers(1, 90)) for _ in range(3))
        values = numbers(x, (m, k), number), numbers(y, (k, n), number)
        yield case(partial(_contract, "ik,kj->ij", result), *values, what=f"drawn {number}")
        yield _drawn_conv(rng, (x, y, result), f"drawn {number}")


def _drawn_conv(rng: np.random.Generator, types: tuple[DType, DType, DType], what: str) -> Case:
    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True))

    groups = pick(1, 3)
    inner, outer = pick(1, 6), pick(1, 6)
    kernel = [pick(1, 4) for _ in range(2)]
    dilations = [pick(1, 2) for _ in range(2)]
    low, high = (tuple(pick(0, k - 1) for k in kernel) for _ in range(2))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = [r + pick(0, 12) for r in reach]
    how = How((pick(1, 3), pick(1, 3)), low, high, (dilations[0], dilations[1]), groups)
    x = numbers(types[0], (pick(1, 2), groups * inner, *size), what)
    w = numbers(types[1], (groups * outer, inner, *kernel), what)
    return case(partial(conv, types[2], how), x, w, what=what)
