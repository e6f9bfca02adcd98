"""Which bytes rebel's instructions touch and how many they move, from their fields alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from kcompiler.machine.touch import Touch, indices
from kcompiler.scalar import FUNCTIONS

if TYPE_CHECKING:
    from kcompiler.targets.rebel.transfers import Dim, Transfer

_ARITY = {"load": 1, "const": 0, "acc": 0, "cast": 1}


def arity(function: str) -> int:
    """Arguments that a micro-operation takes."""
    return _ARITY[function] if function in _ARITY else FUNCTIONS[function].arity


def dense(memory: str, address: int, size: int) -> Touch:
    """A run of bytes of a per-core memory."""
    return Touch(memory, True, address, size)


def strided(memory: str, address: int, itemsize: int, axes: Sequence[tuple[int, int]]) -> Touch:
    """Strided elements of a per-core memory, as the run that spans them."""
    low = address + sum(min(0, (n - 1) * s) for n, s in axes)
    high = address + sum(max(0, (n - 1) * s) for n, s in axes) + itemsize
    return Touch(memory, True, low, high - low)


def outside(transfer: Transfer, whole: int | None = None) -> tuple[Touch, ...]:
    """The shared memory's bytes that a transfer touches over all its cores; all of dim `whole`."""
    dims = tuple(
        (d.stride, indices(range(d.extent)) if i == whole else _indices(d, transfer.grid))
        for i, d in enumerate(transfer.dims)
    )
    touch = Touch(transfer.memory, False, transfer.base, transfer.itemsize, dims)
    return () if touch.empty else (touch,)


def _indices(dim: Dim, grid: tuple[int, ...]) -> int:
    """The tensor's indices that any core's box covers, as a bit mask."""
    starts = {dim.origin}
    for step, cores in zip(dim.core_steps, grid, strict=True):
        if step:
            starts = {start + step * c for start in starts for c in range(cores)}
    mask = 0
    for start in sorted(starts):
        first = max(0, -(start // dim.step))
        last = min(dim.box, (dim.extent - 1 - start) // dim.step + 1)
        if last > first:
            mask |= indices(range(start + first * dim.step, start + last * dim.step, dim.step))
    return mask


def unique_bytes(transfer: Transfer) -> int:
    """Bytes that leave or enter the shared memory: what several cores share is moved once."""
    counts = [_indices(d, transfer.grid).bit_count() for d in transfer.dims]
    useful = [c for c, d in zip(counts, transfer.dims, strict=True) if d.stride]
    return prod(useful) * transfer.itemsize


def port_work(transfer: Transfer) -> tuple[int, int]:
    """(bytes, runs) that the busiest core's port moves."""
    low, high = transfer.core_box.clipped
    lengths = np.maximum(high - low, 0)
    elements = lengths.prod(axis=1)
    busiest = int(elements.argmax()) if len(elements) else 0
    total = int(elements[busiest]) * transfer.itemsize if len(elements) else 0
    run = transfer.itemsize
    for d in range(len(transfer.dims) - 1, -1, -1):
        dim = transfer.dims[d]
        if abs(dim.stride) * dim.step != run:
            break
        run *= int(lengths[busiest, d])
    return total, max(1, total // max(run, 1))
