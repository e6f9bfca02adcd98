"""What one execution of each copy and stage costs, for all candidates at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from kcompiler.kernel.footprint import Buffer, Footprint, Range, Stage, is_origin, last, value
from kcompiler.kernel.nest import Nest, Operand
from kcompiler.machine import cost
from kcompiler.machine.chip import Chip
from kcompiler.tiling.space import Space

Values: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Engine: TypeAlias = Literal["load", "store", "matrix", "vector"]
Place: TypeAlias = "tuple[frozenset[str], str | None, frozenset[str]]"
"""(parallel axes, cut reduction, axes around its loop) of what some axes move."""


@runtime_checkable
class OwnNests(Protocol):
    """A vector engine that says itself what a nest takes, start-up included."""

    def nest_cycles(
        self, nest: Nest, extents: Mapping[str, Any], dtypes: Sequence[np.dtype[Any]]
    ) -> Values:
        """Cycles of a nest with other extents; `dtypes` are the element types of its reads."""


@dataclass(frozen=True)
class Item:
    """A copy or a stage.

    `axes` are those whose tile moves it, `reduction` the cut reduction that it repeats for and
    `anchor` the axes of the stage around that one. `cycles` is the time of one execution on its
    engine. A copy has moved `traffic` bytes once it has run for every tile of its own axes, on all
    cores together.
    """

    name: str
    engine: Engine
    axes: frozenset[str]
    cycles: Values
    reduction: str | None = None
    anchor: frozenset[str] = frozenset()
    memory: str = ""
    traffic: Values | float = 0.0

    @property
    def place(self) -> Place:
        """What decides how often it is done."""
        return self.axes, self.reduction, self.anchor

    def take(self, chosen: Values) -> Item:
        """The candidates at some positions."""
        traffic = self.traffic[chosen] if isinstance(self.traffic, np.ndarray) else self.traffic
        axes, reduction, anchor = self.place
        cycles = self.cycles[chosen]
        return Item(self.name, self.engine, axes, cycles, reduction, anchor, self.memory, traffic)


@dataclass(frozen=True)
class Room:
    """A buffer in the scratchpad: aligned bytes of one copy of it, and where it is allocated."""

    name: str
    nbytes: Values
    axes: frozenset[str]
    reduction: str | None = None
    anchor: frozenset[str] = frozenset()

    @property
    def place(self) -> Place:
        """What decides how often there is one."""
        return self.axes, self.reduction, self.anchor

    def take(self, chosen: Values) -> Room:
        """The candidates at some positions."""
        return Room(self.name, self.nbytes[chosen], *self.place)


def memory_of(operand: Operand, chip: Chip) -> str:
    """Where an operand is assumed to lie: constants in dram, activations in shared memory."""
    return chip.dram if operand.role == "constant" or chip.shared is None else chip.shared


def rooms(fp: Footprint, points: Space, chip: Chip) -> list[Room]:
    """The buffers of a footprint."""
    alignment = chip.memory(chip.scratchpad).alignment.value
    found = []
    for buffer in fp.buffers:
        nbytes = _elements(buffer, points) * buffer.operand.dtype.itemsize
        aligned = -(-nbytes // alignment) * alignment
        found.append(Room(buffer.name, aligned, *place_of(fp, buffer.origins)))
    return found


def items(fp: Footprint, points: Space, chip: Chip, *, swap: bool) -> list[Item]:
    """All copies and stages of a footprint, in order."""
    loads = [_copy(fp, b, "load", points, chip) for b in fp.inputs]
    stages = [i for s in fp.stages for i in _stage(fp, s, points, chip, swap=swap)]
    return [*loads, *stages, _copy(fp, fp.output, "store", points, chip)]


def nest_cycles(
    nest: Nest,
    extents: Mapping[str, Any],
    dtypes: Sequence[np.dtype[Any]],
    chip: Chip,
    *,
    swap: bool = True,
) -> tuple[Values, Values]:
    """(matrix, vector) cycles of a nest with other extents; a contraction takes the faster engine.

    `dtypes` are the element types of its reads. `swap`: see `cost.contraction_cycles`.
    """
    vector = np.asarray(_vector_cycles(nest, extents, dtypes, chip))
    if not nest.is_contraction or not cost.multiplies(chip.matrix, *dtypes):
        return np.zeros_like(vector), vector
    batch, m, n, k = (prod((extents[a] for a in axes), start=1) for axes in contraction_axes(nest))
    engine = chip.matrix
    each = cost.contraction_cycles(m, k, n, engine, dtypes[0], swap=swap)
    matrix = np.asarray(engine.startup.value + batch * each)
    better = matrix <= vector
    return np.where(better, matrix, 0.0), np.where(better, 0.0, vector)


def contraction_axes(nest: Nest) -> tuple[list[str], list[str], list[str], list[str]]:
    """Axes of a contraction: in both factors and the result; in the first; the second; summed."""
    first, second = (
        {name for form in access.index for name, _ in form.terms} for access in nest.reads
    )
    kept = [a.name for a in nest.parallel]
    batch = [a for a in kept if (a in first) == (a in second)]
    rows = [a for a in kept if a in first and a not in second]
    columns = [a for a in kept if a in second and a not in first]
    return batch, rows, columns, [a.name for a in nest.reduced]


def _vector_cycles(
    nest: Nest, extents: Mapping[str, Any], dtypes: Sequence[np.dtype[Any]], chip: Chip
) -> Values:
    if isinstance(chip.vector, OwnNests):
        return chip.vector.nest_cycles(nest, extents, dtypes)
    outer = prod((extents[a.name] for a in nest.parallel), start=1)
    points = outer * prod((extents[a.name] for a in nest.reduced), start=1)
    plain, special = cost.operations(nest.body)
    plain += 1 if nest.reduced or plain + special == 0 else 0
    total = cost.vector_cycles(points, plain, special, chip.vector)
    total = total + cost.vector_cycles(outer, *cost.operations(nest.result), chip.vector)
    wide = any(t.itemsize == 8 for t in dtypes)
    return chip.vector.startup.value + total * (2 if wide else 1)


def _stage(fp: Footprint, stage: Stage, points: Space, chip: Chip, *, swap: bool) -> Iterator[Item]:
    """The work of a stage on each engine; a contraction is on one or the other."""
    extents = {name: r.length(points.point) for name, r in stage.axes.items()}
    dtypes = [fp.buffer(name).operand.dtype for name in stage.reads]
    matrix, vector = nest_cycles(stage.nest, extents, dtypes, chip, swap=swap)
    axes, reduction, anchor = place_of(fp, stage.origins)
    engines: tuple[tuple[Engine, Values], ...] = (("matrix", matrix), ("vector", vector))
    for engine, cycles in engines:
        if np.any(cycles):
            spread = np.broadcast_to(cycles, points.size)
            yield Item(stage.write, engine, axes, spread, reduction, anchor)


def place_of(fp: Footprint, origins: frozenset[str]) -> Place:
    """The place of what moves with `origins`."""
    cut = sorted(origins & fp.reductions.keys())
    if not cut:
        return origins, None, frozenset()
    (reduction,) = cut
    stage = fp.stages[int(reduction.rpartition("@")[2])]
    return origins - {reduction}, reduction, fp.buffer(stage.write).origins


def _elements(buffer: Buffer, points: Space) -> Values:
    lengths = [r.length(points.point) for r in buffer.ranges]
    return np.broadcast_to(np.asarray(prod(lengths, start=1), dtype=np.int64), points.size)


def _copy(fp: Footprint, buffer: Buffer, engine: Engine, points: Space, chip: Chip) -> Item:
    operand = buffer.operand
    lengths = [
        np.minimum(r.length(points.point), size)
        for r, size in zip(buffer.ranges, operand.shape, strict=True)
    ]
    if buffer.gather is not None:  # one row an index, whatever the table's extent
        lengths[buffer.gather[0]] = buffer.ranges[buffer.gather[0]].length(points.point)
    elements = np.broadcast_to(prod(lengths, start=1), points.size)
    nbytes = elements * float(operand.dtype.itemsize)
    runs = elements / _run(buffer, lengths)
    cycles = cost.dma_cycles(nbytes, runs, chip)
    axes, reduction, anchor = place_of(fp, buffer.origins)
    traffic = operand.dtype.itemsize * distinct_elements(buffer, points)
    memory = memory_of(operand, chip)
    cycles = np.broadcast_to(cycles, points.size)
    return Item(buffer.name, engine, axes, cycles, reduction, anchor, memory, traffic)


def _run(buffer: Buffer, lengths: Sequence[Values]) -> Values:
    """Elements of a box that lie side by side in the operand's dense buffer."""
    operand = buffer.operand
    order = sorted(
        (d for d, size in enumerate(operand.shape) if size > 1 and operand.strides[d]),
        key=lambda d: abs(operand.strides[d]),
    )
    run: Values = np.ones(1)
    going: Values = np.ones(1, dtype=bool)
    expected = 1
    for d in order:
        going = going & (abs(operand.strides[d]) == expected) & (buffer.ranges[d].step == 1)
        run = np.where(going, run * lengths[d], run)
        going = going & (lengths[d] >= operand.shape[d])
        expected *= operand.shape[d]
    return run


