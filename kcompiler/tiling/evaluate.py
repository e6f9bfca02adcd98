"""The cost of candidates under each loop order and depth of double buffering.

A candidate's loops run in an order of its parallel axes; reductions are innermost. The outermost
`sequential` of them are plain loops, the others double-buffered. A copy or stage is hoisted to the
outermost loop below which nothing moves it, which makes its operand stationary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import permutations

import numpy as np

from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import memory_cycles
from kcompiler.tiling.measure import Item, Place, Room, Values
from kcompiler.tiling.space import Space

FEW_AXES = 4
"""Up to so many loops all orders are tried; beyond, each axis outermost and each innermost."""
TILE_PENALTY = 1e-5
"""Relative cost of a tile: programs are unrolled, so 2,000 tiles must save 2 % of the time."""
ISSUE = 4
"""Cycles that every tile costs: the issue of a load, a product, an epilogue and a store."""


@dataclass(frozen=True)
class Schedule:
    """A loop order, outermost first; the first `sequential` loops are not double-buffered."""

    order: tuple[str, ...]
    sequential: int


@dataclass(frozen=True)
class Costs:
    """What a schedule costs: time, bytes moved, tiles executed."""

    cycles: Values
    traffic: dict[str, Values]
    tiles: Values

    @property
    def total(self) -> Values:
        """Bytes moved from and to all memories."""
        return sum(self.traffic.values(), start=np.zeros_like(self.cycles))


def canonical(order: Sequence[str], points: Space) -> Values:
    """Which candidates an order is for: loops of one trip come first, in the order of `trips`.

    This visits each different nest of loops once; where only some orders are tried, they may
    repeat.
    """
    if len(order) > FEW_AXES:
        return np.ones(points.size, dtype=bool)
    names = [a for a in points.trips if a in order]
    meant: Values = np.ones(points.size, dtype=bool)
    before: Values = np.ones(points.size, dtype=bool)
    rank = {a: names.index(a) for a in order}
    previous = np.full(points.size, -1)
    for axis in order:
        single = points.trips[axis] == 1
        meant &= ~single | (before & (previous < rank[axis]))
        previous = np.where(single, rank[axis], previous)
        before = before & single
    return meant


def distinct(schedule: Schedule, points: Space) -> Values:
    """Which candidates a number of plain loops is for: one of one trip is the same as a double."""
    if schedule.sequential == 0:
        return np.ones(points.size, dtype=bool)
    return np.asarray(_trips(schedule, points, schedule.sequential - 1) > 1)


def _trips(schedule: Schedule, points: Space, position: int) -> Values:
    if position < len(schedule.order):
        return points.trips[schedule.order[position]]
    reductions = [v for a, v in points.trips.items() if a not in schedule.order]
    return reduce(np.maximum, reductions) if reductions else np.ones(points.size, dtype=np.int64)


class Loops:
    """Trip counts around every position of a schedule; each place is counted once."""

    def __init__(self, schedule: Schedule, points: Space) -> None:
        self.schedule = schedule
        self.points = points
        self.cumulative: list[Values] = [np.ones(points.size)]
        for axis in schedule.order:
            self.cumulative.append(self.cumulative[-1] * points.trips[axis])
        self._executions: dict[Place, Values] = {}
        self._doubled: dict[Place, Values] = {}
        self._reuse: dict[Place, Values] = {}

    def depth(self, axes: frozenset[str]) -> int:
        """The number of parallel loops around something that some axes move."""
        return max((i + 1 for i, a in enumerate(self.schedule.order) if a in axes), default=0)

    def executions(self, place: Place) -> Values:
        """How often each core does it."""
        found = self._executions.get(place)
        if found is None:
            found = self._executions[place] = self._times(*place)
        return found

    def doubled(self, place: Place) -> Values:
        """Whether a double-buffered loop of more than one trip is around it."""
        found = self._doubled.get(place)
        if found is None:
            found = self._doubled[place] = self._pipelined(*place)
        return found

    def reuse(self, place: Place) -> Values:
        """How often each of a copy's tiles is moved."""
        found = self._reuse.get(place)
        if found is None:
            found = self._reuse[place] = self._repeats(place)
        return found

    def _times(self, axes: frozenset[str], reduction: str | None, anchor: frozenset[str]) -> Values:
        outer = self.cumulative[self.depth(axes)]
        if reduction is None:
            return outer
        trips = self.points.trips[reduction]
        inside = self.cumulative[self.depth(axes | anchor)] * trips
        return np.where(trips > 1, inside, outer)

    def _pipelined(
        self, axes: frozenset[str], reduction: str | None, anchor: frozenset[str]
    ) -> Values:
        first = min(self.schedule.sequential, len(self.schedule.order))
        depth = self.depth(axes)
        plain = self.cumulative[depth] > self.cumulative[min(first, depth)]
        if reduction is None:
            return plain
        deep = self.depth(axes | anchor)
        around = self.cumulative[deep] > self.cumulative[min(first, deep)]
        inner = self.schedule.sequential <= len(self.schedule.order)
        return np.where(self.points.trips[reduction] > 1, around | inner, plain)

    def _repeats(self, place: Place) -> Values:
        axes, reduction, _ = place
        own: Values = np.ones(self.points.size)
        for axis, trips in self.points.trips.items():
            if axis in axes or axis == reduction:
                own = own * trips
        return np.asarray(self.executions(place) / own)


