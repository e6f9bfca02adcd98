"""Laws of tiling: any legal plan computes the same, the one found is best, memory only helps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kcompiler.errors import CapacityError
from kcompiler.graph.types import F32
from kcompiler.kernel.interpreter import run_kernel, run_region
from kcompiler.kernel.nest import Affine, Region
from kcompiler.kernel.statements import Box, Compute, Copy, For, Kernel, Statement
from kcompiler.machine.chip import Chip
from kcompiler.machine.facts import Fact
from kcompiler.machine.scratchpad import buffer_addresses
from kcompiler.tiling import search as search_module
from kcompiler.tiling.emit import emit
from kcompiler.tiling.evaluate import evaluate
from kcompiler.tiling.find import find_plan
from kcompiler.tiling.search import Objective, Search, keys
from tests.tiling import regions as r
from tests.tiling.chips import chip
from tests.tiling.plans import candidates, legal_plans, moved_bytes, operands

REGIONS = {
    "matmul": r.matmul(10, 21, 12, r.I8),
    "matmul without epilogue": r.matmul(8, 9, 10, bias=False),
    "vector times matrix": r.matmul(1, 24, 18),
    "3x3": r.conv(5, 7, 6, 3, dtype=r.I8),
    "3x3 stride 2": r.conv(4, 9, 6, 3, 2, r.I8),
    "1x1 stride 2": r.conv(4, 7, 6, 1, 2, r.I8),
    "5x5 stride 2": r.conv(3, 9, 4, 5, 2, r.I8),
    "depthwise": r.conv(6, 7, 6, 3, groups=6, dtype=r.I8),
    "grouped": r.conv(6, 6, 4, 3, groups=2, dtype=r.I8),
    "residual": r.conv(4, 6, 6, 3, residual=True, dtype=r.I8),
    "pool": r.pool(3, 9, 3, 2, 1, r.I8),
    "transpose": r.transposed((4, 6, 5), (2, 0, 1)),
    "gather": r.gather(20, 12, 10),
    "broadcast": r.broadcast_sum((4, 5, 6)),
    "concat": r.concat((3, 8, 5), 5, 4),
    "softmax": r.softmax(5, 36, F32),
    "layer norm": r.layer_norm(6, 24, F32),
    "attention": r.attention(2, 6, 8, 4, F32),
}
ROUGH = {
    "softmax",
    "layer norm",
    "attention",
}  # their sums are rounded, in an order that tiles change
SMALL = settings(max_examples=12, suppress_health_check=list(HealthCheck))


def searching(on: Chip, share: float = 1.0) -> Search:
    """A search that may use a share of the scratchpad."""
    return Search(on, int(on.memory(on.scratchpad).size.value * share))


ROOMY = searching(chip(scratchpad=1 << 20))


@pytest.mark.parametrize("name", REGIONS)
@given(data=st.data())
@SMALL
def test_any_legal_plan_computes_the_same(name: str, data: st.DataObject) -> None:
    region = REGIONS[name]
    plan = data.draw(legal_plans(region, ROOMY))
    kernel = emit(plan, region, "sram")
    given_ = operands(region)
    got, wanted = run_kernel(kernel, given_), run_region(region, given_)
    if name in ROUGH:
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6, err_msg=str(plan))
    else:
        np.testing.assert_array_equal(got, wanted, err_msg=str(plan))


@pytest.mark.parametrize("name", [n for n in REGIONS if n != "gather"])
@given(data=st.data())
@SMALL
def test_plans_know_the_bytes_and_the_room_that_they_take(name: str, data: st.DataObject) -> None:
    region = REGIONS[name]
    plan = data.draw(legal_plans(region, ROOMY))
    kernel = emit(plan, region, "sram")
    moved = {"dram": 0, "l2": 0}
    for operand, nbytes in moved_bytes(kernel).items():
        moved["dram" if kernel.operand(operand).role == "constant" else "l2"] += nbytes
    assert dict(plan.traffic) == {m: n for m, n in moved.items() if m in dict(plan.traffic)}
    _, used = buffer_addresses(kernel, ROOMY.chip.memory("sram"))
    assert used <= plan.used <= plan.capacity


@pytest.mark.parametrize("promising", [1, search_module.PROMISING])
@pytest.mark.parametrize("name", [n for n in REGIONS if n != "concat"])
def test_no_legal_plan_is_better(
    name: str, promising: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shortcut of the search loses nothing: all candidates are evaluated here."""
    monkeypatch.setattr(search_module, "PROMISING", promising)
    tight = searching(chip(scratchpad=4 << 10))
    (section,) = candidates(REGIONS[name], tight)
    best = (np.inf, np.inf)
    for schedule, field in section:
        first, second = keys(evaluate(schedule, field.items, field.points, tight.chip), "cycles")
        assert (search_module.lower_bound(field, tight) <= first).all()
        best = min(best, *zip(first.tolist(), second.tolist(), strict=True))
    assert cost(REGIONS[name], tight) == best
    assert sum(field.points.size for _, field in section) > 10


