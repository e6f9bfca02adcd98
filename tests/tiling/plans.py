"""Any legal plan of a region, not only the best one; operands; and bytes counted from a kernel's statements."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kcompiler.kernel.nest import Operand, Region
from kcompiler.kernel.statements import Box, Copy, For, Kernel, Statement
from kcompiler.tiling.find import plan_of
from kcompiler.tiling.plan import Plan
from kcompiler.tiling.search import Choice, Search, feasible, make_field
from kcompiler.tiling.evaluate import evaluate
from kcompiler.tiling.search import keys
from kcompiler.tiling.plan import Cost
from kcompiler.tiling.variants import sections, unrepeated, variants

Array = np.ndarray[Any, np.dtype[Any]]


@st.composite
def legal_plans(draw: st.DrawFn, region: Region, search: Search) -> Plan:
    """A plan drawn from the whole space: variant, candidate, loop order, double buffering."""
    parts = sections(unrepeated(region))
    common = [1, 2, 4] if len(parts) > 1 else None
    grid = None
    chosen = []
    for part in parts:
        found = [
            (schedule, field)
            for v in variants(part)
            for schedule, field in feasible(make_field(v, search, common), search)
        ]
        if grid is not None:
            found = [(s, f.take(np.flatnonzero(f.grid == grid))) for s, f in found]
            found = [(s, f) for s, f in found if f.points.size]
        schedule, field = found[draw(st.integers(0, len(found) - 1))]
        at = draw(st.integers(0, field.points.size - 1))
        if grid is None:
            grid = 0 if common is None else int(field.grid[at])
            if len(parts) > 1 and draw(st.booleans()):
                at, grid = 0, int(field.grid[0])
        costs = evaluate(schedule, field.items, field.rooms, field.points, search.chip)
        first, second = keys(costs, search.objective)
        chosen.append(Choice(Cost(float(first[at]), float(second[at])), field, schedule, costs, at))
    return plan_of(chosen, search)


def operands(region: Region, seed: int = 0) -> dict[str, Array]:
    """Small random operands: integers stay exact, floats are small integers too, so that any order of sums agrees."""
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

    Counted by running over all loops. What several cores load alike at the same time counts once.
    """
    found: dict[str, int] = {}
    names = {o.name: o for o in kernel.operands}
    cores = kernel.core_grid
    grid = list(product(*(range(n) for _, n in cores)))
    body: tuple[Statement, ...] = kernel.body
    for _ in cores:
        body = body[0].body  # type: ignore[union-attr]

    def visit(statements: tuple[Statement, ...], point: Mapping[str, int]) -> None:
        for statement in statements:
            if isinstance(statement, For):
                for i in range(statement.extent):
                    visit(statement.body, {**point, statement.var: i})
            elif isinstance(statement, Copy):
                count(statement, point)

    def count(copy: Copy, point: Mapping[str, int]) -> None:
        box = copy.src if copy.src.tensor in names else copy.dst
        operand = names[box.tensor]
        boxes = {
            _inside(box, operand, {**point, **dict(zip((v for v, _ in cores), core, strict=True))})
            for core in grid
        }
        if copy.indirect is not None:
            boxes = {tuple(_rows(b, copy) for b in boxes)[0]}
        total = sum(int(np.prod([len(r) for r in b])) for b in boxes)
        found[operand.name] = found.get(operand.name, 0) + total * operand.dtype.itemsize

    visit(body, {})
    return found


def _rows(box: tuple[range, ...], copy: Copy) -> tuple[range, ...]:
    assert copy.indirect is not None
    d = copy.indirect[0]
    return (*box[:d], range(copy.dst.shape[d]), *box[d + 1 :])


def _inside(box: Box, operand: Operand, point: Mapping[str, int]) -> tuple[range, ...]:
    found = []
    parts = zip(box.origin, box.shape, box.step, operand.shape, strict=True)
    for origin, length, step, size in parts:
        low = origin.at(point)
        first = max(0, -(low // step))
        last = min(length, -((low - size) // step))
        found.append(range(low + first * step, low + max(first, last) * step, step))
    return tuple(found)
