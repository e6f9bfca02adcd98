"""Which bytes the generic instructions touch and how many they move, from their fields alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import dma_cycles
from kcompiler.machine.indices import Indices, indices
from kcompiler.machine.touch import Touch
from kcompiler.scalar import FUNCTIONS

if TYPE_CHECKING:
    from kcompiler.machine.generic.transfers import Dim, Transfer

_ARITY = {"load": 1, "const": 0, "acc": 0, "cast": 1}


def arity(function: str) -> int:
    """Arguments that a micro-operation takes."""
    return _ARITY[function] if function in _ARITY else FUNCTIONS[function].arity


def dense(memory: str, address: int, size: int) -> Touch:
    """A run of bytes of a per-core memory."""
    return Touch(memory, True, address, size)


def strided(memory: str, address: int, itemsize: int, axes: Sequence[tuple[int, int]]) -> Touch:
    """Strided elements of a per-core memory, as the run that spans them."""
    low = high = address
    for extent, stride in axes:
        reach = (extent - 1) * stride
        low, high = (low + reach, high) if reach < 0 else (low, high + reach)
    return Touch(memory, True, low, high + itemsize - low)


def outside(transfer: Transfer, memory: str, gathered: int | None = None) -> tuple[Touch, ...]:
    """The bytes outside the cores that a transfer touches over all of them.

    `gathered` is the dimension whose indices are not known before the program runs: it is touched
    as a whole.
    """
    dims = tuple(
        (d.stride, indices(range(d.extent)) if i == gathered else _covered(_span(d), transfer.grid))
        for i, d in enumerate(transfer.dims)
    )
    touch = Touch(memory, False, transfer.base, transfer.itemsize, dims)
    return () if touch.empty else (touch,)


def unique_bytes(transfer: Transfer, gathered: int | None = None) -> int:
    """Bytes that leave or enter the shared memory: what several cores share is moved once.

    A gather's indices are as many as its box has, times the cores that differ in nothing else.
    """
    total = transfer.itemsize
    for i, dim in enumerate(transfer.dims):
        if i == gathered:
            alike = (
                n
                for g, n in enumerate(transfer.grid)
                if not any(d.core_steps[g] for d in transfer.dims)
            )
            total *= dim.box * prod(alike)
        else:
            count = _covered(_span(dim), transfer.grid).count
            total *= count if dim.stride else min(count, 1)
    return total


def port_cycles(transfer: Transfer, chip: Chip, gathered: int | None = None) -> int:
    """Cycles of the core whose port is busy longest, start-up included."""
    work = {_runs(transfer, lengths, gathered) for lengths in _boxes(transfer, gathered)}
    nbytes, runs = zip(*sorted(work), strict=True)
    return int(dma_cycles(np.array(nbytes), np.array(runs), chip).max())


class Span(NamedTuple):
    """All of a dimension but its stride: what decides which indices are covered."""

    extent: int
    origin: int
    step: int
    box: int
    core_steps: tuple[int, ...]

    def starts(self, grid: tuple[int, ...]) -> list[int]:
        """The different origins of the cores' boxes."""
        found = {self.origin}
        for step, cores in zip(self.core_steps, grid, strict=True):
            if step:
                found = {start + step * c for start in found for c in range(cores)}
        return sorted(found)

    def inside(self, start: int) -> range:
        """The indices in the tensor of a box that starts at `start`."""
        first = max(0, -(start // self.step))
        last = min(self.box, (self.extent - 1 - start) // self.step + 1)
        return range(start + first * self.step, start + last * self.step, self.step)


def _span(dim: Dim) -> Span:
    return Span(dim.extent, dim.origin, dim.step, dim.box, dim.core_steps)


@lru_cache(maxsize=1 << 14)
def _covered(span: Span, grid: tuple[int, ...]) -> Indices:
    """The tensor's indices that any core's box covers."""
    return Indices.of(span.inside(start) for start in span.starts(grid))


@lru_cache(maxsize=1 << 14)
def _lengths(span: Span, grid: tuple[int, ...]) -> tuple[int, ...]:
    """The different numbers of indices of one dimension that a core's box has in the tensor."""
    return tuple(sorted({len(span.inside(start)) for start in span.starts(grid)}))


def _boxes(transfer: Transfer, gathered: int | None) -> Iterable[tuple[int, ...]]:
    """The different extents of the cores' clipped boxes."""
    grid, dims = transfer.grid, transfer.dims
    found = [(d.box,) if i == gathered else _lengths(_span(d), grid) for i, d in enumerate(dims)]
    varied = [d for d, lengths in zip(dims, found, strict=True) if len(lengths) > 1]
    movers = [sum(d.core_steps[g] != 0 for d in varied) for g in range(len(grid))]
    if all(n <= 1 for n in movers):
        return product(*found)  # an axis of the grid clips one dimension: all pairings occur
    low, high = transfer.core_box.clipped
    lengths = high - low
    if gathered is not None:
        lengths[:, gathered] = dims[gathered].box
    return map(tuple, np.unique(lengths, axis=0).tolist())


def _runs(transfer: Transfer, lengths: tuple[int, ...], gathered: int | None) -> tuple[int, int]:
    """(bytes, contiguous runs) of a box with these extents."""
    run, total = transfer.itemsize, transfer.itemsize * prod(lengths)
    for i in range(len(lengths) - 1, -1, -1):
        dim = transfer.dims[i]
        if lengths[i] != 1 and (i == gathered or abs(dim.stride) * dim.step != run):
            break
        run *= lengths[i]
    return total, max(1, total // max(run, 1))
