"""What each core's own memory holds during a kernel, in cells as coarse as its accesses allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.auditor.area import Area

MOST_CELLS = 1 << 28
"""Cells and elements that are laid out at once: bytes that are forged may claim any number."""
MIXED = -1
"""For a number of products that cannot be told."""


class Cells:
    """A grid of cells fine enough for all accesses of a memory in one kernel."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self.base = min(a.start for a in areas)
        self.unit = gcd(*(a.unit(self.base) for a in areas))
        self.edges: Array | None = None
        if not any(a.dims for a in areas):  # runs alone: a cell from each end to the next
            self.edges = np.unique([e for a in areas for e in (a.start, a.stop)])
        stop = max(a.stop for a in areas)
        self.count = (stop - self.base) // self.unit if self.edges is None else len(self.edges) - 1

    def of(self, values: Array, touched: Area) -> Array:
        """The part of some values, one for each cell, that an access touches: a view."""
        if self.edges is None:
            return touched.of(values, self.base, self.unit)
        low, high = np.searchsorted(self.edges, (touched.start, touched.stop))
        return values[low:high]

    def first(self, touched: Area, bad: Array) -> tuple[int, int]:
        """The bytes of the first cell of an access that is bad."""
        marked = np.zeros(self.count, np.bool_)
        self.of(marked, touched)[...] = bad
        first = int(np.argmax(marked))
        return self.edge(first), self.edge(first + 1)

    def edge(self, cell: int) -> int:
        """Where a cell begins; that of `count` is where the last one ends."""
        return self.base + cell * self.unit if self.edges is None else int(self.edges[cell])

    def nbytes(self, marked: Array) -> int:
        """Bytes of the cells that are marked."""
        if self.edges is None:
            return int(np.count_nonzero(marked)) * self.unit
        return int(np.diff(self.edges)[marked].sum())


@dataclass
class Scratch:
    """One memory of the cores during one kernel, a value for each cell."""

    cells: Cells
    cores: Array = field(init=False)  # on how many cores it is written
    writer: Array = field(init=False)  # which step wrote it last
    sums: Array = field(init=False)  # which step began the sums in it, -1 for no sums
    terms: Array = field(init=False)  # products that went into an element of it
    spent: Array = field(init=False)  # whether these are counted in what was made of it

    def __post_init__(self) -> None:
        self.cores = np.zeros(self.cells.count, np.int32)
        self.writer = np.full(self.cells.count, -1, np.int32)
        self.sums = np.full(self.cells.count, -1, np.int32)
        self.terms = np.zeros(self.cells.count, np.float64)
        self.spent = np.zeros(self.cells.count, np.bool_)


def uniform(terms: Array) -> float:
    """The number that all of some cells have, else MIXED."""
    low, high = float(terms.min()), float(terms.max())
    return low if low == high else MIXED
