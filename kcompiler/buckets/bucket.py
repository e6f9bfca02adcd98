"""The programs of a model whose dimensions have several extents, and which of them to run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kcompiler.buckets.layout import (
    Layout,
    describe,
    dims_of,
    extent,
    extents,
    pad,
    padded,
    unpad,
)
from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from kcompiler.compilation import Compilation
    from kcompiler.graph.node import Array


@dataclass(frozen=True)
class Bucket:
    """One program: the extents that it is for, and where in its outputs the kept elements lie.

    `positions` are inputs of the program that the model does not have: see `Padded`.
    """

    dims: Mapping[str, int]
    compilation: Compilation
    outputs: Mapping[str, tuple[Layout, ...]]
    positions: Mapping[str, Layout] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(f"{name}={size}" for name, size in self.dims.items())


@dataclass(frozen=True)
class Padding:
    """What a run computed and what of it was asked for."""

    bucket: Mapping[str, int]
    used: Mapping[str, int]

    @property
    def rows(self) -> dict[str, tuple[int, int]]:
        """Dimension -> (rows used, rows computed)."""
        return {name: (self.used[name], size) for name, size in self.bucket.items()}

    @property
    def waste(self) -> dict[str, float]:
        """Dimension -> the share of its rows that was padding."""
        return {name: 1 - used / n if n else 0.0 for name, (used, n) in self.rows.items()}

    def __str__(self) -> str:
        parts = (
            f"{used} of {n} rows of {name} used ({100 * self.waste[name]:.1f} % padding)"
            for name, (used, n) in self.rows.items()
        )
        return ", ".join(parts)


@dataclass(frozen=True)
class Buckets:
    """All programs, smallest first; `inputs` are the layouts of the model's inputs.

    `limits` are the least and the largest extent of each dimension.
    """

    limits: Mapping[str, tuple[int, int]]
    inputs: Mapping[str, tuple[Layout, ...]]
    members: tuple[Bucket, ...]

    def measure(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """The extents of the dimensions in the shapes of inputs; raises `UsageError`."""
        found: dict[str, int] = {}
        for name, axes in self.inputs.items():
            self._check_rank(name, axes, feeds[name])
            for layout, size in zip(axes, feeds[name].shape, strict=True):
                if padded(layout) and len(layout) == 1:
                    self._set(found, layout, size, name)
        for name in self.limits:
            if name not in found:
                raise UsageError(f"no input tells the extent of dimension {name!r}")
        self._check(found, feeds)
        return found

    def choose(self, actual: Mapping[str, int]) -> Bucket:
        """The smallest bucket that extents fit into; raises `UsageError`."""
        for name, size in actual.items():
            low, high = self.limits[name]
            if not low <= size <= high:
                raise UsageError(
                    f"dimension {name!r} cannot be {size}",
                    why=f"the model was compiled for {low} to {high}",
                    fix=f"compile it with a wider range: --dim {name}={low}..{max(size, high)}",
                )
        fits = (b for b in self.members if all(actual[n] <= size for n, size in b.dims.items()))
        return min(fits, key=lambda b: math.prod(b.dims.values()))

    def feeds(
        self, bucket: Bucket, actual: Mapping[str, int], feeds: Mapping[str, Array]
    ) -> dict[str, Array]:
        """The inputs of a bucket's program."""
        found = {n: pad(feeds[n], axes, bucket.dims, actual) for n, axes in self.inputs.items()}
        for name, layout in bucket.positions.items():
            places = np.arange(extent(layout, actual), dtype=np.int64)
            found[name] = pad(places, [layout], bucket.dims, actual)
        return found

    def results(
        self, bucket: Bucket, actual: Mapping[str, int], found: Mapping[str, Array]
    ) -> dict[str, Array]:
        """The model's outputs among those of a bucket's program."""
        return {
            name: unpad(value, bucket.outputs[name], bucket.dims, actual)
            for name, value in found.items()
        }

    def shapes(self) -> Iterator[tuple[str, tuple[int | str, ...]]]:
        """The shapes of inputs, with dimensions by name."""
        for name, axes in self.inputs.items():
            yield name, shape_of(axes)

    def _set(self, found: dict[str, int], layout: Layout, size: int, name: str) -> None:
        dim, unit = dims_of(layout)[0], layout[0].size
        if found.setdefault(dim, size // unit) != size / unit:
            raise UsageError(
                f"dimension {dim!r} cannot be both {found[dim]} and {size}",
                why=f"input {name!r} disagrees with an input before it",
            )

    def _check_rank(self, name: str, axes: tuple[Layout, ...], value: Array) -> None:
        if len(axes) != value.ndim:
            raise self._misfit(name, axes, value)

    def _check(self, found: Mapping[str, int], feeds: Mapping[str, Array]) -> None:
        for name, axes in self.inputs.items():
            if extents(axes, found) != feeds[name].shape:
                raise self._misfit(name, axes, feeds[name])

    def _misfit(self, name: str, axes: tuple[Layout, ...], value: Array) -> UsageError:
        wanted = ", ".join(map(describe, axes))
        return UsageError(
            f"input {name!r} has the shape {list(value.shape)}",
            why=f"the model was compiled for [{wanted}]",
            fix="reshape it, or compile the model for this shape",
        )


def shape_of(axes: tuple[Layout, ...]) -> tuple[Any, ...]:
    """A shape with names for padded axes: `(1, "seq", 64)`."""
    return tuple(describe(a) if padded(a) else extent(a, {}) for a in axes)
