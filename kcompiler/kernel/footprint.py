"""Footprints: which box of each operand a tile of the result needs, through all nests backward.

A tile is a box of the last nest's parallel axes: `origin` and `extent` of each. The indices that it
uses of any operand follow by interval arithmetic on the affine accesses, and stay affine in the
tile's origins and extents. So one symbolic analysis serves all candidate tilings at once: see
`Range.length`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, TypeAlias

from kcompiler.kernel.nest import Access, Affine, Nest, Operand, Region

Number: TypeAlias = Any  # an int, or an array of ints with one value a candidate


def last(axis: str) -> str:
    """The symbol of a tile's extent along an axis, less one; the axis's own name is its origin."""
    return axis + "~"


def is_origin(symbol: str) -> bool:
    """Whether a symbol is the origin of a tile; else it is an extent less one."""
    return not symbol.endswith("~")


def value(form: Affine, point: Mapping[str, Number]) -> Number:
    """An affine form at a point whose coordinates may be arrays; absent symbols count as 0."""
    return sum((c * point[n] for n, c in form.terms if n in point), start=form.offset)


@dataclass(frozen=True)
class Range:
    """Indices low, low+step, … low+span along one dimension.

    `low` is affine in origins and extents of the tile, `span` in extents only.
    """

    low: Affine
    span: Affine
    step: int = 1

    @staticmethod
    def whole(extent: int) -> Range:
        """Every index of a dimension."""
        return Range(Affine(), Affine((), extent - 1))

    @staticmethod
    def tile(axis: str) -> Range:
        """The tile's own interval of an axis."""
        return Range(Affine.axis(axis), Affine.axis(last(axis)))

    def length(self, point: Mapping[str, Number]) -> Number:
        """Number of indices, for tile extents given as `last` symbols."""
        return value(self.span, point) // self.step + 1

    @property
    def symbols(self) -> tuple[str, ...]:
        """Everything that this range depends on."""
        return tuple(name for name, _ in (*self.low.terms, *self.span.terms))

    @property
    def origins(self) -> frozenset[str]:
        """The axes whose tile origin moves this range."""
        return frozenset(n for n, _ in self.low.terms if is_origin(n))


def image(form: Affine, axes: Mapping[str, Range]) -> Range:
    """The indices that an affine form takes while its axes run over their ranges."""
    low, span, step = Affine((), form.offset), Affine(), 0
    for name, c in form.terms:
        axis = axes[name]
        low = low.plus(axis.low.scaled(c))
        if c < 0:
            low = low.plus(axis.span.scaled(c))
        span = span.plus(axis.span.scaled(abs(c)))
        if axis.span != Affine():
            step = gcd(step, c * axis.step)
    return Range(low, span, step or 1)


def hull(ranges: Sequence[Range]) -> Range | None:
    """The smallest range around several, or None when they move or grow differently."""
    first = ranges[0]
    if any(r.low.terms != first.low.terms or r.span.terms != first.span.terms for r in ranges):
        return None
    low = min(r.low.offset for r in ranges)
    high = max(r.low.offset + r.span.offset for r in ranges)
    steps = [gcd(r.step, r.low.offset - low) for r in ranges]
    span = Affine(first.span.terms, high - low)
    return Range(Affine(first.low.terms, low), span, gcd(*steps) or 1)


@dataclass(frozen=True)
class Buffer:
    """What lies in the scratchpad: a box of an operand (`ranges`, one a dimension).

    `fill` is the value outside the operand's bounds; `gather = (dimension, buffer)` says that
    indices along that dimension come from another buffer.
    """

    name: str
    operand: Operand
    ranges: tuple[Range, ...]
    fill: float | int = 0
    gather: tuple[int, str] | None = None

    @property
    def origins(self) -> frozenset[str]:
        """The axes whose tile origin moves this box."""
        return frozenset().union(*(r.origins for r in self.ranges))


