"""The cost of candidates under each loop order and depth of double buffering.

A candidate's loops run in an order of its parallel axes; reductions are innermost. The outermost `sequential` of
them are plain loops, the others double-buffered. A copy or stage is hoisted to the outermost loop below which
nothing moves it, which makes its operand stationary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import memory_cycles
from kcompiler.tiling.measure import Item, Room, Values
from kcompiler.tiling.space import Space

FEW_AXES = 4
"""Up to so many loops all orders are tried; beyond, every axis outermost and every axis innermost."""
TILE_PENALTY = 1e-5
"""Relative cost of one more tile: programs are unrolled, so 2,000 tiles must save 2 % of the time."""
ISSUE = 4
"""Cycles that every tile costs at least: the issue of a load, a product, an epilogue and a store."""


@dataclass(frozen=True)
class Schedule:
    """A loop order, outermost first, of which the first `sequential` loops are not double-buffered."""

    order: tuple[str, ...]
    sequential: int


@dataclass(frozen=True)
class Costs:
    """What a schedule costs for candidates: time, bytes moved, scratchpad bytes used, tiles executed."""

    cycles: Values
    traffic: dict[str, Values]
    used: Values
    tiles: Values

    @property
    def total(self) -> Values:
        """Bytes moved from and to all memories."""
        return sum(self.traffic.values(), start=np.zeros_like(self.cycles))


def schedules(axes: Sequence[str]) -> Iterator[Schedule]:
    """Every schedule of some axes; the last loop stands for the reductions."""
    for order in _orders(tuple(axes)):
        for sequential in range(len(order) + 2):
            yield Schedule(order, sequential)


def canonical(schedule: Schedule, points: Space) -> Values:
    """Which candidates a schedule is meant for: loops of one trip come first, in the order of `trips`.

    This visits each different nest of loops once; where only some orders are tried, they may repeat.
    """
    if len(schedule.order) > FEW_AXES:
        return np.ones(points.size, dtype=bool)
    names = [a for a in points.trips if a in schedule.order]
    meant: Values = np.ones(points.size, dtype=bool)
    before: Values = np.ones(points.size, dtype=bool)
    rank = {a: names.index(a) for a in schedule.order}
    previous = np.full(points.size, -1)
    for axis in schedule.order:
        single = points.trips[axis] == 1
        meant &= ~single | (before & (previous < rank[axis]))
        previous = np.where(single, rank[axis], previous)
        before = before & single
    if schedule.sequential > 0:  # a sequential loop of one trip is the same as a double one
        at = schedule.sequential - 1
        meant &= _trips(schedule, points, at) > 1
    return meant


def _trips(schedule: Schedule, points: Space, position: int) -> Values:
    if position < len(schedule.order):
        return points.trips[schedule.order[position]]
    reductions = [v for a, v in points.trips.items() if a not in schedule.order]
    return np.max(reductions, axis=0) if reductions else np.ones(points.size, dtype=np.int64)


class Loops:
    """Trip counts around every position of a schedule."""

    def __init__(self, schedule: Schedule, points: Space) -> None:
        self.schedule = schedule
        self.points = points
        self.cumulative: list[Values] = [np.ones(points.size)]
        for axis in schedule.order:
            self.cumulative.append(self.cumulative[-1] * points.trips[axis])

    def depth(self, axes: frozenset[str]) -> int:
        """The number of parallel loops around something that some axes move."""
        return max((i + 1 for i, a in enumerate(self.schedule.order) if a in axes), default=0)

    def executions(self, item: Item | Room) -> Values:
        """How often each core does it."""
        outer = self.cumulative[self.depth(item.axes)]
        if item.reduction is None:
            return outer
        trips = self.points.trips[item.reduction]
        inside = self.cumulative[self.depth(item.axes | item.anchor)] * trips
        return np.where(trips > 1, inside, outer)

    def doubled(self, item: Item | Room) -> Values:
        """Whether a double-buffered loop of more than one trip is around it."""
        first = min(self.schedule.sequential, len(self.schedule.order))
        depth = self.depth(item.axes)
        plain = self.cumulative[depth] > self.cumulative[min(first, depth)]
        if item.reduction is None:
            return plain
        deep = self.depth(item.axes | item.anchor)
        around = self.cumulative[deep] > self.cumulative[min(first, deep)]
        inner = self.schedule.sequential <= len(self.schedule.order)
        return np.where(self.points.trips[item.reduction] > 1, around | inner, plain)

    def reuse(self, item: Item) -> Values:
        """How often each of a copy's tiles is moved."""
        own = [self.points.trips[a] for a in self.points.trips if a in item.axes]
        if item.reduction is not None:
            own.append(self.points.trips[item.reduction])
        return self.executions(item) / np.prod([np.ones(self.points.size), *own], axis=0)


