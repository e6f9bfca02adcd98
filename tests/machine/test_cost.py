"""Cost formulas against machines that are stepped cycle by cycle, and arrays against numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph.types import F16, F32
from kcompiler.kernel.expr import Acc, Apply, Const, Load
from kcompiler.machine import cost
from tests.tiling.chips import chip

sizes = st.integers(1, 200)


def stepped(m: int, k: int, n: int, rows: int, columns: int) -> int:
    """Cycles of a weight-stationary array: load a block, skew the rows in, drain the result."""
    total = 0
    for _ in range(math.ceil(k / rows)):
        for _ in range(math.ceil(n / columns)):
            load = rows
            # The last element enters at m-1 + rows-1 and leaves after the last column.
            stream = (m - 1) + (rows - 1) + (columns - 1) + 1
            total += load + stream
    return total


@given(m=sizes, k=sizes, n=sizes)
def test_a_bare_array_takes_load_and_stream_for_every_block(m: int, k: int, n: int) -> None:
    engine = chip(array=(16, 8), overlap_fill=False).matrix
    found = cost.systolic_cycles(m, k, n, engine, F16)
    blocks = math.ceil(k / 16) * math.ceil(n / 8)
    assert int(found) == blocks * (2 * 16 + 8 + m - 2) - 1 == stepped(m, k, n, 16, 8) - 1


@given(m=sizes, k=sizes, n=sizes)
def test_hidden_loads_are_never_slower(m: int, k: int, n: int) -> None:
    plain = cost.systolic_cycles(m, k, n, chip(overlap_fill=False).matrix, F16)
    hidden = cost.systolic_cycles(m, k, n, chip(overlap_fill=True).matrix, F16)
    ideal = m * k * n / 256
    assert ideal <= hidden <= plain + 1


@given(m=sizes, k=sizes, n=sizes)
def test_swapping_helps_or_does_nothing(m: int, k: int, n: int) -> None:
    engine = chip(array=(16, 8)).matrix
    best = cost.contraction_cycles(m, k, n, engine, F16)
    assert best == cost.contraction_cycles(n, k, m, engine, F16)
    assert best <= cost.contraction_cycles(m, k, n, engine, F16, swap=False)


@given(st.lists(st.tuples(sizes, sizes, sizes), min_size=1, max_size=5))
def test_arrays_are_numbers_side_by_side(rows: list[tuple[int, int, int]]) -> None:
    on = chip()
    m, k, n = np.array(rows).T
    together = [
        cost.systolic_cycles(m, k, n, on.matrix, F32),
        cost.vector_cycles(m, k, n, on.vector),
        cost.dma_cycles(m * k, n, on),
        cost.memory_cycles(m, "dram", on),
    ]
    apart = [
        [cost.systolic_cycles(*row, on.matrix, F32) for row in rows],
        [cost.vector_cycles(*row, on.vector) for row in rows],
        [cost.dma_cycles(a * b, c, on) for a, b, c in rows],
        [cost.memory_cycles(a, "dram", on) for a, _, _ in rows],
    ]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("runs", "cycles"), [(1, 16 + 64), (32, 16 + 64), (512, 16 + 1024)])
def test_short_runs_waste_bursts(runs: int, cycles: int) -> None:
    assert int(cost.dma_cycles(1024, runs, chip(burst=32, port=16.0, startup=16))) == cycles


def test_operations_are_counted_by_kind() -> None:
    x = Load(F32, 0)
    gate = Apply(F32, "sigmoid", (Apply(F32, "mul", (x, Const(F32, 2.0))),))
    assert cost.operations(Apply(F32, "add", (gate, Acc(F32)))) == (2, 1)
    assert cost.operations(x) == (0, 0)


def test_an_unknown_type_has_rate_one() -> None:
    assert cost.mac_rate(chip().matrix, "f16") == 1.0
