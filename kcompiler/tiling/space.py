"""The space of plans: every aligned way to cut a footprint's axes, as numpy arrays, one value a candidate.

The space depends on the region, the number of cores and the shapes of the engines, never on the size or
bandwidth of a memory: so a larger or faster memory only ever adds or cheapens plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """Candidates: for each axis of `cuts`, arrays of equal length."""

    cores: Mapping[str, Ints]
    tile: Mapping[str, Ints]
    trips: Mapping[str, Ints]
    size: int

    @property
    def point(self) -> dict[str, Ints]:
        """Tile extents less one, as `footprint.last` symbols."""
        return {last(axis): tile - 1 for axis, tile in self.tile.items()}

    @property
    def tables(self) -> tuple[Mapping[str, Ints], ...]:
        """Cores, tile and trips, each by axis."""
        return self.cores, self.tile, self.trips

    def take(self, chosen: Ints) -> Space:
        """The candidates at some positions."""
        parts = ({a: v[chosen] for a, v in table.items()} for table in self.tables)
        return Space(*parts, size=len(chosen))


def space(
    fp: Footprint, region: Region, chip: Chip, *, common: Sequence[int] | None = None
) -> Space:
    """All candidates of a footprint. With `common`, core splits are those factors, for every axis alike."""
    exact = exact_axes(region) | exact_reductions(fp)
    grains = (chip.matrix.rows.value, chip.matrix.columns.value, chip.vector.lanes.value)
    for coarseness in range(1, 7):
        cuts = [
            _cut(axis, extent, chip.cores.value, grains, coarseness, axis in exact, common)
            for axis, extent in fp.axes.items()
        ]
        cuts += [
            _cut(axis, extent, 1, grains, coarseness, axis in exact, None)
            for axis, extent in fp.reductions.items()
        ]
        if _count(cuts, chip.cores.value) <= LIMIT:
            break
    return _product(_fewer(cuts, chip.cores.value), chip.cores.value)


def exact_axes(region: Region) -> frozenset[str]:
    """Axes whose tiles must not hang over: what lies beyond is written by another nest."""
    nest = region.nests[-1]
    found = set()
    for form, size in zip(nest.write.index, region.operand(nest.write.operand).shape, strict=True):
        for axis, coefficient in form.terms:
            extents = {a: 1 if a == axis else e for a, e in nest.extents.items()}
            beyond = form.bounds(extents)[0] + coefficient * nest.extents[axis]
            if 0 <= beyond < size:
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


def _cut(
    axis: str,
    extent: int,
    cores: int,
    grains: Iterable[int],
    coarseness: int,
    exact: bool,
    common: Sequence[int] | None,
) -> Cut:
    splits = common or _splits(extent, cores)
    found: set[tuple[int, int, int]] = set()
    for split in splits:
        for tile in _sizes(-(-extent // split), grains, coarseness):
            count = -(-extent // tile)
            trips = -(-count // split)
            tight = common is not None or split == -(-count // trips)
            whole = split * trips * tile == extent
            if tight and (whole or not exact):
                found.add((split, tile, trips))
    if not found:
        found.add((1, extent, 1))
    table = np.array(sorted(found), dtype=np.int64).T
    return Cut(axis, extent, table[0], table[1], table[2])


def _splits(extent: int, cores: int) -> list[int]:
    """Numbers of cores for an axis: divisors of the core count, and the extent itself."""
    divisors = {d for d in range(1, cores + 1) if cores % d == 0}
    return sorted({d for d in divisors if d <= extent} | ({extent} if extent <= cores else set()))


def _sizes(chunk: int, grains: Iterable[int], coarseness: int) -> list[int]:
    """Tile extents: the whole, halves, powers of two, and multiples of the engines' shapes."""
    found = {chunk, 1}
    for power in range(0, chunk.bit_length(), coarseness):
        found |= {-(-chunk // 2**power), 2**power}
        found |= {grain << power for grain in grains}
    return sorted(size for size in found if 1 <= size <= chunk)


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
    """The cuts with the shortest axes left whole, as far as needed to keep the space within its limit."""
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
    parts = list(zip(cuts, chosen, strict=True))
    return Space(
        {c.axis: c.cores[i] for c, i in parts},
        {c.axis: c.tile[i] for c, i in parts},
        {c.axis: c.trips[i] for c, i in parts},
        len(used),
    )