def scratchpad_bytes(schedule: Schedule, rooms: Sequence[Room], points: Space) -> Values:
    """Bytes of all buffers, doubled ones twice."""
    loops = Loops(schedule, points)
    return stacked(rooms, [1 + loops.doubled(r) for r in rooms], points)


def single_bytes(rooms: Sequence[Room], points: Space) -> Values:
    """Bytes of all buffers when none is doubled: the least that any schedule needs."""
    return stacked(rooms, [1] * len(rooms), points)


def stacked(rooms: Sequence[Room], copies: Sequence[Values | int], points: Space) -> Values:
    """Bytes of buffers; those of different reduction loops are never there together."""
    always: Values = np.zeros(points.size, dtype=np.int64)
    inside: dict[str, Values] = {}
    for room, count in zip(rooms, copies, strict=True):
        nbytes = room.nbytes * count
        if room.reduction is not None:
            looped = points.trips[room.reduction] > 1
            _add(inside, room.reduction, np.where(looped, nbytes, 0))
            nbytes = np.where(looped, 0, nbytes)
        always = always + nbytes
    return always + np.max(list(inside.values()), axis=0) if inside else always


def evaluate(
    schedule: Schedule, items: Sequence[Item], rooms: Sequence[Room], points: Space, chip: Chip
) -> Costs:
    """Costs of a schedule for all points.

    What is not double-buffered takes its own time, one after the other. The rest overlaps: it takes as long as
    the busiest engine or memory, plus one transfer in and out to fill and drain. A copy takes as long as the core's
    port or the memory behind it, which moves only once what several cores read alike.
    """
    loops = Loops(schedule, points)
    cycles: Values = np.zeros(points.size)
    fill: Values = np.zeros(points.size)
    busy: dict[str, Values] = {}
    traffic: dict[str, Values] = {}
    tiles: Values = np.ones(points.size)
    for item in items:
        times = loops.executions(item)
        overlapped = loops.doubled(item)
        alone = times * item.cycles
        tiles = np.maximum(tiles, times)
        if item.memory:
            moved = item.traffic * loops.reuse(item)
            traffic[item.memory] = traffic.get(item.memory, 0.0) + moved
            limit = memory_cycles(moved, item.memory, chip)
            _add(busy, item.memory, np.where(overlapped, limit, 0.0))
            fill += np.where(overlapped, item.cycles, 0.0)
            cycles += np.where(overlapped, 0.0, np.maximum(alone, limit))
        else:
            cycles += np.where(overlapped, 0.0, alone)
        _add(busy, item.engine, np.where(overlapped, alone, 0.0))
    restarts = loops.cumulative[min(schedule.sequential, len(schedule.order))]
    cycles = cycles + restarts * fill + np.max(list(busy.values()), axis=0)
    return Costs(cycles, traffic, scratchpad_bytes(schedule, rooms, points), tiles)


def _add(table: dict[str, Values], key: str, amount: Values) -> None:
    table[key] = table[key] + amount if key in table else amount


def _orders(axes: tuple[str, ...]) -> list[tuple[str, ...]]:
    if len(axes) <= FEW_AXES:
        return list(permutations(axes))
    found = [axes]
    for axis in axes:
        rest = tuple(a for a in axes if a != axis)
        found += [(axis, *rest), (*rest, axis)]
    return list(dict.fromkeys(found))
