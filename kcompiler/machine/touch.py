"""Touched bytes: what an instruction reads or writes, precisely enough to tell tiles apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kcompiler.machine.layouts import Dims, apart


@dataclass(frozen=True)
class Touch:
    """A set of runs of `run` bytes: base + sum(stride[d] * i_d), i_d in the set of dimension d.

    `dims` holds (stride in bytes, indices) for each dimension, over all cores that take part; a
    shared memory's tiles of different cores and iterations are told apart by their indices. For a
    `per_core` memory every core touches the same addresses of its own copy. No dims: one run.
    """

    memory: str
    per_core: bool
    base: int
    run: int
    dims: Dims = ()

    @cached_property
    def start(self) -> int:
        """First byte that may be touched."""
        return self.base + sum(s * i.low if s >= 0 else s * i.high for s, i in self.dims)

    @cached_property
    def stop(self) -> int:
        """One past the last byte that may be touched."""
        high = sum(s * i.high if s >= 0 else s * i.low for s, i in self.dims)
        return self.base + high + self.run

    @property
    def empty(self) -> bool:
        """Whether nothing is touched (a tile wholly outside its tensor)."""
        return self.run == 0 or not all(i for _, i in self.dims)

    def overlaps(self, other: Touch) -> bool:
        """Whether a byte may be in both; exact for boxes of dense tensors, else conservative."""
        if self.memory != other.memory or self.empty or other.empty:
            return False
        if self.stop <= other.start or other.stop <= self.start:
            return False
        return not self._apart(other)

    def _apart(self, other: Touch) -> bool:
        """Boxes of one layout are apart when one dimension's sets are; for others see `layouts`."""
        if not self.dims and not other.dims:
            return False  # two runs, whose bounds overlap
        same = (self.base, self.run) == (other.base, other.run) and len(self.dims) == len(
            other.dims
        )
        if (
            same
            and all(a[0] == b[0] for a, b in zip(self.dims, other.dims, strict=True))
            and _injective(self.dims, other.dims, self.run)
        ):
            return not all(a[1].meets(b[1]) for a, b in zip(self.dims, other.dims, strict=True))
        return apart((self.base, self.run, self.dims), (other.base, other.run, other.dims))


def _injective(a: Dims, b: Dims, run: int) -> bool:
    """Whether different index tuples of the joint box are different, non-overlapping runs."""
    reach = run
    widths = (
        (abs(s), max(x.high, y.high) - min(x.low, y.low))
        for (s, x), (_, y) in zip(a, b, strict=True)
    )
    for stride, width in sorted(widths):
        if width and stride < reach:
            return False
        reach += stride * width
    return True
