"""Who touched these bytes last: a history of accesses, for passes that order instructions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from kcompiler.machine.indices import Indices
from kcompiler.machine.layouts import Dims, apart
from kcompiler.machine.touch import Touch

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Layout: TypeAlias = tuple[int, int, tuple[int, ...]]


@dataclass
class History:
    """How one engine read, or wrote, one memory: touches, each with a growing number.

    Equal touches are kept once, with their latest number. Both tables are in the order of the
    latest numbers.
    """

    runs: dict[tuple[int, int], int] = field(default_factory=dict)
    boxes: dict[Layout, Boxes] = field(default_factory=dict)

    def add(self, touch: Touch, number: int) -> None:
        """Remember a touch; `number` is not below any earlier one."""
        if not touch.dims:
            span = touch.start, touch.stop
            self.runs.pop(span, None)
            self.runs[span] = number
            return
        layout = touch.base, touch.run, tuple(stride for stride, _ in touch.dims)
        boxes = self.boxes.pop(layout, None) or Boxes(layout)
        self.boxes[layout] = boxes
        boxes.add(touch, number)

    def newest(self, touch: Touch, known: int) -> int:
        """The highest number above `known` of a touch that overlaps this one, else `known`."""
        start, stop = touch.start, touch.stop
        for (low, high), number in reversed(self.runs.items()):
            if number <= known:
                break
            if low < stop and start < high and _meet(low, high, touch):
                known = number
                break
        for boxes in reversed(self.boxes.values()):
            if boxes.latest <= known:
                break
            if boxes.low < stop and start < boxes.high:
                known = boxes.newest(touch, start, stop, known)
        return known


def _meet(low: int, high: int, touch: Touch) -> bool:
    """Whether a run of bytes inside a touch's bounds, as it is here, has bytes of the touch."""
    return not touch.dims or not apart((low, high - low, ()), (touch.base, touch.run, touch.dims))


class Boxes:
    """Touches of one tensor: base, run and strides are the same, index sets differ."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.latest = 0
        self.low, self.high = 1 << 62, -(1 << 62)
        self._touches: list[Touch] = []
        self._rows: dict[Dims, int] = {}
        self._sets = [_Sets() for _ in layout[2]]
        # A row a touch: number, start, stop, and which index set it has in each dimension.
        self._table: Array = np.zeros((3 + len(layout[2]), 8), np.int64)
        self._apart = True  # different indices of the joint box are different bytes

    def add(self, touch: Touch, number: int) -> None:
        """Remember a touch of this layout."""
        self.latest = number
        row = self._rows.get(touch.dims)
        if row is None:
            row = self._append(touch)
        self._table[0, row] = number

    def _append(self, touch: Touch) -> int:
        row = self._rows[touch.dims] = len(self._touches)
        self._touches.append(touch)
        if row == self._table.shape[1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], axis=1)
        start, stop = touch.start, touch.stop
        self.low, self.high = min(self.low, start), max(self.high, stop)
        self._table[1:3, row] = start, stop
        grown = False
        for d, (sets, (_, own)) in enumerate(zip(self._sets, touch.dims, strict=True)):
            before = sets.low, sets.high
            self._table[3 + d, row] = sets.number(own)
            grown |= (sets.low, sets.high) != before
        if grown:
            self._apart = self._injective([sets.high - sets.low for sets in self._sets])
        return row

    def _injective(self, widths: list[int]) -> bool:
        """Whether strides grow faster than what they enclose; `widths` from low to high index."""
        _, reach, strides = self.layout
        for stride, width in sorted(zip(map(abs, strides), widths, strict=True)):
            if width and stride < reach:
                return False
            reach += stride * width
        return True

    def _told_apart(self, touch: Touch) -> bool:
        """Whether index sets alone tell `touch` from every touch here."""
        if touch.dims in self._rows:
            return self._apart
        pairs = zip(self._sets, touch.dims, strict=True)
        return self._injective([max(s.high, i.high) - min(s.low, i.low) for s, (_, i) in pairs])

    def newest(self, touch: Touch, start: int, stop: int, known: int) -> int:
        """As `History.newest`, for [start, stop) of `touch`."""
        numbers, starts, stops = self._table[:3, : len(self._touches)]
        hits = (numbers > known) & (starts < stop) & (stops > start)
        same = self.layout == (touch.base, touch.run, tuple(stride for stride, _ in touch.dims))
        if same and hits.any() and self._told_apart(touch):
            for d, (sets, (_, own)) in enumerate(zip(self._sets, touch.dims, strict=True)):
                hits &= sets.meets(own)[self._table[3 + d, : len(hits)]]
        # What all together do not tell apart each pair may: ask them, the latest first.
        found = np.flatnonzero(hits)
        found = found[np.argsort(-numbers[found], kind="stable")]
        return next((int(numbers[r]) for r in found if self._touches[r].overlaps(touch)), known)


class _Sets:
    """The different index sets of one dimension, and which of them meet a given one."""

    def __init__(self) -> None:
        self.low, self.high = 1 << 62, -1  # of all of them
        self._known: list[Indices] = []
        self._numbers: dict[Indices, int] = {}
        self._meets: dict[Indices, Array] = {}

    def number(self, own: Indices) -> int:
        """The set's number, given at first sight."""
        found = self._numbers.get(own)
        if found is None:
            found = self._numbers[own] = len(self._known)
            self._known.append(own)
            self.low, self.high = min(self.low, own.low), max(self.high, own.high)
        return found

    def meets(self, own: Indices) -> Array:
        """For each set, whether it has an index in common with `own`."""
        known = self._meets.get(own)
        if known is None or len(known) < len(self._known):
            new = self._known[0 if known is None else len(known) :]
            more = np.array([other.meets(own) for other in new], np.bool_)
            known = more if known is None else np.concatenate([known, more])
            self._meets[own] = known
        return known
