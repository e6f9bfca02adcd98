"""Waits: enough that every legal order gives the same bytes, and none that could be left out."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcompiler.machine.hazards import check_hazards
from kcompiler.machine.indices import indices
from kcompiler.machine.instruction import Isa
from kcompiler.machine.layouts import Dims
from kcompiler.machine.touch import Touch
from kcompiler.passes.synchronize import Synchronize
from tests.machine import random_programs
from tests.machine.interleaving import Interleaving
from tests.machine.random_programs import seeded
from tests.machine.toy import WaitWork, Work, far, pad, program, toy_chip, toy_target, work

CORES = 3
TARGET = toy_target(toy_chip(cores=CORES))


def synchronized(instructions: Sequence[Isa]) -> list[Isa]:
    (block,) = Synchronize(target=TARGET).run([instructions])
    return list(block)


def shown(code: Sequence[Isa]) -> str:
    """One word an instruction; `matrix<load:2` is a wait on this core, `<<` on all cores."""
    words = []
    for item in code:
        if isinstance(item, WaitWork):
            arrow = "<<" if item.all_cores else "<"
            words.append(f"{item.queue}{arrow}{item.on}:{item.count}")
        else:
            words.append(item.engine)
    return " ".join(words)


def test_a_pipeline() -> None:
    code = [
        work("load", [far(0)], [pad(0)]),
        work("matrix", [pad(0)], [pad(1)]),
        work("vector", [pad(1)], [pad(2)]),
        work("store", [pad(2)], [far(9)]),
    ]
    assert shown(synchronized(code)) == (
        "load matrix<load:1 matrix vector<matrix:1 vector store<vector:1 store"
    )


def test_independent_work_does_not_wait() -> None:
    code = [work("load", [far(0)], [pad(0)]), work("matrix", [pad(1)], [pad(2)])]
    assert synchronized(code) == code


def test_reads_of_the_same_bytes_do_not_wait() -> None:
    code = [work("matrix", [pad(0)], [pad(1)]), work("vector", [pad(0)], [pad(2)])]
    assert synchronized(code) == code


def test_a_queue_is_in_order_on_its_own_core() -> None:
    code = [work("matrix", [pad(0)], [pad(1)]), work("matrix", [pad(1)], [pad(0)])]
    assert synchronized(code) == code


def test_only_the_latest_conflict_is_waited_for() -> None:
    code = [work("load", [], [pad(i)]) for i in range(3)]
    code.append(work("matrix", [pad(0), pad(1)], [pad(9)]))
    assert shown(synchronized(code)) == "load load load matrix<load:2 matrix"


def test_what_others_have_waited_for_is_known() -> None:
    """The store waits for the matrix engine, which has waited for the load."""
    code = [
        work("load", [], [pad(0)]),
        work("matrix", [pad(0)], [pad(1)]),
        work("store", [pad(0), pad(1)], [far(0)]),
    ]
    assert shown(synchronized(code)) == "load matrix<load:1 matrix store<matrix:1 store"


def test_a_write_waits_for_readers() -> None:
    code = [work("matrix", [pad(0)], [pad(1)]), work("load", [], [pad(0)])]
    assert shown(synchronized(code)) == "matrix load<matrix:1 load"


def test_shared_bytes_need_all_cores() -> None:
    code = [work("store", [], [far(0)]), work("load", [far(0)], [pad(0)])]
    assert shown(synchronized(code)) == "store load<<store:1 load"


def test_stores_of_different_cores_may_cross() -> None:
    code = [work("store", [], [far(0)]), work("store", [], [far(0)])]
    assert shown(synchronized(code)) == "store store<<store:1 store"
    alone = [work("store", [], [far(0)], cores=1), work("store", [], [far(0)], cores=1)]
    assert synchronized(alone) == alone


def test_tiles_of_one_tensor_do_not_wait() -> None:
    rows = [
        Touch("far", False, 0, 2, ((100, indices(range(9))), (2, indices(range(i, i + 1)))))
        for i in range(4)
    ]
    code = [work("store", [], [row]) for row in rows]
    assert synchronized(code) == code


def test_a_wait_on_this_core_says_nothing_of_others() -> None:
    """Both stores of the first core's bytes are known here, not elsewhere."""
    code = [
        work("store", [], [far(0)]),
        work("matrix", [], [pad(0)]),
        work("store", [pad(0)], [far(1)]),
        work("vector", [], [pad(0)]),
        work("load", [far(1), far(0)], [pad(5)]),
    ]
    assert shown(synchronized(code)) == (
        "store matrix store<matrix:1 store vector<store:2 vector load<<store:2 load"
    )


def test_a_wait_on_all_cores_implies_what_each_knew_of_itself() -> None:
    code = [
        work("load", [], [pad(0)]),
        work("store", [pad(0)], [far(0)]),
        work("task", [far(0)], [far(9)], cores=0),
        work("matrix", [pad(0)], [pad(1)]),
        work("store", [pad(1)], [far(9)]),
    ]
    assert shown(synchronized(code)) == (
        "load store<load:1 store task<<store:1 task matrix<load:1 matrix "
        "store<matrix:1 store<<task:1 store"
    )


