"""Where the kept elements of a padded axis lie.

An axis is a row of segments. A segment of a dimension has as many places as its bucket and keeps
the first ones, as many as the dimension really has; a segment without a dimension keeps all. The
keys of a model with a cache, for one, are `past` followed by `seq`: after padding, the kept places
are the first of either half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kcompiler.graph.node import Array


@dataclass(frozen=True)
class Segment:
    """`size` places for each element of the dimension `dim`, or `size` places in all for None."""

    dim: str | None
    size: int

    def extent(self, dims: Mapping[str, int]) -> int:
        """How many places it has, for extents of the dimensions."""
        return self.size if self.dim is None else self.size * dims[self.dim]

    def __str__(self) -> str:
        if self.dim is None:
            return str(self.size)
        return self.dim if self.size == 1 else f"{self.size}*{self.dim}"


POSITIONS = "kcompiler.positions"
"""Begins the names of inputs that a program has and its model does not: see `analysis.Padded`."""


def is_position(name: str) -> bool:
    """Whether an input of a program is one that the session computes."""
    return name.startswith(POSITIONS)


Layout: TypeAlias = tuple[Segment, ...]
Dims: TypeAlias = Mapping[str, int]


def static(extent: int) -> Layout:
    """An axis without padding."""
    return (Segment(None, extent),)


def of_dim(dim: str) -> Layout:
    """An axis that is one dimension."""
    return (Segment(dim, 1),)


def joined(segments: Iterable[Segment]) -> Layout:
    """The normal form: no empty segments, and no two neighbours without a dimension."""
    found: list[Segment] = []
    for segment in segments:
        if segment.size == 0:
            continue
        if found and segment.dim is None and found[-1].dim is None:
            found[-1] = Segment(None, found[-1].size + segment.size)
        else:
            found.append(segment)
    return tuple(found) or static(0)


def extent(layout: Layout, dims: Dims) -> int:
    """The number of places, for extents of the dimensions."""
    return sum(s.extent(dims) for s in layout)


def extents(axes: Sequence[Layout], dims: Dims) -> tuple[int, ...]:
    """The shape of a tensor, for extents of the dimensions."""
    return tuple(extent(layout, dims) for layout in axes)


def padded(layout: Layout) -> bool:
    """Whether there is a dimension in an axis."""
    return any(s.dim is not None for s in layout)


def dims_of(layout: Layout) -> tuple[str, ...]:
    """The dimensions of an axis; segment number i of a dimension is the i-th here."""
    return tuple(s.dim for s in layout if s.dim is not None)


def kept(layout: Layout, bucket: Dims, actual: Dims) -> Array:
    """The places of the kept elements, in their order."""
    found, start = [], 0
    for segment in layout:
        found.append(np.arange(start, start + segment.extent(actual)))
        start += segment.extent(bucket)
    return np.concatenate(found) if found else np.arange(0)


def unpad(value: Array, axes: Sequence[Layout], bucket: Dims, actual: Dims) -> Array:
    """The kept elements of a padded tensor."""
    for axis, layout in enumerate(axes):
        if padded(layout):
            value = np.take(value, kept(layout, bucket, actual), axis)
    return value


def pad(value: Array, axes: Sequence[Layout], bucket: Dims, actual: Dims) -> Array:
    """A tensor among zeros: its elements in the kept places."""
    result = np.zeros(extents(axes, bucket), value.dtype)
    result[np.ix_(*(kept(layout, bucket, actual) for layout in axes))] = value
    return result


def describe(layout: Layout) -> str:
    """`past + seq`."""
    return " + ".join(map(str, layout))
