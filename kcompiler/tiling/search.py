"""The best plan of a region: all candidates of all variants, exactly compared.

Exact does not mean slow: a lower bound that no schedule can beat (each copy and stage as rarely as
possible, everything overlapped) orders the candidates; the most promising give a cost, and only
those whose bound is not above it are looked at again.

Sections of one kernel run on one grid of cores. So each section keeps its best candidate for every
grid, and the grid with the least sum wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, TypeAlias

import numpy as np

from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import memory_cycles
from kcompiler.tiling.evaluate import (
    ISSUE,
    TILE_PENALTY,
    Costs,
    Schedule,
    canonical,
    distinct,
    evaluate,
    orders,
    scratchpad_bytes,
    single_bytes,
)
from kcompiler.tiling.measure import Item, Room, Values, items, rooms
from kcompiler.tiling.plan import Cost
from kcompiler.tiling.space import Ints, Space, space
from kcompiler.tiling.variants import Variant

Objective: TypeAlias = Literal["cycles", "bytes"]
PROMISING = 256


@dataclass(frozen=True)
class Search:
    """What to look for: least cycles (then bytes) or bytes (then cycles), in `capacity` bytes.

    `swap`: whether the matrix engine may hold either factor of a product.
    """

    chip: Chip
    capacity: int
    objective: Objective = "cycles"
    swap: bool = True


@dataclass(frozen=True)
class Field:
    """All candidates of one variant, what they cost once, and the grid that each uses."""

    variant: Variant
    points: Space
    items: list[Item]
    rooms: list[Room]
    grid: Ints

    def take(self, chosen: Ints) -> Field:
        """The candidates at some positions."""
        return Field(
            self.variant,
            self.points.take(chosen),
            [i.take(chosen) for i in self.items],
            [r.take(chosen) for r in self.rooms],
            self.grid[chosen],
        )

    def where(self, mask: Values) -> Field:
        """The candidates for which something holds."""
        chosen = np.flatnonzero(mask)
        return self if len(chosen) == self.points.size else self.take(chosen)


@dataclass(frozen=True)
class Choice:
    """One candidate under one schedule."""

    cost: Cost
    field: Field
    schedule: Schedule
    costs: Costs
    position: int


Best: TypeAlias = dict[int, Choice]
"""The cheapest candidate so far for each grid."""


def best_of(
    candidates: Sequence[Variant], search: Search, common: Sequence[int] | None = None
) -> Best:
    """The cheapest candidate of a section; with `common` core splits, that for each grid."""
    best: Best = {}
    for variant in candidates:
        improve(best, make_field(variant, search, common), search)
    return best


def make_field(variant: Variant, search: Search, common: Sequence[int] | None = None) -> Field:
    """The candidates of a variant that fit with single buffers."""
    points = space(variant.footprint, variant.region, search.chip, common=common)
    buffers = rooms(variant.footprint, points, search.chip)
    fits = np.flatnonzero(single_bytes(buffers, points) <= search.capacity)
    points, buffers = points.take(fits), [r.take(fits) for r in buffers]
    work = items(variant.footprint, points, search.chip, swap=search.swap)
    grid = np.zeros(points.size, dtype=np.int64) if common is None else grids(variant, points)
    return Field(variant, points, work, buffers, grid)


def output_dimensions(variant: Variant) -> dict[str, int]:
    """Axis -> the dimension of the output that it writes along."""
    index = variant.region.nests[-1].write.index
    return {name: d for d, form in reversed(list(enumerate(index))) for name, _ in form.terms}


def grids(variant: Variant, points: Space) -> Ints:
    """A number that is equal for candidates that split each dimension of the output alike."""
    number: Ints = np.zeros(points.size, dtype=np.int64)
    dimensions = output_dimensions(variant)
    for axis in variant.footprint.axes:
        number += (points.cores[axis] - 1) << (11 * dimensions[axis])
    return number


def improve(best: Best, candidates: Field, search: Search) -> None:
    """Put the cheapest candidates of a field in `best` where they are cheaper."""
    if not candidates.points.size:
        return
    bound = lower_bound(candidates, search)
    order = np.lexsort((bound, candidates.grid))
    first = np.searchsorted(candidates.grid[order], candidates.grid[order])
    promising = np.arange(len(order)) - first < PROMISING
    _exhaust(best, candidates.take(order[promising]), search)
    rest = order[~promising]
    if not len(rest):
        return
    found, inverse = np.unique(candidates.grid[rest], return_inverse=True)
    known = [best[int(g)].cost.primary if int(g) in best else np.inf for g in found]
    limit = np.array(known)[inverse]
    _exhaust(best, candidates.take(rest[bound[rest] <= limit]), search)


def _exhaust(best: Best, candidates: Field, search: Search) -> None:
    for schedule, part in feasible(candidates, search):
        costs = evaluate(schedule, part.items, part.points, search.chip)
        first, second = keys(costs, search.objective)
        for at in _cheapest(part.grid, first, second):
            cost, grid = Cost(float(first[at]), float(second[at])), int(part.grid[at])
            if grid not in best or cost < best[grid].cost:
                best[grid] = Choice(cost, part, schedule, costs, at)


def _cheapest(grid: Ints, first: Values, second: Values) -> list[int]:
    """The position of the cheapest candidate of each grid."""
    if (grid == grid[0]).all():
        least = np.flatnonzero(first == first.min())
        return [int(least[np.argmin(second[least])])]
    order = np.lexsort((second, first, grid))
    begins = np.flatnonzero(np.diff(grid[order], prepend=-1))
    return [int(i) for i in order[begins]]


def feasible(candidates: Field, search: Search) -> Iterator[tuple[Schedule, Field]]:
    """For each schedule the candidates that it is meant for and that fit."""
    if not candidates.points.size:
        return
    for order in orders(tuple(candidates.variant.footprint.axes)):
        meant = candidates.where(canonical(order, candidates.points))
        if not meant.points.size:
            continue
        for sequential in range(len(order) + 2):  # the last loop stands for the reductions
            schedule = Schedule(order, sequential)
            part = meant.where(distinct(schedule, meant.points))
            if part.points.size:
                used = scratchpad_bytes(schedule, part.rooms, part.points)
                part = part.where(used <= search.capacity)
            if part.points.size:
                yield schedule, part


def keys(costs: Costs, objective: Objective) -> tuple[Values, Values]:
    """What plans are compared by."""
    cycles = costs.cycles * (1 + TILE_PENALTY * costs.tiles) + ISSUE * costs.tiles
    return (cycles, costs.total) if objective == "cycles" else (costs.total, cycles)


def lower_bound(candidates: Field, search: Search) -> Values:
    """A cost that no schedule of a candidate is below."""
    points = candidates.points
    busy: dict[str, Values] = {}
    moved: Values = np.zeros(points.size)
    for item in candidates.items:
        times: Values = np.ones(points.size)
        for axis in (*sorted(item.axes), *([item.reduction] if item.reduction else [])):
            times = times * points.trips[axis]
        busy[item.engine] = busy.get(item.engine, 0.0) + times * item.cycles
        if item.memory:
            limit = memory_cycles(item.traffic, item.memory, search.chip)
            busy[item.memory] = busy.get(item.memory, 0.0) + limit
            moved = moved + item.traffic
    return moved if search.objective == "bytes" else reduce(np.maximum, busy.values())
