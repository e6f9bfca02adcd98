"""Touched bytes: what an instruction reads or writes, precisely enough to tell tiles apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kcompiler.machine.layouts import apart


@dataclass(frozen=True)
class Touch:
    """A set of runs of `run` bytes: base + sum(stride[d] * i_d), i_d in the set of dimension d.

    `dims` holds (stride in bytes, indices as a bit mask) for each dimension, over all cores that
    take part; a shared memory's tiles of different cores and iterations are told apart by their
    masks. For a `per_core` memory every core touches the same addresses of its own copy. No dims:
    one run.
    """

    memory: str
    per_core: bool
    base: int
    run: int
    dims: tuple[tuple[int, int], ...] = ()

    @cached_property
    def start(self) -> int:
        """First byte that may be touched."""
        return self.base + sum(
            s * _lowest(mask) if s >= 0 else s * _highest(mask) for s, mask in self.dims
        )

    @cached_property
    def stop(self) -> int:
        """One past the last byte that may be touched."""
        high = sum(s * _highest(mask) if s >= 0 else s * _lowest(mask) for s, mask in self.dims)
        return self.base + high + self.run

    @property
    def empty(self) -> bool:
        """Whether nothing is touched (a tile wholly outside its tensor)."""
        return self.run == 0 or any(mask == 0 for _, mask in self.dims)

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
            return any(a[1] & b[1] == 0 for a, b in zip(self.dims, other.dims, strict=True))
        return apart((self.base, self.run, self.dims), (other.base, other.run, other.dims))


def indices(values: range) -> int:
    """The bit mask of a range of indices (step >= 1)."""
    total = len(values)
    if total == 0:
        return 0
    if values.step == 1:
        return ((1 << total) - 1) << values.start
    mask, done = 1, 1
    while done < total:  # twice as many each time: a bit at a time is quadratic
        more = min(done, total - done)
        part = mask & ((1 << ((more - 1) * values.step + 1)) - 1)
        mask |= part << (done * values.step)
        done += more
    return mask << values.start


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _highest(mask: int) -> int:
    return mask.bit_length() - 1


def _injective(a: tuple[tuple[int, int], ...], b: tuple[tuple[int, int], ...], run: int) -> bool:
    """Whether different index tuples of the joint box are different, non-overlapping runs."""
    reach = run
    for stride, mask in sorted((abs(s), x | y) for (s, x), (_, y) in zip(a, b, strict=True)):
        width = _highest(mask) - _lowest(mask)
        if width and stride < reach:
            return False
        reach += stride * width
    return True