@dataclass(frozen=True)
class Stage:
    """A nest with the range of each of its axes and the buffers that it reads and writes."""

    nest: Nest
    axes: Mapping[str, Range]
    reads: tuple[str, ...]
    write: str
    split: str | None = None  # the reduced axis that is cut into tiles

    @property
    def origins(self) -> frozenset[str]:
        """The axes whose tile origin moves this stage."""
        return frozenset().union(*(r.origins for r in self.axes.values()))

    def relative(self, form: Affine, target: Range, point: Mapping[str, int]) -> Affine:
        """An index of the nest as an index into a buffer, in iterations of the tile's own axes."""
        terms, offset = {}, Affine((), form.offset).plus(target.low.scaled(-1))
        for name, c in form.terms:
            axis = self.axes[name]
            if axis.span != Affine():
                terms[name] = c * axis.step // target.step
            offset = offset.plus(axis.low.scaled(c))
        # Origins cancel: the buffer moves with the tile.
        left = Affine(tuple(t for t in offset.terms if not is_origin(t[0])), offset.offset)
        return Affine.of(terms, value(left, point) // target.step)


@dataclass(frozen=True)
class Footprint:
    """Everything that a tile needs: buffers (copied in or computed) and stages, in order.

    `axes` are the axes that may be cut, name -> extent; those of reductions are named by
    `reduction_axis`.
    """

    axes: Mapping[str, int]
    reductions: Mapping[str, int]
    buffers: tuple[Buffer, ...]
    stages: tuple[Stage, ...]

    def buffer(self, name: str) -> Buffer:
        """The buffer with a name."""
        return next(b for b in self.buffers if b.name == name)

    @property
    def inputs(self) -> tuple[Buffer, ...]:
        """The buffers that are copied in."""
        return tuple(b for b in self.buffers if b.operand.role in {"input", "constant"})

    @property
    def output(self) -> Buffer:
        """The buffer that is copied out."""
        return self.buffer(self.stages[-1].write)


def reduction_axis(nest: int, axis: str) -> str:
    """The name of the tile axis that cuts a reduced axis of a nest."""
    return f"{axis}@{nest}"


class Conflict(Exception):
    """Axes that cannot be cut, because one buffer would have to follow two tiles."""

    def __init__(self, axes: Iterable[str]) -> None:
        super().__init__(*sorted(axes))
        self.axes = frozenset(axes)


def footprint(
    region: Region,
    frozen: frozenset[str] = frozenset(),
    splits: Mapping[int, str] | None = None,
    *,
    strided: bool = True,
) -> Footprint:
    """The footprint of tiles of a region whose last nest writes the output.

    `frozen` axes of that nest stay whole; so do those that turn out not to be separable. `splits`
    maps a nest to the reduced axis that is cut. Without `strided`, reads that use every n-th
    element of a contiguous row take the whole row.
    """
    wanted = dict(splits or {})
    while True:
        try:
            return _Analysis(region, frozen, wanted, strided).run()
        except Conflict as conflict:
            frozen |= conflict.axes
            wanted = {j: a for j, a in wanted.items() if reduction_axis(j, a) not in conflict.axes}


class _Analysis:
    """One backward walk over the nests of a region."""

    def __init__(
        self, region: Region, frozen: frozenset[str], splits: Mapping[int, str], strided: bool
    ) -> None:
        self.region = region
        self.strided = strided
        self.splits = splits
        nest = region.nests[-1]
        shared = _shared_dimension_axes(nest.write, nest.extents)
        self.cut = {
            a.name: a.extent
            for a in nest.parallel
            if a.extent > 1 and a.name not in frozen and a.name not in shared
        }
        self.ranges: dict[str, tuple[Range, ...]] = {}  # local -> box
        self.uses: dict[str, list[tuple[int, int]]] = {}  # operand -> (nest, read)
        self.axes: list[dict[str, Range]] = [{} for _ in region.nests]
        self.buffers: list[Buffer] = []
        self.names: dict[tuple[int, int], str] = {}

    def run(self) -> Footprint:
        """The footprint, or Conflict with the axes to freeze."""
        for j in reversed(range(len(self.region.nests))):
            self.axes[j] = self._nest_axes(j)
            for r, access in enumerate(self.region.nests[j].reads):
                self.uses.setdefault(access.operand, []).append((j, r))
        groups = [
            (operand, number, group)
            for operand in self.region.operands
            if operand.role in {"input", "constant"}
            for number, group in enumerate(self._groups(operand))
        ]
        for operand, number, group in groups:
            self.names |= dict.fromkeys(group, f"{operand.name}_{number}")
        self.buffers = [self._load(operand, group) for operand, _, group in groups]
        # Indices come before what they look up.
        self.buffers.sort(key=lambda b: b.gather is not None)
        stages = [self._stage(j) for j in range(len(self.region.nests))]
        reductions = {
            reduction_axis(j, a): self.region.nests[j].extents[a] for j, a in self.splits.items()
        }
        return Footprint(self.cut, reductions, tuple(self.buffers), tuple(stages))

    def _nest_axes(self, j: int) -> dict[str, Range]:
        nest = self.region.nests[j]
        if j == len(self.region.nests) - 1:
            found = {
                a.name: Range.tile(a.name) if a.name in self.cut else Range.whole(a.extent)
                for a in nest.parallel
            }
        else:
            box = self._local_box(self.region.operand(nest.write.operand))
            # A dimension of extent 1 may have no axis.
            found = {
                form.terms[0][0]: r
                for form, r in zip(nest.write.index, box, strict=True)
                if form.terms
            }
        split = self.splits.get(j)
        for axis in nest.reduced:
            name = reduction_axis(j, axis.name)
            found[axis.name] = Range.tile(name) if axis.name == split else Range.whole(axis.extent)
        return found

    def _box(self, use: tuple[int, int]) -> tuple[Range, ...]:
        nest, read = use
        access = self.region.nests[nest].reads[read]
        box = tuple(image(form, self.axes[nest]) for form in access.index)
        operand = self.region.operand(access.operand)
        if self.strided or operand.role == "local":
            return box
        pairs = zip(box, operand.strides, strict=True)
        return tuple(replace(r, step=1) if abs(stride) == 1 else r for r, stride in pairs)

    def _local_box(self, local: Operand) -> tuple[Range, ...]:
        """What all later reads of a local need together."""
        uses = self.uses.get(local.name, [])
        box = []
        for d, extent in enumerate(local.shape):
            ranges = [self._box(use)[d] for use in uses]
            if not ranges:
                box.append(Range.whole(extent))
                continue
            joined = hull(ranges)
            if joined is None:
                raise Conflict(_moving(ranges))
            box.append(self._inside(joined, extent, uses, d))
        self.ranges[local.name] = tuple(box)
        return tuple(box)

    def _inside(
        self, box: Range, extent: int, uses: Sequence[tuple[int, int]], dimension: int
    ) -> Range:
        """The range of a local, clipped where a read expects the fill outside its bounds."""
        if not any(self._leaves(use, dimension, extent) for use in uses):
            return box
        if box.low.terms or box.span.terms:
            raise Conflict(_moving([box]))
        return Range.whole(extent)

    def _leaves(self, use: tuple[int, int], dimension: int, extent: int) -> bool:
        nest = self.region.nests[use[0]]
        access = nest.reads[use[1]]
        low, high = access.index[dimension].bounds(nest.extents)
        return access.fill is not None and (low < 0 or high >= extent)

    def _groups(self, operand: Operand) -> list[list[tuple[int, int]]]:
        """The reads of an operand, grouped so that those that move alike share a buffer."""
        groups: list[list[tuple[int, int]]] = []
        for use in sorted(self.uses.get(operand.name, [])):
            for group in groups:
                if self._alike(group, use):
                    group.append(use)
                    break
            else:
                groups.append([use])
        return groups

    def _alike(self, group: Sequence[tuple[int, int]], use: tuple[int, int]) -> bool:
        members = [*group, use]
        accesses = [self.region.nests[j].reads[r] for j, r in members]
        if any(a.indirect or self._looks_up(u) for a, u in zip(accesses, members, strict=True)):
            return False
        if len({a.fill for a in accesses} - {None}) > 1:
            return False
        boxes = [self._box(u) for u in members]
        joined = [hull(ranges) for ranges in zip(*boxes, strict=True)]
        # Two interleaved strided boxes stay apart: their hull would read what nobody uses.
        steps = [max(r.step for r in ranges) for ranges in zip(*boxes, strict=True)]
        return all(h is not None and h.step == s for h, s in zip(joined, steps, strict=True))

    def _looks_up(self, use: tuple[int, int]) -> bool:
        """Whether a read gives the indices of a gather."""
        reads = self.region.nests[use[0]].reads
        return any(a.indirect is not None and a.indirect[1] == use[1] for a in reads)

    def _load(self, operand: Operand, group: Sequence[tuple[int, int]]) -> Buffer:
        boxes = [self._box(use) for use in group]
        ranges = tuple(r for r in map(hull, zip(*boxes, strict=True)) if r is not None)
        accesses = [self.region.nests[j].reads[r] for j, r in group]
        fill = next((a.fill for a in accesses if a.fill is not None), 0)
        gather = None
        if accesses[0].indirect is not None:
            dimension, index = accesses[0].indirect
            gather = (dimension, self.names[group[0][0], index])
            ranges = self._gathered(ranges, dimension, group[0][0], index)
        return Buffer(self.names[group[0]], operand, ranges, fill, gather)

    def _gathered(
        self, ranges: tuple[Range, ...], dimension: int, nest: int, index: int
    ) -> tuple[Range, ...]:
        """The gathered dimension has as many entries as the buffer of indices."""
        (indices,) = self._box((nest, index))
        return (*ranges[:dimension], indices, *ranges[dimension + 1 :])

    def _stage(self, j: int) -> Stage:
        nest = self.region.nests[j]
        written = self.region.operand(nest.write.operand)
        if written.role == "local":
            name, ranges = written.name, self.ranges[written.name]
        else:
            name = f"{written.name}_0"
            ranges = tuple(image(form, self.axes[j]) for form in nest.write.index)
        self.buffers.append(Buffer(name, written, ranges))
        reads = tuple(self.names.get((j, r), a.operand) for r, a in enumerate(nest.reads))
        return Stage(nest, self.axes[j], reads, name, self.splits.get(j))


def _moving(ranges: Iterable[Range]) -> frozenset[str]:
    return frozenset(s.removesuffix("~") for r in ranges for s in r.symbols)


def _shared_dimension_axes(write: Access, extents: Mapping[str, int]) -> frozenset[str]:
    """Axes that must stay whole: all but the outermost of those that write one dimension."""
    found: set[str] = set()
    for form in write.index:
        terms = sorted((abs(c), n) for n, c in form.terms if extents[n] > 1)
        found |= {name for _, name in terms[:-1]}
    return frozenset(found)
