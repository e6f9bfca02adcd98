"""The time of a program: time lines computed by hand, and laws."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.instruction import Isa
from kcompiler.machine.simulator.time import Backlog, Timing, roofline, simulate_time
from tests.machine.toy import (
    CLASSES,
    Work,
    binding,
    known,
    program,
    slower,
    toy_chip,
    toy_target,
    wait,
    work,
)


def timing(instructions: Sequence[Isa], **chip: Any) -> Timing:
    return simulate_time(program(instructions), toy_target(toy_chip(**chip)))


def spans(found: Timing) -> list[tuple[float, float]]:
    return list(zip(found.start.tolist(), found.end.tolist(), strict=True))


def test_one_queue_runs_in_order() -> None:
    found = timing([work("matrix", busy=7), work("matrix", busy=5)])
    assert spans(found) == [(0, 7), (7, 12)]
    assert found.cycles == 12
    assert found.seconds == pytest.approx(12e-6)
    assert found.busy == {"matrix": 12}


def test_queues_run_in_parallel() -> None:
    assert timing([work("matrix", busy=7), work("vector", busy=9)]).cycles == 9


def test_a_wait_holds_its_queue_only() -> None:
    found = timing(
        [
            work("load", busy=10),
            work("load", busy=10),
            wait("matrix", "load", 1),
            work("matrix", busy=3),
            work("vector", busy=1),
        ]
    )
    assert spans(found) == [(0, 10), (10, 20), (0, 10), (10, 13), (0, 1)]
    assert found.busy == {"load": 20, "matrix": 3, "vector": 1}


def test_a_wait_for_what_is_long_complete_is_free() -> None:
    found = timing(
        [
            work("load", busy=2),
            work("matrix", busy=50),
            wait("matrix", "load", 1),
            work("matrix", busy=1),
        ]
    )
    assert found.end[-1] == 51


def test_news_from_all_cores_takes_sync_cycles() -> None:
    instructions = [
        work("load", busy=10),
        wait("matrix", "load", 1, True),
        work("matrix", busy=1),
    ]
    assert timing(instructions, sync=5).cycles == 16
    instructions[1] = wait("matrix", "load", 1, False)
    assert timing(instructions, sync=5).cycles == 11


def test_double_buffering_overlaps() -> None:
    """Loads of 10, products of 8, two buffers: load 3 waits for product 1 (at 18), and so on."""
    code: list[Isa] = []
    for tile in range(4):
        if tile >= 2:
            code.append(wait("load", "matrix", tile - 1))
        code += [work("load", busy=10), wait("matrix", "load", tile + 1), work("matrix", busy=8)]
    found = timing(code)
    loads = [
        s
        for s, i in zip(spans(found), code, strict=True)
        if isinstance(i, Work) and i.engine == "load"
    ]
    assert loads == [(0, 10), (10, 20), (20, 30), (30, 40)]
    assert found.cycles == 48


def test_latency_delays_completion_but_not_the_next_transfer() -> None:
    found = timing(
        [
            work("load", busy=10, far=50),
            work("load", busy=10, far=50),
            wait("matrix", "load", 2),
            work("matrix", busy=1),
        ],
        latency=100,
    )
    assert spans(found)[:2] == [(0, 10), (10, 20)]
    assert found.done.tolist()[:2] == [110, 120]
    assert found.cycles == 121


def test_a_slow_memory_stretches_a_transfer() -> None:
    assert timing([work("load", busy=10, far=1000)], far=10).cycles == 100
    assert timing([work("load", busy=10, far=1000)], far=1000).cycles == 10
    assert timing([work("load", busy=1, far=1)], far=1024).end.tolist() == [1]


def test_two_transfers_share_a_memory() -> None:
    """100 + 100 bytes at 10 a cycle: both done at 20, whoever gets what in between."""
    found = timing([work("load", busy=1, far=100), work("store", busy=1, far=100)], far=10)
    assert found.end.tolist() == [10, 20]
    assert found.bytes == {"far": 200, "near": 0}
    assert found.dram_bytes == 200


def test_two_memories_do_not_share() -> None:
    found = timing(
        [work("load", busy=1, far=100), work("store", busy=1, near=200)], far=10, near=20
    )
    assert found.end.tolist() == [10, 10]


def test_an_idle_memory_saves_nothing_up() -> None:
    found = timing(
        [
            work("matrix", busy=1000),
            wait("load", "matrix", 1),
            work("load", busy=1, far=100),
            wait("store", "load", 1),
            work("store", busy=1, far=100),
        ],
        far=10,
    )
    assert found.end[[2, 4]].tolist() == [1010, 1020]


def test_a_steady_stream_is_as_fast_as_the_memory() -> None:
    """Tiles of 60 bytes in and 40 out, little arithmetic: 10 cycles each at 10 bytes a cycle."""
    code: list[Isa] = []
    for tile in range(50):
        code += [
            work("load", busy=1, far=60),
            wait("matrix", "load", tile + 1),
            work("matrix", busy=2),
        ]
        code += [wait("store", "matrix", tile + 1), work("store", busy=1, far=40)]
    assert timing(code, far=10).cycles == pytest.approx(500, abs=15)


def test_kernels_have_their_own_times() -> None:
    code = [
        work("load", busy=10, far=20),
        wait("matrix", "load", 1),
        work("matrix", busy=5),
        work("load", busy=10, far=30),
    ]
    made = program(code, kernels=[("a", 0, 3), ("b", 3, 1)])
    a, b = simulate_time(made, toy_target()).kernels
    assert (a.name, a.start, a.end, a.busy, a.bytes) == (
        "a",
        0,
        15,
        {"load": 10, "matrix": 5},
        {"far": 20},
    )
    assert (b.name, b.start, b.end, b.busy, b.bytes) == ("b", 10, 20, {"load": 10}, {"far": 30})


def test_an_endless_wait_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="instruction 1 lets matrix wait for 2 instructions of load"
    ):
        timing([work("load"), wait("matrix", "load", 2), work("load")])


def test_an_empty_program_takes_no_time() -> None:
    found = timing([])
    assert (found.cycles, found.busy, found.dram_bytes) == (0, {}, 0)


def test_roofline() -> None:
    """1000 MACs on 4 cores of one cell that does 2 f16 MACs a cycle; 200 bytes at 10 a cycle."""
    made = program([], kernels=[("a", 0, 0)], macs=1000, inputs=[binding("x", 100)])
    bound = roofline(made, toy_chip(far=10))
    assert (bound.compute_cycles, bound.memory_cycles, bound.cycles) == (125, 20, 125)
    assert roofline(made, toy_chip(far=1)).cycles == 200
    assert bound.seconds == pytest.approx(125e-6)


def test_a_table_that_is_read_in_part_is_not_compulsory() -> None:
    made = program([work("load", far=8)], inputs=[binding("table", 1000)])
    assert simulate_time(made, toy_target()).bound.compulsory_bytes == 8


def test_near_tensors_are_not_compulsory() -> None:
    made = program([], inputs=[binding("x", 100, "near")])
    assert roofline(made, toy_chip()).compulsory_bytes == 0


transfers = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=30)


@given(transfers, st.sampled_from([1.0, 2.0, 4.0]))
def test_backlog_is_its_definition(given_: list[tuple[int, int]], rate: float) -> None:
    backlog = Backlog(rate)
    ends = [backlog.end(start, size) for start, size in given_]
    for i, end in enumerate(ends):
        expected = max(
            min(start for start, _ in given_[p : i + 1])
            + sum(ceil(size / rate) for _, size in given_[p : i + 1])
            for p in range(i + 1)
        )
        assert end == expected


@st.composite
def programs(draw: st.DrawFn) -> list[Isa]:
    """Random programs whose waits look back."""
    counts = dict.fromkeys(CLASSES, 0)
    code: list[Isa] = []
    for _ in range(draw(st.integers(1, 40))):
        engine = draw(st.sampled_from(sorted(CLASSES)))
        on = draw(st.sampled_from(sorted(CLASSES)))
        if counts[on] and draw(st.booleans()):
            count = draw(st.integers(0, counts[on]))
            code.append(wait(engine, on, count, draw(st.booleans())))
        amounts = st.integers(0, 3000) if engine in {"load", "store", "task"} else st.just(0)
        code.append(
            work(engine, busy=draw(st.integers(0, 100)), far=draw(amounts), near=draw(amounts))
        )
        counts[engine] += 1
    return code


@given(programs(), st.floats(0.05, 1), st.sampled_from(["far", "near"]))
def test_more_bandwidth_is_never_slower(code: list[Isa], factor: float, name: str) -> None:
    chip = toy_chip(far=17.3, near=40.1, latency=30, sync=9)
    fast = simulate_time(program(code), toy_target(chip))
    slow = simulate_time(program(code), toy_target(slower(chip, name, factor)))
    assert (fast.done <= slow.done).all()
    assert fast.cycles <= slow.cycles


@given(programs(), st.integers(0, 20))
def test_less_latency_is_never_slower(code: list[Isa], latency: int) -> None:
    fast = timing(code, latency=latency)
    slow = timing(code, latency=latency + 5, sync=3)
    assert (fast.done <= slow.done).all()


@given(programs())
def test_no_memory_moves_more_than_its_bandwidth(code: list[Isa]) -> None:
    """Of any consecutive transfers of one memory: bytes <= bandwidth x (last end - first start)."""
    found = timing(code, far=17.0, near=40.0)
    for name, bandwidth in (("far", 17.0), ("near", 40.0)):
        rows = [i for i, t in enumerate(found.traffic) if t and name in t]
        for p in range(len(rows)):
            for i in range(p, len(rows)):
                some = rows[p : i + 1]
                size = sum((found.traffic[r] or {})[name] for r in some)
                assert size <= bandwidth * (found.end[some].max() - found.start[some].min()) + 1e-6


@given(programs())
def test_a_program_is_no_faster_than_its_engines_and_memories(code: list[Isa]) -> None:
    found = timing(code, far=17.0, near=40.0)
    works = [i for i in code if isinstance(i, Work)]
    for engine in CLASSES:
        assert found.cycles >= sum(w.busy for w in works if w.engine == engine)
    assert found.cycles >= sum(w.far for w in works) / 17.0 - 1
    assert found.cycles >= sum(w.near for w in works) / 40.0 - 1
    assert sum(found.busy.values()) == pytest.approx(
        sum((found.end - found.start)[i] for i, w in enumerate(code) if isinstance(w, Work))
    )


@given(programs())
def test_without_limits_a_program_takes_its_longest_chain(code: list[Isa]) -> None:
    """An oracle of its own: longest path over a graph of instructions, memories infinitely fast."""
    held: dict[str, list[int]] = {}
    members: dict[str, list[int]] = {}
    finish: dict[int, int] = {}
    for place, item in enumerate(code):
        if not isinstance(item, Work):
            row: Any = item
            if row.count:
                held.setdefault(row.queue, []).append(members[row.on][row.count - 1])
            continue
        before = [*held.get(item.engine, []), *members.get(item.engine, [])]
        finish[place] = max((finish[b] for b in before), default=0) + item.busy
        members.setdefault(item.engine, []).append(place)
    assert timing(code, far=1e12, near=1e12).cycles == pytest.approx(max(finish.values()), abs=1)


def test_the_chip_counts_a_second_by_its_clock() -> None:
    chip = replace(toy_chip(), clock=known(2e9))
    found = simulate_time(program([work("matrix", busy=4000)]), toy_target(chip))
    assert found.seconds == pytest.approx(2e-6)
    assert np.isclose(found.bound.clock, 2e9)
