"""The space of plans: every aligned way to cut a footprint's axes, as numpy arrays.

The space depends on the region, the number of cores and the shapes of the engines, never on the
size or bandwidth of a memory: so a larger or faster memory only ever adds or cheapens plans.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from kcompiler.kernel.footprint import Footprint, Stage, last, reduction_axis
from kcompiler.kernel.nest import Region
from kcompiler.machine.chip import Chip

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

LIMIT = 60_000
"""Most candidates of one space; the ladder of tile sizes gets coarser until they are fewer."""


@dataclass(frozen=True)
class Cut:
    """Ways to cut one axis: over `cores`, then into `trips` tiles of `tile` for each core."""

    axis: str
    extent: int
    cores: Ints
    tile: Ints
    trips: Ints


@dataclass(frozen=True)
class Space:
    """Candidates: for each axis of `cuts`, arrays of equal length.

    `rows` says which row of the axis's cut each candidate takes: what depends on one axis only is
    computed once a row.
    """

    cuts: Mapping[str, Cut]
    rows: Mapping[str, Ints]
    size: int

    @cached_property
    def cores(self) -> Mapping[str, Ints]:
        """Cores along each axis."""
        return {a: cut.cores[self.rows[a]] for a, cut in self.cuts.items()}

    @cached_property
    def tile(self) -> Mapping[str, Ints]:
        """Extent of a tile along each axis."""
        return {a: cut.tile[self.rows[a]] for a, cut in self.cuts.items()}

    @cached_property
    def trips(self) -> Mapping[str, Ints]:
        """Tiles along each axis for each core."""
        return {a: cut.trips[self.rows[a]] for a, cut in self.cuts.items()}

    @cached_property
    def point(self) -> dict[str, Ints]:
        """Tile extents less one, as `footprint.last` symbols."""
        return {last(axis): tile - 1 for axis, tile in self.tile.items()}

    def take(self, chosen: Ints) -> Space:
        """The candidates at some positions."""
        return Space(self.cuts, {a: r[chosen] for a, r in self.rows.items()}, len(chosen))

    def alone(self, axis: str) -> Space:
        """The rows of one axis's cut as candidates; all other axes are left out."""
        cut = self.cuts[axis]
        return Space({axis: cut}, {axis: np.arange(len(cut.tile))}, len(cut.tile))


def space(
    fp: Footprint, region: Region, chip: Chip, *, common: Sequence[int] | None = None
) -> Space:
    """All candidates of a footprint; `common` fixes the core splits to try for every axis."""
    exact = exact_axes(region) | exact_reductions(fp)
    cores = chip.cores.value
    shared = None if common is None else tuple(common)
    grains = (chip.matrix.rows.value, chip.matrix.columns.value, chip.vector.lanes.value)
    for coarseness in range(1, 7):
        rules = _Rules(cores, grains, coarseness, shared)
        cuts = [rules.parallel(a, e, exact=a in exact) for a, e in fp.axes.items()]
        cuts += [rules.cut(a, e, (1,), exact=a in exact) for a, e in fp.reductions.items()]
        if _count(cuts, cores) <= LIMIT:
            break
    return _product(_fewer(cuts, cores), cores)


def exact_axes(region: Region) -> frozenset[str]:
    """Axes whose tiles must not hang over: what lies beyond is written by another nest."""
    nest = region.nests[-1]
    found = set()
    for form, size in zip(nest.write.index, region.operand(nest.write.operand).shape, strict=True):
        for axis, coefficient in form.terms:
            extents = {a: 1 if a == axis else e for a, e in nest.extents.items()}
            nearest = form.bounds(extents)[0 if coefficient > 0 else 1]
            if 0 <= nearest + coefficient * nest.extents[axis] < size:
                found.add(axis)
    return frozenset(found)


def exact_reductions(fp: Footprint) -> frozenset[str]:
    """Cut reductions whose last tile must not hang over, because what lies beyond is not zero."""
    stages = enumerate(fp.stages)
    found = {j: s for j, s in stages if s.split is not None and not _zero_beyond(fp, s, s.split)}
    return frozenset(reduction_axis(j, s.split or "") for j, s in found.items())


