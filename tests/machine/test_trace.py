"""Traces: JSON that a viewer takes, and the same numbers as the timing."""

import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.instruction import Isa
from kcompiler.machine.simulator.time import Timing, simulate_time
from kcompiler.machine.trace import write_trace
from tests.machine.toy import ToyTarget, known, program, toy_chip, toy_target, wait, work

CODE: list[Isa] = [
    work("load", busy=10, far=100),
    work("task", busy=3, near=40, cores=0),
    wait("matrix", "load", 1),
    work("matrix", busy=7, cores=3),
    wait("store", "matrix", 1, True),
    work("store", busy=4, far=20),
    work("load", busy=1, far=333),
]
PROGRAM = program(CODE, kernels=[("conv", 0, 4), ("relu", 4, 3)])


def target(clock: float = 1e6) -> ToyTarget:
    chip = toy_chip(cores=4, latency=7, sync=5)
    return toy_target(replace(chip, dies=known(2), clock=known(clock)))


def run(timed: ToyTarget, cores: Any = "all") -> tuple[Timing, str]:
    timing = simulate_time(PROGRAM, timed)
    out = io.StringIO()
    write_trace(out, PROGRAM, timed, timing, cores)
    return timing, out.getvalue()


def events(text: str, phase: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    return [event for event in found if event["ph"] == phase]


def names(text: str, what: str) -> dict[tuple[int, int], str]:
    return {(e["pid"], e["tid"]): e["args"]["name"] for e in events(text, "M") if e["name"] == what}


def test_processes_are_dies_and_tracks_are_engines_of_cores() -> None:
    _, text = run(target())
    processes = {pid: name for (pid, _), name in names(text, "process_name").items()}
    assert processes == {1: "Toy: die 0", 2: "Toy: die 1", 3: "Toy: chip"}
    threads = names(text, "thread_name")
    assert sorted(n for (pid, _), n in threads.items() if pid == 2) == [
        f"core {c} {e}" for c in (2, 3) for e in ("load", "matrix", "store")
    ]
    assert [n for (pid, _), n in threads.items() if pid == 3] == ["task"]
    assert len(set(threads.values())) == len(threads)


def test_slices_of_a_core() -> None:
    _, text = run(target(), cores=1)
    threads = names(text, "thread_name")
    slices = [
        (threads[e["pid"], e["tid"]], e["name"], e["ts"], e["dur"]) for e in events(text, "X")
    ]
    assert slices == [
        ("core 0 load", "node_conv", 0.0, 10.0),
        ("task", "node_conv", 0.0, 3.0),
        ("core 0 matrix", "wait for load", 0.0, 17.0),
        ("core 0 matrix", "node_conv", 17.0, 7.0),
        ("core 0 store", "wait for matrix", 0.0, 29.0),
        ("core 0 store", "node_relu", 29.0, 4.0),
        ("core 0 load", "node_relu", 10.0, pytest.approx(36, abs=2)),
    ]


def test_arguments() -> None:
    _, text = run(target(), cores=1)
    first = events(text, "X")[0]
    assert first["cat"] == "load"
    assert first["args"] == {
        "place": 0,
        "kernel": "conv",
        "instruction": str(CODE[0]),
        "cycles": 10.0,
        "bytes": {"far": 100},
    }


def test_cores_that_take_no_part_have_no_slice() -> None:
    _, text = run(target())
    threads = names(text, "thread_name")
    active = {threads[e["pid"], e["tid"]] for e in events(text, "X") if e["cat"] == "matrix"}
    assert active == {"core 0 matrix", "core 1 matrix", "core 2 matrix"}


@pytest.mark.parametrize("clock", [1e6, 1.9073486328125e9, 3e9, 7.7e8])
def test_slices_of_a_track_do_not_overlap(clock: float) -> None:
    _, text = run(target(clock))
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for e in json.loads(text, parse_float=str)["traceEvents"]:
        if e["ph"] == "X":
            start, length = (int(e[k].replace(".", "")) for k in ("ts", "dur"))  # picoseconds
            tracks.setdefault((e["pid"], e["tid"]), []).append((start, start + length))
    assert len(tracks) == 4 * 3 + 1
    for spans in tracks.values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(spans))


@given(st.lists(st.integers(1, 997), min_size=3, max_size=60), st.floats(1e8, 4e9))
def test_neighbours_touch_at_any_clock(sizes: list[int], clock: float) -> None:
    """Times are fractions of a cycle here; a slice ends exactly where the next one begins."""
    made = program([work("load", far=size) for size in sizes])
    timed = target(clock)
    out = io.StringIO()
    write_trace(out, made, timed, simulate_time(made, timed), 1)
    found = [e for e in json.loads(out.getvalue(), parse_float=str)["traceEvents"] if "ts" in e]
    spans = [tuple(int(e[k].replace(".", "")) for k in ("ts", "dur")) for e in found]
    assert len(spans) == len(sizes)
    assert all(a[0] + a[1] == b[0] for a, b in pairwise(spans))


def test_totals_are_those_of_the_timing() -> None:
    timing, text = run(target(), cores=1)
    work_slices = [e for e in events(text, "X") if e["cat"] != "wait"]
    for engine, cycles in timing.busy.items():
        mine = [e for e in work_slices if e["cat"] == engine]
        assert sum(e["args"]["cycles"] for e in mine) == cycles
        assert sum(e["dur"] for e in mine) == pytest.approx(cycles / timing.clock * 1e6)
    for name, size in timing.bytes.items():
        assert sum(e["args"]["bytes"].get(name, 0) for e in work_slices) == size
    end = max(e["ts"] + e["dur"] for e in work_slices)
    assert end <= timing.seconds * 1e6 + 1e-6


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    timing, text = run(target())
    write_trace(tmp_path / "trace.json", PROGRAM, target(), timing)
    assert (tmp_path / "trace.json").read_bytes() == text.encode()
    assert run(target())[1] == text


def test_names_are_escaped() -> None:
    odd = replace(PROGRAM.kernels[0], origins=('a"b\n',))
    made = replace(PROGRAM, kernels=(odd, PROGRAM.kernels[1]))
    out = io.StringIO()
    write_trace(out, made, target(), simulate_time(made, target()), 1)
    assert events(out.getvalue(), "X")[0]["name"] == 'a"b\n'


def test_an_empty_program() -> None:
    made = program([])
    out = io.StringIO()
    write_trace(out, made, target(), simulate_time(made, target()))
    assert json.loads(out.getvalue())["traceEvents"] == []