def shapes() -> st.SearchStrategy[Region]:
    """Regions of all kinds with random extents."""
    extent, kernel = st.integers(1, 40), st.sampled_from((1, 3))
    parts = st.lists(extent, min_size=1, max_size=3)
    return st.one_of(
        st.builds(r.matmul, extent, extent, extent),
        st.builds(r.conv, extent, st.integers(3, 24), extent, kernel, st.sampled_from((1, 2))),
        st.builds(r.softmax, extent, st.integers(1, 400)),
        st.builds(r.layer_norm, extent, extent),
        st.builds(r.pool, extent, st.integers(3, 20), st.just(3), st.just(2), st.just(1)),
        st.builds(lambda parts, n: r.concat(parts, n, n), parts, extent),
    )  # fmt: skip


def cost(region: Region, search: Search) -> tuple[float, float]:
    """What the best plan costs; infinite where none fits."""
    try:
        found = find_plan(region, search).cost
    except CapacityError:
        return (np.inf, np.inf)
    return (found.primary, found.secondary)


@given(
    region=shapes(),
    kilobytes=st.integers(1, 32),
    more=st.integers(0, 64),
    bandwidth=st.floats(0.5, 64),
    faster=st.floats(1, 8),
    port=st.floats(1, 64),
    objective=st.sampled_from(("cycles", "bytes")),
)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_more_memory_or_bandwidth_is_never_worse(
    region: Region,
    kilobytes: int,
    more: int,
    bandwidth: float,
    faster: float,
    port: float,
    objective: Objective,
) -> None:
    small = chip(scratchpad=kilobytes << 10, bandwidth=bandwidth, port=port)
    large = chip(
        scratchpad=(kilobytes + more) << 10, bandwidth=bandwidth * faster, port=port * faster
    )
    first, second = (replace(searching(c), objective=objective) for c in (small, large))
    worst = cost(region, first)
    assume(worst[0] < np.inf)
    assert cost(region, second) <= worst


@given(region=shapes(), kilobytes=st.integers(1, 16))
@SMALL
def test_a_plan_never_exceeds_the_memory(region: Region, kilobytes: int) -> None:
    search = searching(chip(scratchpad=kilobytes << 10))
    try:
        plan = find_plan(region, search)
    except CapacityError:
        return
    assert plan.used <= search.capacity
    _, used = buffer_addresses(emit(plan, region, "sram"), search.chip.memory("sram"))
    assert used <= plan.used


def rewritten(
    body: tuple[Statement, ...], change: dict[Statement, Statement]
) -> tuple[Statement, ...]:
    """Statements with some replaced."""
    return tuple(
        replace(s, body=rewritten(s.body, change)) if isinstance(s, For) else change.get(s, s)
        for s in body
    )


def faults(kernel: Kernel) -> Iterator[tuple[str, Kernel]]:
    """The kernel with each of its copies off by one in one dimension, or a carry forgotten."""

    def visit(body: tuple[Statement, ...]) -> Iterator[Statement]:
        for statement in body:
            yield statement
            if isinstance(statement, For):
                yield from visit(statement.body)

    for statement in visit(kernel.body):
        if isinstance(statement, Compute) and statement.carry is not None:
            wrong: Statement = replace(statement, carry=None)
            yield "carry", replace(kernel, body=rewritten(kernel.body, {statement: wrong}))
        if not isinstance(statement, Copy):
            continue
        side = "dst" if statement.src.tensor not in {o.name for o in kernel.operands} else "src"
        box: Box = getattr(statement, side)
        for d, origin in enumerate(box.origin):
            moved = (*box.origin[:d], origin.plus(Affine((), 1)), *box.origin[d + 1 :])
            wrong = replace(statement, **{side: replace(box, origin=moved)})  # type: ignore[arg-type]
            yield (
                f"{box.tensor} {d}",
                replace(kernel, body=rewritten(kernel.body, {statement: wrong})),
            )


@pytest.mark.parametrize("name", ["matmul", "3x3", "3x3 stride 2", "pool", "depthwise", "concat"])
def test_planted_faults_are_found(name: str) -> None:
    """Not vacuous: a halo or an origin off by one, or a lost partial sum, changes the numbers."""
    region = REGIONS[name]
    tight = searching(chip(scratchpad=512))
    kernel = emit(find_plan(region, tight), region, "sram")
    given_ = operands(region)
    wanted = run_region(region, given_)
    np.testing.assert_array_equal(run_kernel(kernel, given_), wanted)
    planted = list(faults(kernel))
    assert planted
    for fault, wrong in planted:
        assert not np.array_equal(run_kernel(wrong, given_), wanted), fault


def test_a_slower_memory_can_cost_more() -> None:
    """Not vacuous: bandwidth and room do change what is found."""
    region = r.conv(16, 28, 32, 3)
    costs = [
        cost(region, searching(replace_bandwidth(chip(scratchpad=size), factor)))
        for size, factor in ((1 << 20, 1.0), (4096, 1.0), (4096, 0.01))
    ]
    assert costs == sorted(costs)
    assert len(set(costs)) == 3


def replace_bandwidth(on: Chip, factor: float) -> Chip:
    """The chip with slower memories outside the cores."""
    memories = tuple(
        m if m.per_core else replace(m, bandwidth=Fact(m.bandwidth.value * factor, "A", "slower"))
        for m in on.memories
    )
    return replace(on, memories=memories)