def _zero_beyond(fp: Footprint, stage: Stage, axis: str) -> bool:
    """Whether both factors of a contraction are read as 0 beyond the end of a reduced axis."""
    nest = stage.nest
    if not nest.is_contraction:
        return False
    for access, name in zip(nest.reads, stage.reads, strict=True):
        operand = fp.buffer(name).operand
        outside = any(
            form.bounds({**nest.extents, axis: 1})[0] + form.coefficient(axis) * nest.extents[axis]
            >= size
            for form, size in zip(access.index, operand.shape, strict=True)
            if form.coefficient(axis) > 0
        )
        if operand.role == "local" or access.fill or access.indirect or not outside:
            return False
    return True


@dataclass(frozen=True)
class _Rules:
    """What shapes the cuts: core count, engine shapes, ladder steps, common core splits."""

    cores: int
    grains: tuple[int, ...]
    coarseness: int
    common: tuple[int, ...] | None

    def cut(self, axis: str, extent: int, splits: Iterable[int], *, exact: bool) -> Cut:
        """All ways to cut an axis; tiles of an exact one never hang over its end."""
        found: set[tuple[int, int, int]] = set()
        for split in splits:
            for tile in self._sizes(-(-extent // split), exact=exact):
                count = -(-extent // tile)
                trips = -(-count // split)
                tight = self.common is not None or split == -(-count // trips)
                whole = split * trips * tile == extent
                if tight and (whole or not exact):
                    found.add((split, tile, trips))
        table = np.array(sorted(found or {(1, extent, 1)}), dtype=np.int64).T
        return Cut(axis, extent, table[0], table[1], table[2])

    def parallel(self, axis: str, extent: int, *, exact: bool) -> Cut:
        """The ways to cut a parallel axis."""
        return self.cut(axis, extent, self.common or _splits(extent, self.cores), exact=exact)

    def _sizes(self, chunk: int, *, exact: bool) -> list[int]:
        """Tile extents: halves, powers of two, multiples of the engines' shapes; or divisors."""
        if exact:
            found = _divisors(chunk)
            return sorted({*found[:: self.coarseness], chunk})
        sizes = {chunk, 1}
        for power in range(0, chunk.bit_length(), self.coarseness):
            sizes |= {-(-chunk // 2**power), 2**power}
            sizes |= {grain << power for grain in self.grains}
        return sorted(size for size in sizes if 1 <= size <= chunk)


def _divisors(number: int) -> list[int]:
    low = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*low, *(number // d for d in low)})


def _splits(extent: int, cores: int) -> list[int]:
    """Numbers of cores for an axis: divisors of the core count, and the extent itself."""
    own = {extent} if extent <= cores else set()
    return sorted({d for d in _divisors(cores) if d <= extent} | own)


def _count(cuts: Sequence[Cut], cores: int) -> int:
    """Candidates whose core splits fit, without listing them."""
    ways = np.zeros(cores + 1, dtype=np.int64)
    ways[1] = 1
    for cut in cuts:
        then = np.zeros_like(ways)
        for split, number in zip(*np.unique(cut.cores, return_counts=True), strict=True):
            reach = cores // int(split)
            then[split : reach * split + 1 : split] += ways[1 : reach + 1] * number
        ways = then
    return int(ways.sum())


def _fewer(cuts: list[Cut], cores: int) -> list[Cut]:
    """The cuts with the shortest axes left whole, as far as the space must get smaller."""
    kept = list(cuts)
    for cut in sorted(cuts, key=lambda c: c.extent):
        if _count(kept, cores) <= LIMIT:
            break
        one = np.ones(1, dtype=np.int64)
        whole = Cut(cut.axis, cut.extent, one, one * cut.extent, one)
        kept = [whole if c.axis == cut.axis else c for c in kept]
    return kept


def _product(cuts: Sequence[Cut], cores: int) -> Space:
    """All combinations that use at most all cores."""
    used = np.ones(1, dtype=np.int64)
    chosen: list[Ints] = []
    for cut in cuts:
        product = used[:, None] * cut.cores
        left, right = np.nonzero(product <= cores)
        used = product[left, right]
        chosen = [c[left] for c in chosen] + [right]
    rows = {cut.axis: index for cut, index in zip(cuts, chosen, strict=True)}
    return Space({cut.axis: cut for cut in cuts}, rows, len(used))
