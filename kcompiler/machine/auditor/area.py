"""Sets of bytes that a strided access touches, in a form that tells how many they are.

Computed from the access alone (address, element size, shape, strides): windows that overlap become
the range that they cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod

import numpy as np

from kcompiler.graph.node import Array

_WINDOW = 1 << 26  # cells compared at once


@dataclass(frozen=True)
class Area:
    """Runs of `run` bytes at `start + sum(stride[d] * i_d)` for i_d below extent[d].

    `dims` holds (stride, extent) by growing stride, all positive, and no extent is 1.
    """

    start: int
    run: int
    dims: tuple[tuple[int, int], ...] = ()

    @cached_property
    def stop(self) -> int:
        """One past the last byte."""
        return self.start + sum(s * (n - 1) for s, n in self.dims) + self.run

    @cached_property
    def nbytes(self) -> int:
        """Bytes, counted once each unless runs of different dimensions cross."""
        return self.run * prod(n for _, n in self.dims)

    @cached_property
    def plain(self) -> bool:
        """Whether every byte belongs to one run only."""
        reach = self.run
        for stride, extent in self.dims:
            if stride < reach:
                return False
            reach = stride * (extent - 1) + reach
        return True

    def unit(self, base: int) -> int:
        """The largest piece that this set and addresses from `base` consist of."""
        return gcd(self.start - base, self.run, *(s for s, _ in self.dims))

    def of(self, cells: Array, base: int, unit: int) -> Array:
        """The set's part of an array that has a cell for each `unit` bytes from `base` on."""
        size = cells.itemsize
        shape = (*(n for _, n in reversed(self.dims)), self.run // unit)
        strides = (*(s // unit * size for s, _ in reversed(self.dims)), size)
        return np.ndarray(shape, cells.dtype, cells, (self.start - base) // unit * size, strides)


def area(address: int, itemsize: int, shape: Sequence[int], strides: Sequence[int]) -> Area:
    """The bytes of an access that is not empty."""
    start, steps = address, []
    for extent, stride in zip(shape, strides, strict=True):
        if extent == 1 or stride == 0:
            continue
        start += min(0, (extent - 1) * stride)
        steps.append((abs(stride), extent))
    run, dims = itemsize, list[tuple[int, int]]()
    for stride, extent in sorted(steps):
        if not dims and stride <= run:
            run += (extent - 1) * stride
            continue
        if dims and stride % dims[-1][0] == 0 and stride // dims[-1][0] <= dims[-1][1]:
            inner, count = dims[-1]
            dims[-1] = inner, count + stride // inner * (extent - 1)
            continue
        dims.append((stride, extent))
    return Area(start, run, tuple(dims))


def meet(a: Area, b: Area) -> int | None:
    """The first byte that is in both, or None."""
    low, high = max(a.start, b.start), min(a.stop, b.stop)
    if low >= high:
        return None
    if not a.dims and not b.dims:
        return low
    if _apart(a, b):
        return None
    return _first_common(a, b)


def _apart(a: Area, b: Area) -> bool:
    """Whether, modulo some stride, the two lie in ranges that do not touch."""
    for modulus in {s for s, _ in (*a.dims, *b.dims)}:
        x, y = _residues(a, modulus), _residues(b, modulus)
        if x is not None and y is not None:
            gap = (y[0] - x[0]) % modulus
            if gap >= x[1] and gap + y[1] <= modulus:
                return True
    return False


def _residues(a: Area, modulus: int) -> tuple[int, int] | None:
    """(first, length) of a range modulo a number that holds the set; None if that is all."""
    length = a.run + sum(s * (n - 1) for s, n in a.dims if s % modulus)
    return (a.start % modulus, length) if length < modulus else None


def _first_common(a: Area, b: Area) -> int | None:
    """By laying one set out in cells and looking at it through the other, large ones in halves."""
    one, two = _clipped(a, b), _clipped(b, a)
    if one is None or two is None:
        return None
    base = min(one.start, two.start)
    unit = gcd(one.unit(base), two.unit(base))
    size = (max(one.stop, two.stop) - base) // unit
    if size > _WINDOW or not (one.dims or two.dims):
        return _in_halves(one, two)
    cells = np.zeros(size, np.bool_)
    one.of(cells, base, unit)[...] = True
    found = two.of(cells, base, unit)
    if not found.any():
        return None
    both = np.zeros_like(cells)
    two.of(both, base, unit)[...] = found
    return base + int(np.argmax(both)) * unit


def _clipped(a: Area, b: Area) -> Area | None:
    """What of a set may lie between the ends of another: its run, or steps of the outermost."""
    if not a.dims:
        low, high = max(a.start, b.start), min(a.stop, b.stop)
        return Area(low, high - low) if low < high else None
    stride, extent = a.dims[-1]
    reach = a.stop - stride * (extent - 1) - a.start
    first = max(0, (b.start - a.start - reach) // stride + 1)
    last = min(extent, -((a.start - b.stop) // stride))
    return _steps(a, first, last) if first < last else None


def _steps(a: Area, first: int, last: int) -> Area:
    """Some steps of the outermost dimension."""
    *inner, (stride, _) = a.dims
    kept = [(stride, last - first)] if last - first > 1 else []
    return Area(a.start + first * stride, a.run, (*inner, *kept))


def _in_halves(a: Area, b: Area) -> int | None:
    """The same, of sets too large to be laid out at once."""
    if not a.dims:
        return meet(a, b) if not b.dims else _in_halves(b, a)
    extent = a.dims[-1][1]
    halves = _steps(a, 0, extent // 2), _steps(a, extent // 2, extent)
    return next((x for half in halves if (x := meet(half, b)) is not None), None)