def distinct_elements(buffer: Buffer, points: Space) -> Values:
    """Elements inside the operand that all tiles of all cores read, halos counted again."""
    total: Values = np.ones(points.size)
    counted: set[str] = set()
    for d, (r, size) in enumerate(zip(buffer.ranges, buffer.operand.shape, strict=True)):
        gathered = buffer.gather is not None and buffer.gather[0] == d
        moving = sorted(r.origins - counted)
        counted |= r.origins
        bound = 2**31 if gathered else size
        if len(moving) == 1:
            total = total * _clipped_sum(r, moving[0], bound, points)
        else:
            copies = prod((points.cores[a] * points.trips[a] for a in moving), start=1)
            inside = _clipped(r, bound, points) if not r.origins else r.length(points.point)
            total = total * (np.minimum(inside, bound) * copies)
    return total


def _clipped(r: Range, size: int, points: Space) -> Values:
    """Length of a range that does not move, inside [0, size)."""
    low = value(r.low, points.point)
    length = r.length(points.point)
    above = np.clip(-((low - size) // r.step), 0, length)
    below = np.clip(-(low // r.step), 0, length)
    return np.asarray(above - below)


def _clipped_sum(r: Range, axis: str, size: int, points: Space) -> Values:
    """The sum over all tiles of an axis of a range's length inside [0, size)."""
    if len(points.cuts) > 1 and all(n in {axis, last(axis)} for n in r.symbols):
        return _clipped_sum(r, axis, size, points.alone(axis))[points.rows[axis]]
    tiles = points.cores[axis] * points.trips[axis]
    slope = r.low.coefficient(axis) * points.tile[axis] // r.step
    low = value(r.low, {n: v for n, v in points.point.items() if not is_origin(n)})
    length = r.length(points.point)
    above = _ramp(-((low - size) // r.step), slope, length, tiles)
    return above - _ramp(-(low // r.step), slope, length, tiles)


def _ramp(start: Values, slope: Values, top: Values, count: Values) -> Values:
    """The sum over 0 <= i < count of clip(start - slope·i, 0, top), in closed form."""
    backward = slope < 0
    start = np.where(backward, start - slope * (count - 1), start)
    slope = np.maximum(np.abs(slope), 1)
    full = np.clip((start - top) // slope + 1, 0, count)
    some = np.maximum(np.clip(-(-start // slope), 0, count), full)
    falling = (some - full) * start - slope * (some * (some - 1) - full * (full - 1)) // 2
    return np.asarray(top * full + falling)
