"""Any legal plan of a region, operands for it, and bytes counted from a kernel's statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kcompiler.kernel.nest import Operand, Region
from kcompiler.kernel.statements import Box, Copy, For, Kernel, Statement
from kcompiler.tiling.evaluate import Schedule, evaluate
from kcompiler.tiling.find import plan_of
from kcompiler.tiling.plan import Cost, Plan
from kcompiler.tiling.search import Choice, Field, Search, feasible, keys, make_field
from kcompiler.tiling.variants import sections, unrepeated, variants

Array = np.ndarray[Any, np.dtype[Any]]
Candidates = list[tuple[Schedule, Field]]


@lru_cache(maxsize=64)
def candidates(region: Region, search: Search) -> list[Candidates]:
    """For each section every schedule with all candidates that fit."""
    parts = sections(unrepeated(region))
    common = (1, 2, 4) if len(parts) > 1 else None
    return [
        [found for v in variants(part) for found in feasible(make_field(v, search, common), search)]
        for part in parts
    ]


@st.composite
def legal_plans(draw: st.DrawFn, region: Region, search: Search) -> Plan:
    """A plan drawn from the whole space: variant, candidate, loop order, double buffering."""
    parts = candidates(region, search)
    chosen: list[Choice] = []
    for part in parts:
        found = part
        if chosen:  # all sections use one grid
            grid = chosen[0].field.grid[chosen[0].position]
            found = [(s, f.take(np.flatnonzero(f.grid == grid))) for s, f in part]
            found = [(s, f) for s, f in found if f.points.size]
        schedule, field = found[draw(st.integers(0, len(found) - 1))]
        chosen.append(choice(schedule, field, draw(st.integers(0, field.points.size - 1)), search))
    return plan_of(chosen, search)


def choice(schedule: Schedule, field: Field, at: int, search: Search) -> Choice:
    """One candidate with its cost."""
    costs = evaluate(schedule, field.items, field.points, search.chip)
    first, second = keys(costs, search.objective)
    return Choice(Cost(float(first[at]), float(second[at])), field, schedule, costs, at)


def operands(region: Region, seed: int = 0) -> dict[str, Array]:
    """Small random whole numbers, floats too, so that sums are exact in any order."""
    rng = np.random.default_rng(seed)
    return {
        o.name: rng.integers(0 if o.dtype == np.int64 else -3, 4, _size(o)).astype(o.dtype)
        for o in region.operands
        if o.role in {"input", "constant"}
    }


def _size(operand: Operand) -> int:
    pairs = zip(operand.shape, operand.strides, strict=True)
    return 1 + operand.offset + sum((extent - 1) * abs(stride) for extent, stride in pairs)


def moved_bytes(kernel: Kernel) -> dict[str, int]:
    """Bytes by operand that the copies of a kernel move, clipped at the operand's bounds.

    Counted by running over all loops; what several cores load alike at the same time counts once.
    """
    found: dict[str, int] = {}
    names = {o.name: o for o in kernel.operands}
    variables = [v for v, _ in kernel.core_grid]
    cores = [
        dict(zip(variables, core, strict=True))
        for core in product(*(range(n) for _, n in kernel.core_grid))
    ]
    for copy, point in executed(kernel.body, {}):
        box = copy.src if copy.src.tensor in names else copy.dst
        operand = names[box.tensor]
        boxes = {_inside(box, operand, copy, {**point, **core}) for core in cores}
        if copy.indirect is not None:
            boxes = set(list(boxes)[:1])
        total = sum(int(np.prod([len(r) for r in b])) for b in boxes)
        found[operand.name] = found.get(operand.name, 0) + total * operand.dtype.itemsize
    return found


def executed(
    body: tuple[Statement, ...], point: Mapping[str, int]
) -> Iterator[tuple[Copy, Mapping[str, int]]]:
    """Every copy with the values of the loops around it; all cores at once."""
    for statement in body:
        if isinstance(statement, Copy):
            yield statement, point
        elif isinstance(statement, For):
            count = 1 if statement.kind == "core" else statement.extent
            for i in range(count):
                yield from executed(statement.body, {**point, statement.var: i})


def _inside(box: Box, operand: Operand, copy: Copy, point: Mapping[str, int]) -> tuple[range, ...]:
    """The indices of a box inside the operand."""
    found = []
    for d, (low, length, step, size) in enumerate(
        zip((o.at(point) for o in box.origin), box.shape, box.step, operand.shape, strict=True)
    ):
        if copy.indirect is not None and copy.indirect[0] == d:
            found.append(range(copy.dst.shape[d]))
            continue
        first = max(0, -(low // step))
        last = min(length, -((low - size) // step))
        found.append(range(low + first * step, low + max(first, last) * step, step))
    return tuple(found)
