"""The matrix engine's meaning: sums of products over strided loops, all cores in one BLAS call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import F32, F64, I32, I64, integer_range, is_float
from kcompiler.machine.simulator.memories import Machine

# Below this many products a sum, one pass per product beats im2col and a matrix product.
FEW_TERMS = 64


class Loop(Protocol):
    """One loop: its extent and the byte strides of both factors and of the sum."""

    @property
    def extent(self) -> int: ...
    @property
    def a(self) -> int: ...
    @property
    def b(self) -> int: ...
    @property
    def acc(self) -> int: ...


@dataclass(frozen=True)
class Factor:
    """Where a factor lies and what its elements are."""

    address: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Contraction:
    """What one contraction does: its factors, where the sums lie, and whether it adds to them."""

    a: Factor
    b: Factor
    acc: int
    loops: Sequence[Loop]
    accumulate: bool


@dataclass(frozen=True)
class Roles:
    """Loops by what they index: both factors and the sum, one of them, or no sum (reduced)."""

    batch: tuple[Loop, ...]
    m: tuple[Loop, ...]
    n: tuple[Loop, ...]
    k: tuple[Loop, ...]


def roles(loops: Sequence[Loop]) -> Roles:
    """The loops sorted into roles, order kept; loops of one iteration vanish.

    A loop that moves neither factor repeats a sum (counted as rows) or a product (reduced).
    """
    live = [loop for loop in loops if loop.extent > 1]
    k = tuple(loop for loop in live if loop.acc == 0)
    rest = [loop for loop in live if loop.acc != 0]
    return Roles(
        batch=tuple(loop for loop in rest if loop.a != 0 and loop.b != 0),
        m=tuple(loop for loop in rest if loop.b == 0),
        n=tuple(loop for loop in rest if loop.a == 0 and loop.b != 0),
        k=k,
    )


def contract(m: Machine, scratchpad: str, cores: int, work: Contraction) -> None:
    """acc[...] (+)= sum over the reduced loops of a[...] * b[...], in each of the first cores.

    Floats sum in float32. Integers sum in int32 and wrap around, as an accumulator of 32 bits does.
    """
    by = roles(work.loops)
    result = F32 if is_float(work.a.dtype) else I32
    outer = (*by.batch, *by.m, *by.n)
    shape, strides = [loop.extent for loop in outer], [loop.acc for loop in outer]
    with np.errstate(all="ignore"):
        total = sums(m, scratchpad, cores, work).reshape(cores, *shape).astype(result, copy=False)
        if work.accumulate:
            total = m.read(scratchpad, work.acc, result, shape, strides, cores=cores) + total
    m.write(scratchpad, work.acc, result, shape, strides, cores=cores)[...] = total


def exact_terms(a: np.dtype[Any], b: np.dtype[Any], working: np.dtype[Any]) -> int:
    """How many products of two integer types a float type sums exactly, in any order."""
    largest = prod(max(map(abs, integer_range(dtype))) for dtype in (a, b))
    return int(2 ** (np.finfo(working).nmant + 1)) // largest


def sums(m: Machine, scratchpad: str, cores: int, work: Contraction) -> Array:
    """The sums as (cores, batch, m, n)."""
    by = roles(work.loops)
    x = [(loop.extent, loop.a) for loop in (*by.batch, *by.m, *by.k)]
    y = [(loop.extent, loop.b) for loop in (*by.batch, *by.k, *by.n)]
    working = _working(work)
    left = _Elements(m, scratchpad, cores, working).of(work.a, x)
    right = _Elements(m, scratchpad, cores, working).of(work.b, y)
    batch, rows, columns, terms = (
        prod(loop.extent for loop in part) for part in (by.batch, by.m, by.n, by.k)
    )
    few = FEW_TERMS if is_float(working) else 0
    if (rows == 1 or columns == 1) and terms <= few and batch > 1:
        return _few_terms(left, right, by)
    left = left.reshape(cores * batch, rows, terms)
    right = right.reshape(cores * batch, terms, columns)
    if is_float(work.a.dtype) or working == I64:
        return np.asarray(np.matmul(left, right))
    return _exact(left, right, exact_terms(work.a.dtype, work.b.dtype, working))


def _working(work: Contraction) -> np.dtype[Any]:
    """The type to multiply in: one that BLAS has and that is exact for enough integer products."""
    a, b = work.a.dtype, work.b.dtype
    if is_float(a):
        return F32
    return next((w for w in (F32, F64) if exact_terms(a, b, w) >= FEW_TERMS), I64)


def _exact(left: Array, right: Array, most: int) -> Array:
    """An integer product through float BLAS, in slices of `most` terms, whose sums are exact."""
    total = np.zeros((*left.shape[:2], right.shape[2]), np.int64)
    for start in range(0, left.shape[2], most):
        part = slice(start, start + most)
        total += np.matmul(left[:, :, part], right[:, part]).astype(np.int64)
    return total


def _few_terms(left: Array, right: Array, by: Roles) -> Array:
    """The sums of a depthwise kernel: one multiply-add pass over all outputs for each term."""
    nb, nm, nn = len(by.batch), len(by.m), len(by.n)
    total: Array | None = None
    for term in np.ndindex(*(loop.extent for loop in by.k)):  # one empty term when nothing reduces
        x = left[(slice(None),) * (1 + nb + nm) + term]
        y = right[(slice(None),) * (1 + nb) + term]
        x = x.reshape(*x.shape, *(1,) * nn)
        y = y.reshape(*y.shape[: 1 + nb], *(1,) * nm, *y.shape[1 + nb :])
        total = x * y if total is None else total + x * y
    return np.asarray(total)


@dataclass(frozen=True)
class _Elements:
    """Reads factors in the type that they multiply in."""

    m: Machine
    scratchpad: str
    cores: int
    working: np.dtype[Any]

    def of(self, factor: Factor, axes: Sequence[tuple[int, int]]) -> Array:
        """A factor's elements: a view of a converted copy.

        Windows overlap (one input feeds many outputs), so the bytes that they span are converted
        once when that is less work than converting every use.
        """
        shape, strides = [n for n, _ in axes], [s for _, s in axes]
        view = self.m.read(
            self.scratchpad, factor.address, factor.dtype, shape, strides, cores=self.cores
        )
        size = factor.dtype.itemsize
        span = 1 + sum((n - 1) * s for n, s in axes) // size
        whole = all(s >= 0 and s % size == 0 for s in strides)
        if not whole or span >= prod(shape):
            return view.astype(self.working)
        raw = self.m.read_span(
            self.scratchpad, factor.address, factor.dtype, span, self.cores
        ).astype(self.working)
        # In steps of what was given: it may repeat one element, and then none lies beside it.
        core, element = raw.strides
        steps = (core, *(s // size * element for s in strides))
        return np.lib.stride_tricks.as_strided(raw, (self.cores, *shape), steps, subok=True)
