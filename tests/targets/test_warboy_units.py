"""What Warboy's own instructions compute, against loops in plain Python."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcompiler.graph.node import Array
from kcompiler.machine.facts import Fact
from kcompiler.machine.simulator.memories import Machine
from kcompiler.targets.warboy.chip import CHIP
from kcompiler.targets.warboy.engines import DotEngine
from kcompiler.targets.warboy.isa import Warboy
from kcompiler.targets.warboy.units import Dot, Output, Requantize, Step, Table, TableLoop, Term

SLICES = 2
SIZE = 1 << 12
DATA, WEIGHTS, SUMS, OUT, BIAS, SCALES = 0, 0x400, 0x600, 0xA00, 0xC00, 0xD00


def machine(seed: int = 0) -> Machine:
    """Two slices whose buffers hold random bytes."""
    chip = replace(CHIP, cores=Fact(SLICES, "A", "a test"))
    made = Machine(chip, {"buffers": SIZE, "sram": 0, "dram": 0})
    data = made.stores["buffers"].data
    data[...] = np.random.default_rng(seed).integers(0, 256, data.shape, np.uint8)
    return made


def run(instruction: Warboy, on: Machine) -> None:
    """Only what the bytes say."""
    decoded, _ = Warboy.decode(Warboy.encode(instruction))
    decoded.execute(on)


def at(m: Machine, core: int, address: int, dtype: str) -> Any:
    kind = np.dtype(dtype)
    return m.stores["buffers"].data[core, address : address + kind.itemsize].view(kind)[0]


def window(stride: int, **changes: Any) -> Dot:
    """A 3 x 3 window over 2 channels of 9 x 9, to 3 outputs, in 2 groups."""
    space = (9 - 3) // stride + 1
    fields: dict[str, Any] = {
        "cores": SLICES, "data": DATA, "weights": WEIGHTS, "sums": SUMS,
        "data_type": "u8", "weight_type": "i8",
        "sequence": (
            Step(extent=2, data=162, weights=54, sums=12 * space * space, out=128, channel=12),
            Step(extent=space, data=9 * stride, weights=0, sums=4 * space, out=8, channel=0),
            Step(extent=space, data=stride, weights=0, sums=4, out=1, channel=0),
        ),
        "terms": (
            Term(extent=2, data=81, weights=9),
            Term(extent=3, data=9, weights=3),
            Term(extent=3, data=1, weights=1),
        ),
        "outputs": (Output(extent=3, weights=18, sums=4 * space * space, out=40, channel=4),),
        "accumulate": 0,
        "drain": (),
    }  # fmt: skip
    return Dot(**fields | changes)


def expected(dot: Dot, m: Machine, core: int) -> dict[tuple[int, ...], int]:
    """Index of each result -> its sum, term by term."""
    found: dict[tuple[int, ...], int] = {}
    for index in product(*(range(x.extent) for x in dot.kept)):
        data, weights, place = dot.data, dot.weights, dot.sums
        for i, x in zip(index, dot.kept, strict=True):
            data += i * getattr(x, "data", 0)
            weights, place = weights + i * x.weights, place + i * x.sums
        total = int(at(m, core, place, "<i4")) if dot.accumulate else 0
        for term in product(*(range(x.extent) for x in dot.terms)):
            moves = list(zip(term, dot.terms, strict=True))
            a = at(m, core, data + sum(i * x.data for i, x in moves), "u1")
            b = at(m, core, weights + sum(i * x.weights for i, x in moves), "i1")
            total += int(a) * int(b)
        found[index] = (total + (1 << 31)) % (1 << 32) - (1 << 31)
    return found


def place(dot: Dot, index: tuple[int, ...], start: int, stride: str) -> int:
    steps = [int(getattr(x, stride)) for x in dot.kept]
    return start + sum(i * n for i, n in zip(index, steps, strict=True))


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_sums(stride: int, accumulate: int) -> None:
    dot = window(stride, accumulate=accumulate)
    m = machine()
    wanted = [expected(dot, m, core) for core in range(SLICES)]
    run(dot, m)
    for core, sums in enumerate(wanted):
        for index, total in sums.items():
            assert at(m, core, place(dot, index, SUMS, "sums"), "<i4") == total


def rounded(total: int, bias: int, scale: np.float32, how: Requantize) -> int:
    """Half to even in float32, one operation at a time."""
    scaled = np.float32(np.float32(total + bias) * scale)
    whole = round(float(scaled)) + how.zero  # Python rounds half to even
    return min(max(whole, how.low), how.high)


@pytest.mark.parametrize("to", ["i8", "u8"])
@pytest.mark.parametrize("source", ["number", "buffers"])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_the_drain_makes_bytes(to: str, source: str, accumulate: int) -> None:
    low, high = (-128, 127) if to == "i8" else (0, 255)
    how = Requantize(
        to=to, out=OUT, bias_from=source, bias=100 if source == "number" else BIAS,
        scale_from=source, scale=0.015625, scales=SCALES, zero=-3, low=low, high=high,
    )  # fmt: skip
    dot, m = window(2, drain=(how,), accumulate=accumulate), machine(1)
    chance = np.random.default_rng(2)
    buffers = m.stores["buffers"].data
    for core in range(SLICES):
        buffers[core, BIAS : BIAS + 24].view("<i4")[:] = chance.integers(-999, 999, 6)
        buffers[core, SCALES : SCALES + 24].view("<f4")[:] = 2.0 ** -chance.integers(1, 12, 6)
        buffers[core, SUMS:OUT].view("<i4")[:] %= 1 << 14
    before = buffers.copy()
    wanted = [expected(dot, m, core) for core in range(SLICES)]
    run(dot, m)
    halves = 0
    for core, sums in enumerate(wanted):
        for index, total in sums.items():
            bias, scale = 100, np.float32(0.015625)
            if source == "buffers":
                bias = int(at(m, core, place(dot, index, BIAS, "channel"), "<i4"))
                scale = at(m, core, place(dot, index, SCALES, "channel"), "<f4")
            halves += float((total + bias) * scale) % 1 == 0.5
            found = at(m, core, place(dot, index, OUT, "out"), {"i8": "i1", "u8": "u1"}[to])
            assert found == rounded(total, bias, scale, how)
    assert halves  # not vacuous: some were ties
    np.testing.assert_array_equal(buffers[:, :OUT], before[:, :OUT])  # the sums were not written


@given(st.data())
@settings(max_examples=20)
def test_any_small_product(data: st.DataObject) -> None:
    """Extents of one and many loops change nothing."""
    m, k, n = (data.draw(st.integers(1, 5), label=name) for name in "mkn")
    dot = window(
        2,
        sequence=(Step(extent=m, data=k, weights=0, sums=4, out=0, channel=0),),
        terms=(Term(extent=1, data=7, weights=7), Term(extent=k, data=1, weights=n)),
        outputs=(Output(extent=n, weights=1, sums=4 * m, out=0, channel=0),),
    )
    on = machine(3)
    wanted = expected(dot, on, 1)
    run(dot, on)
    assert all(at(on, 1, place(dot, i, SUMS, "sums"), "<i4") == t for i, t in wanted.items())


def test_a_table() -> None:
    """Each byte of a transposed 5 x 3 block becomes what the table says."""
    chance = np.random.default_rng(4)
    values = tuple(map(int, chance.integers(0, 256, 256)))
    loops = (TableLoop(extent=5, source=3, out=1), TableLoop(extent=3, source=1, out=5))
    m = machine(5)
    before: Array = m.stores["buffers"].data.copy()
    run(Table(cores=SLICES, source=7, out=OUT, loops=loops, table=values), m)
    for core, i, j in product(range(SLICES), range(5), range(3)):
        found = m.stores["buffers"].data[core, OUT + i + 5 * j]
        assert found == values[before[core, 7 + 3 * i + j]]
    with pytest.raises(ValueError, match="a table of 255 bytes"):
        Table(cores=1, source=0, out=0, loops=loops, table=values[:255])


def test_cycles_by_hand() -> None:
    """Start-up 38; 2 groups of 16 positions, 18 terms and 3 outputs: one block each.

    At stride 2 two of three neighbours are new: 16 * 18 * 2/3 bytes at 16 a cycle, hidden.
    """
    assert isinstance(CHIP.matrix, DotEngine)
    engine = replace(CHIP.matrix, sustained=Fact(1.0, "A", "a test"))
    assert window(2).cycles(replace(CHIP, matrix=engine)) == 38 + 2 * 16
    half = replace(engine, sustained=Fact(0.5, "A", "a test"))
    assert window(2).cycles(replace(CHIP, matrix=half)) == 38 + 2 * 2 * 16
    loops = (TableLoop(extent=100, source=1, out=1),)
    table = Table(cores=1, source=0, out=0, loops=loops, table=tuple(range(256)))
    assert table.cycles(CHIP) == 22 + 50


def test_touched_bytes_are_those_that_change() -> None:
    """What an instruction writes lies in what it says that it writes, and nothing else changes."""
    how = Requantize(
        to="i8", out=OUT, bias_from="number", bias=0, scale_from="number", scale=0.01, scales=0,
        zero=0, low=-128, high=127,
    )  # fmt: skip
    for dot in (window(2), window(2, accumulate=1), window(2, drain=(how,))):
        m = machine(6)
        before = m.stores["buffers"].data.copy()
        run(dot, m)
        (touch,) = dot.writes(m.chip)
        outside = np.ones(SIZE, bool)
        outside[touch.start : touch.stop] = False
        changed = (before != m.stores["buffers"].data).any(axis=0)
        assert changed.any()
        assert not (changed & outside).any()
        assert (len(dot.reads(m.chip)) == 3) == bool(dot.accumulate)


@pytest.mark.parametrize("source", ["number", "buffers"])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_results_depend_on_declared_reads_alone(source: str, accumulate: int) -> None:
    """All other bytes may be anything: what waits are made from is all that is read."""
    how = Requantize(
        to="i8", out=OUT, bias_from=source, bias=9 if source == "number" else BIAS,
        scale_from=source, scale=0.01, scales=SCALES, zero=0, low=-128, high=127,
    )  # fmt: skip
    for dot in (window(2, accumulate=accumulate), window(2, accumulate=accumulate, drain=(how,))):
        one, other = machine(7), machine(8)
        for m in (one, other):
            scales = m.stores["buffers"].data[:, SCALES : SCALES + 24]
            scales[...] = np.full(6, 0.01, "<f4").view(np.uint8)
        for touch in dot.reads(one.chip):
            part = slice(touch.start, touch.stop)
            other.stores["buffers"].data[:, part] = one.stores["buffers"].data[:, part]
        run(dot, one)
        run(dot, other)
        results = [
            [at(m, core, place(dot, index, start, stride), kind) for index in expected(dot, m, 0)]
            for m in (one, other)
            for core in range(SLICES)
            for start, stride, kind in [(OUT, "out", "i1") if dot.drain else (SUMS, "sums", "<i4")]
        ]
        assert results[:SLICES] == results[SLICES:]
        assert len(set(results[0])) > 1
