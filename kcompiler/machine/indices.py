"""Sets of indices of one dimension, as ranges: a set of billions is no larger than one of two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from math import gcd
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass(frozen=True)
class Indices:
    """The union of ranges, ascending by their first index; none is empty, and no two could be one.

    Ranges of one step have no index in common.
    """

    ranges: tuple[range, ...]

    @staticmethod
    def of(ranges: Iterable[range]) -> Indices:
        """The union of ranges (steps >= 1), which may be empty and have indices in common."""
        return Indices(_joined([r for r in ranges if r]))

    @staticmethod
    def of_bits(mask: int) -> Indices:
        """The positions of the bits that are set in a number."""
        return Indices.of(range(i, i + 1) for i in range(mask.bit_length()) if mask >> i & 1)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __hash__(self) -> int:
        return self._hash

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({i for r in self.ranges for i in r}))

    def __contains__(self, index: int) -> bool:
        return any(index in r for r in self.ranges)

    @cached_property
    def _hash(self) -> int:
        return hash(self.ranges)

    @cached_property
    def low(self) -> int:
        """The lowest index."""
        return self.ranges[0].start

    @cached_property
    def high(self) -> int:
        """The highest index."""
        return max(r[-1] for r in self.ranges)

    @cached_property
    def count(self) -> int:
        """How many there are."""
        if len({r.step for r in self.ranges}) <= 1:
            return sum(map(len, self.ranges))
        return len({i for r in self.ranges for i in r})

    @cached_property
    def bits(self) -> int:
        """The number whose bits are set at the places of the indices, counted from the lowest."""
        return reduce(int.__or__, (_bits(r) << r.start - self.low for r in self.ranges), 0)

    @cached_property
    def _edges(self) -> tuple[Array, Array] | None:
        """Starts and ends of many ranges without gaps inside; None for a few, and for others."""
        if len(self.ranges) < 4 or any(r.step != 1 for r in self.ranges):
            return None
        edges = np.array([(r.start, r.stop) for r in self.ranges], np.int64)
        return edges[:, 0], edges[:, 1]

    def meets(self, other: Indices) -> bool:
        """Whether an index is in both."""
        if not self or not other or self.high < other.low or other.high < self.low:
            return False
        if self._edges is not None and other._edges is not None:
            starts, stops = self._edges
            others, ends = other._edges
            near = np.searchsorted(ends, starts, "right")  # the first that ends behind a start
            return bool((others[np.minimum(near, len(ends) - 1)] < stops)[near < len(ends)].any())
        return any(_common(a, b) for a in self.ranges for b in other.ranges)


@lru_cache(maxsize=1 << 14)
def indices(values: range) -> Indices:
    """The indices of one range (step >= 1)."""
    return Indices.of([values])


def _joined(ranges: list[range]) -> tuple[range, ...]:
    """The same indices in as few ranges as those that meet or touch become."""
    if len(ranges) > 1 and all(len(r) == 1 for r in ranges):
        ranges = [range(r.start, r.start + 1) for r in ranges]
    phases: dict[tuple[int, int], list[range]] = {}
    for r in sorted(ranges, key=lambda r: r.start):
        same = phases.setdefault((r.step, r.start % r.step), [])
        if same and r.start <= same[-1][-1] + r.step:
            same[-1] = range(same[-1].start, max(same[-1][-1], r[-1]) + 1, r.step)
        else:
            same.append(r)
    found = [r for same in phases.values() for r in same]
    return tuple(sorted(found, key=lambda r: (r.start, r.step, len(r))))


def _common(a: range, b: range) -> bool:
    """Whether two ranges have an index in common."""
    low, high = max(a.start, b.start), min(a[-1], b[-1])
    if low > high:
        return False
    if a.step == b.step == 1:
        return True
    shared = gcd(a.step, b.step)
    apart = b.start - a.start
    if apart % shared:
        return False
    period = b.step // shared
    times = apart // shared * pow(a.step // shared, -1, period) % period
    first = a.start + a.step * times  # the lowest from a.start on that is in the phases of both
    both = a.step * period
    return first + max(0, -((first - low) // both)) * both <= high


def _bits(values: range) -> int:
    """The bits of a range, counted from its first index."""
    total = len(values)
    if values.step == 1:
        return (1 << total) - 1
    mask, done = 1, 1
    while done < total:  # twice as many each time: a bit at a time is quadratic
        more = min(done, total - done)
        part = mask & ((1 << ((more - 1) * values.step + 1)) - 1)
        mask |= part << (done * values.step)
        done += more
    return mask