def scratchpad_bytes(schedule: Schedule, rooms: Sequence[Room], points: Space) -> Values:
    """Bytes of all buffers, doubled ones twice."""
    loops = Loops(schedule, points)
    return stacked(rooms, [1 + loops.doubled(r.place) for r in rooms], points)


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
    return always + reduce(np.maximum, inside.values()) if inside else always


def evaluate(schedule: Schedule, items: Sequence[Item], points: Space, chip: Chip) -> Costs:
    """Costs of a schedule for all points.

    What is not double-buffered takes its own time, one after the other. The rest is a pipeline: as
    long as its busiest engine or memory, plus one round of the others to fill and drain it. A copy
    takes as long as the core's port or the memory behind it, which moves only once what several
    cores read alike; the latency of the memory counts once a start.
    """
    loops = Loops(schedule, points)
    clock = _Clock(points, loops.cumulative[min(schedule.sequential, len(schedule.order))])
    traffic: dict[str, Values] = {}
    for item in items:
        times, overlapped = loops.executions(item.place), loops.doubled(item.place)
        limit: Values | float = 0.0
        if item.memory:
            moved = item.traffic * loops.reuse(item.place)
            _add(traffic, item.memory, moved)
            limit = memory_cycles(moved, item.memory, chip)
            _add(clock.busy, item.memory, np.where(overlapped, limit, 0.0))
            clock.wait(chip.memory(item.memory).latency.value, times, overlapped)
        clock.run(item, times, overlapped, limit)
    return Costs(clock.total, traffic, clock.tiles)


class _Clock:
    """Adds up the time of copies and stages; `restarts` is how often the pipeline starts."""

    def __init__(self, points: Space, restarts: Values) -> None:
        self.restarts = restarts
        self.alone: Values = np.zeros(points.size)
        self.latency: Values = np.zeros(points.size)
        self.tiles: Values = np.ones(points.size)
        self.busy: dict[str, Values] = {}
        self.once: dict[str, Values] = {}

    def wait(self, latency: int, times: Values, overlapped: Values) -> None:
        """The latency of a memory, for each start."""
        starts = np.where(overlapped, self.restarts, times)
        self.latency = np.maximum(self.latency, starts * latency)

    def run(self, item: Item, times: Values, overlapped: Values, limit: Values | float) -> None:
        """An item that is executed so many times; at least `limit` cycles in all."""
        own = times * item.cycles
        self.tiles = np.maximum(self.tiles, times)
        self.alone = self.alone + np.where(overlapped, 0.0, np.maximum(own, limit))
        _add(self.busy, item.engine, np.where(overlapped, own, 0.0))
        _add(self.once, item.engine, np.where(overlapped, item.cycles, 0.0))

    @property
    def total(self) -> Values:
        """All cycles. Grows with each of its parts, so that faster parts never cost more."""
        rounds = self.restarts * sum(self.once.values(), start=np.zeros_like(self.alone))
        longest = [b - self.restarts * self.once.get(n, 0.0) for n, b in self.busy.items()]
        return np.asarray(self.alone + self.latency + reduce(np.maximum, longest) + rounds)


def _add(table: dict[str, Values], key: str, amount: Values) -> None:
    table[key] = table[key] + amount if key in table else amount


def orders(axes: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The loop orders that are tried."""
    if len(axes) <= FEW_AXES:
        return list(permutations(axes))
    found = [axes]
    for axis in axes:
        rest = tuple(a for a in axes if a != axis)
        found += [(axis, *rest), (*rest, axis)]
    return list(dict.fromkeys(found))
