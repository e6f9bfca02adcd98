"""The matrix engine's meaning: sums of products over strided loops, all cores in one BLAS call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import F32, is_float
from kcompiler.machine.simulator.memories import Machine

# Sums of products of 8-bit integers stay below 2^24 for this many terms, so float32 holds them exactly.
EXACT_TERMS = 512
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
class Roles:
    """Loops by what they index: both factors and the sum, one of them, or no sum (reduced)."""

    batch: tuple[Loop, ...]
    m: tuple[Loop, ...]
    n: tuple[Loop, ...]
    k: tuple[Loop, ...]


def roles(loops: Sequence[Loop]) -> Roles:
    """The loops sorted into roles, order kept; loops of one iteration vanish."""
    live = [l for l in loops if l.extent > 1]
    k = tuple(l for l in live if l.acc == 0)
    rest = [l for l in live if l.acc != 0]
    m = tuple(l for l in rest if l.b == 0)
    n = tuple(l for l in rest if l.a == 0 and l.b != 0)
    return Roles(tuple(l for l in rest if l.a != 0 and l.b != 0), m, n, k)


def contract(
    m: Machine,
    scratchpad: str,
    cores: int,
    a: Factor,
    b: Factor,
    acc: int,
    loops: Sequence[Loop],
    accumulate: bool,
) -> None:
    """acc[...] (+)= sum over the reduced loops of a[...] * b[...], in each of the first `cores` cores.

    Floats sum in float32, integers exactly in int32.
    """
    by = roles(loops)
    result = F32 if is_float(a.dtype) else np.dtype(np.int32)
    outer = (*by.batch, *by.m, *by.n)
    shape, strides = [l.extent for l in outer], [l.acc for l in outer]
    total = _sums(m, scratchpad, cores, a, b, by).reshape(cores, *shape)
    if accumulate:
        total = m.read(scratchpad, acc, result, shape, strides, cores) + total.astype(
            result, copy=False
        )
    m.write(scratchpad, acc, result, shape, strides, cores)[...] = total


def _sums(m: Machine, scratchpad: str, cores: int, a: Factor, b: Factor, by: Roles) -> Array:
    """The sums as (cores, batch, m, n)."""
    left = _elements(m, scratchpad, cores, a, [(l.extent, l.a) for l in (*by.batch, *by.m, *by.k)])
    right = _elements(m, scratchpad, cores, b, [(l.extent, l.b) for l in (*by.batch, *by.k, *by.n)])
    batch, rows, columns, terms = (
        prod(l.extent for l in part) for part in (by.batch, by.m, by.n, by.k)
    )
    if (rows == 1 or columns == 1) and terms <= FEW_TERMS and batch > 1:
        return _few_terms(left, right, by)
    left = left.reshape(cores * batch, rows, terms)
    right = right.reshape(cores * batch, terms, columns)
    if is_float(a.dtype):
        return np.matmul(left, right)
    return _exact(left, right)


def _exact(left: Array, right: Array) -> Array:
    """An integer product through float BLAS, in slices short enough that every sum is exact."""
    total = np.zeros((*left.shape[:2], right.shape[2]), np.int64)
    for start in range(0, left.shape[2], EXACT_TERMS):
        part = slice(start, start + EXACT_TERMS)
        total += np.matmul(left[:, :, part], right[:, part]).astype(np.int64)
    return total.astype(np.int32)


def _few_terms(left: Array, right: Array, by: Roles) -> Array:
    """The sums of a depthwise kernel: one multiply-add pass over all outputs for each term."""
    nb, nm, nn, nk = len(by.batch), len(by.m), len(by.n), len(by.k)
    total: Array | None = None
    for term in np.ndindex(*(l.extent for l in by.k)):
        x = left[(slice(None),) * (1 + nb + nm) + term]
        y = right[(slice(None),) * (1 + nb) + term]
        x = x.reshape(*x.shape, *(1,) * nn)
        y = y.reshape(*y.shape[: 1 + nb], *(1,) * nm, *y.shape[1 + nb :])
        total = x * y if total is None else total + x * y
    assert total is not None or nk == 0
    return total if total is not None else left * right


def _elements(
    m: Machine, scratchpad: str, cores: int, factor: Factor, axes: Sequence[tuple[int, int]]
) -> Array:
    """A factor's elements in the type that they multiply in: a view of a converted copy.

    Windows overlap (one input feeds many outputs), so the bytes that they span are converted once when
    that is less work than converting every use.
    """
    shape, strides = [n for n, _ in axes], [s for _, s in axes]
    view = m.read(scratchpad, factor.address, factor.dtype, shape, strides, cores)
    working = F32 if is_float(factor.dtype) or factor.dtype.itemsize == 1 else np.dtype(np.float64)
    size = factor.dtype.itemsize
    span = 1 + sum((n - 1) * s for n, s in axes) // size
    aligned = all(s >= 0 and s % size == 0 for s in strides)
    if not aligned or span >= prod(shape):
        return view.astype(working)
    raw = m.read_span(scratchpad, factor.address, factor.dtype, span, cores).astype(working)
    scaled = tuple(s // size * working.itemsize for s in strides)
    return np.lib.stride_tricks.as_strided(raw, (cores, *shape), (raw.strides[0], *scaled))