def test_one_core_needs_no_news_of_others() -> None:
    code = [work("store", [], [far(0)], cores=1), work("load", [far(0)], [pad(0)], cores=1)]
    (block,) = Synchronize(target=toy_target(toy_chip(cores=1))).run([code])
    assert shown(block) == "store load<store:1 load"


def test_kernels_stay_apart() -> None:
    first = [work("store", [], [far(0)])]
    second = [work("load", [far(0)], [pad(0)]), work("matrix", [pad(0)], [pad(1)])]
    blocks = Synchronize(target=TARGET).run([first, (), second])
    assert [shown(b) for b in blocks] == ["store", "", "load<<store:1 load matrix<load:1 matrix"]


def test_it_needs_a_target() -> None:
    with pytest.raises(ValueError, match="target"):
        Synchronize().run([])


@given(st.integers(0, 2**32), st.integers(1, 25))
def test_every_legal_order_gives_the_same_bytes(seed: int, length: int) -> None:
    chance = seeded(seed)
    plain = random_programs.instructions(chance, length, CORES)
    code = synchronized(plain)
    assert [item for item in code if isinstance(item, Work)] == plain
    assert check_hazards(program(code), TARGET) == []
    expected = Interleaving(code, CORES).in_order()
    for _ in range(8):
        assert Interleaving(code, CORES).run(chance) == expected


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_no_wait_can_be_left_out(seed: int) -> None:
    """Also the planted fault of the hazard check: each lost wait must be noticed."""
    code = synchronized(random_programs.instructions(seeded(seed), 20, CORES))
    for place, item in enumerate(code):
        if isinstance(item, WaitWork):
            found = check_hazards(program(code[:place] + code[place + 1 :]), TARGET)
            assert found, f"without {item} at {place}"


def test_lost_waits_change_results() -> None:
    """The orders that the oracle tries are wild enough: most lost waits show as wrong bytes."""
    chance = seeded(5)
    lost = noticed = 0
    for _ in range(12):
        code = synchronized(random_programs.instructions(chance, 14, CORES))
        expected = Interleaving(code, CORES).in_order()
        for place in [p for p, item in enumerate(code) if isinstance(item, WaitWork)]:
            broken = code[:place] + code[place + 1 :]
            lost += 1
            noticed += any(Interleaving(broken, CORES).run(chance) != expected for _ in range(40))
    assert lost > 60
    assert noticed > 0.6 * lost


def test_without_waits_results_change() -> None:
    chance = seeded(1)
    plain = random_programs.instructions(chance, 30, CORES)
    expected = Interleaving(plain, CORES).in_order()
    assert any(Interleaving(plain, CORES).run(chance) != expected for _ in range(10))


def box(parts: range, rows: range, column: int, columns: int) -> Dims:
    inner = range(7 * column, 7 * column + columns)
    return (8192, indices(parts)), (128, indices(rows)), (2, indices(inner))


def tiled(kernels: int, tiles: int) -> list[list[Isa]]:
    """Kernels that read what the one before wrote, tile by tile, in two buffers of each kind."""
    found: list[list[Isa]] = []
    for kernel in range(kernels):
        block: list[Isa] = []
        for tile in range(tiles):
            part, place = divmod(tile, 64)
            row, column = divmod(place, 8)
            at = tile % 2 * 1000
            dims = box(range(2 * part, 2 * part + 2), range(7 * row, 7 * row + 7), column, 7)
            whole = box(range(60), range(7 * row, 7 * row + 8), column, 8)
            halo = Touch("far", False, 10_000_000 * kernel, 2, whole)
            out = Touch("far", False, 10_000_000 * (kernel + 1), 2, dims)
            block += [
                work("load", [halo], [pad(at, 1000)]),
                work("load", [far(3_000_000_000 + 99 * tile, 99)], [pad(2000 + at, 1000)]),
                work("matrix", [pad(at, 1000), pad(2000 + at, 1000)], [pad(4000 + at, 1000)]),
                work("vector", [pad(4000 + at, 1000)], [pad(6000 + at, 1000)]),
                work("store", [pad(6000 + at, 1000)], [out]),
            ]
        found.append(block)
    return found


@pytest.mark.parametrize(("kernels", "tiles"), [(80, 50), (8, 500)])
def test_twenty_thousand_instructions(kernels: int, tiles: int) -> None:
    blocks = tiled(kernels, tiles)
    start = time.process_time()
    found = Synchronize(target=TARGET).run(blocks)
    assert time.process_time() - start < 4  # 0.8 s on a quiet machine
    assert sum(map(len, blocks)) == 20_000
    assert sum(map(len, found)) < 50_000
