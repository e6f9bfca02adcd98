"""Region -> plan: sections, their variants, the search, and the plan that it found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcompiler.errors import CapacityError
from kcompiler.graph.types import dtype_name
from kcompiler.kernel.nest import Region
from kcompiler.tiling.evaluate import Loops, scratchpad_bytes, single_bytes
from kcompiler.tiling.measure import Room, rooms
from kcompiler.tiling.plan import AxisPlan, Cost, Plan, SectionPlan
from kcompiler.tiling.search import (
    Best,
    Choice,
    Search,
    best_of,
    output_dimensions,
)
from kcompiler.tiling.space import space
from kcompiler.tiling.variants import Variant, sections, unrepeated, variants


def find_plan(region: Region, search: Search) -> Plan:
    """The cheapest plan that fits; CapacityError when none does."""
    parts = [variants(s) for s in sections(unrepeated(region))]
    common = None
    if len(parts) > 1:
        cores = search.chip.cores.value
        common = [d for d in range(1, cores + 1) if cores % d == 0]
    found: list[Best] = []
    for part in parts:
        found.append(best_of(part, search, common))
        if not found[-1]:
            raise too_large(part, search)
    return plan_of(_agreed(found), search)


def _agreed(found: Sequence[Best]) -> list[Choice]:
    """The choices of all sections on the grid with the least total cost."""
    grids = [g for g in sorted(found[0]) if all(g in best for best in found)]
    totals = {g: total_cost([best[g] for best in found]) for g in grids}
    winner = min(grids, key=lambda g: totals[g])
    return [best[winner] for best in found]


def total_cost(choices: Sequence[Choice]) -> Cost:
    """What sections cost one after the other."""
    return Cost(sum(c.cost.primary for c in choices), sum(c.cost.secondary for c in choices))


def plan_of(choices: Sequence[Choice], search: Search) -> Plan:
    """The plan that the choices for all sections make."""
    traffic: dict[str, float] = {}
    for choice in choices:
        for memory, moved in choice.costs.traffic.items():
            traffic[memory] = traffic.get(memory, 0.0) + float(moved[choice.position])
    cycles = sum(float(c.costs.cycles[c.position]) for c in choices)
    chosen = tuple(map(section_plan, choices))
    return Plan(
        chosen, total_cost(choices), cycles, tuple(sorted(traffic.items())), search.capacity
    )


def section_plan(choice: Choice) -> SectionPlan:
    """One candidate under one schedule."""
    fp = choice.field.variant.footprint
    one = choice.field.take(np.array([choice.position]))
    loops = Loops(choice.schedule, one.points)
    buffers = tuple(
        (r.name, int(r.nbytes[0]), 1 + int(loops.doubled(r.place)[0])) for r in one.rooms
    )
    dimensions = output_dimensions(choice.field.variant)
    axes = tuple(
        AxisPlan(
            axis,
            extent,
            int(one.points.cores[axis][0]),
            int(one.points.tile[axis][0]),
            int(one.points.trips[axis][0]),
            dimensions.get(axis, -1),
        )
        for axis, extent in (*fp.axes.items(), *fp.reductions.items())
    )
    used = int(scratchpad_bytes(choice.schedule, one.rooms, one.points)[0])
    return SectionPlan(fp, axes, choice.schedule, buffers, used)


def too_large(candidates: Sequence[Variant], search: Search) -> CapacityError:
    """The error that names what does not fit."""
    total, variant, buffers, at = min(
        (_smallest(v, search) for v in candidates), key=lambda found: found[0]
    )
    parts = ", ".join(f"{_shape(variant, r.name)} {int(r.nbytes[at]):,} B" for r in buffers)
    memory = search.chip.scratchpad
    return CapacityError(
        f"a kernel needs {total:,} bytes of {memory}, of which it may use {search.capacity:,}",
        why=f"its smallest tiles are {parts}",
        fix="give kernels more of the memory (tile{scratchpad_share=1.0})",
    )


def _smallest(variant: Variant, search: Search) -> tuple[int, Variant, list[Room], int]:
    points = space(variant.footprint, variant.region, search.chip)
    buffers = rooms(variant.footprint, points, search.chip)
    total = single_bytes(buffers, points)
    at = int(np.argmin(total))
    return int(total[at]), variant, buffers, at


def _shape(variant: Variant, buffer: str) -> str:
    operand = variant.footprint.buffer(buffer).operand
    shape = ",".join(map(str, operand.shape))
    return f"{buffer} (of {operand.name}: {dtype_name(operand.dtype)}[{shape}])"
