"""Hazards: found where a full transitive closure finds them, and named well."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.hazards import Hazard, check_hazards
from kcompiler.machine.instruction import Isa
from tests.machine import random_programs
from tests.machine.interleaving import Conflict, unordered_conflicts
from tests.machine.random_programs import seeded
from tests.machine.toy import far, pad, program, toy_chip, toy_target, wait, work

CORES = 3
TARGET = toy_target(toy_chip(cores=CORES))


def found(code: Sequence[Isa]) -> list[Hazard]:
    return check_hazards(program(code), TARGET)


def test_kinds() -> None:
    write, read = work("load", [], [pad(0)]), work("matrix", [pad(0)], [pad(9)])
    over = work("vector", [], [pad(0)])
    assert [h.kind for h in found([write, read])] == ["RAW"]
    assert [h.kind for h in found([read, write])] == ["WAR"]
    assert [h.kind for h in found([write, over])] == ["WAW"]
    assert found([read, work("vector", [pad(0)], [pad(8)])]) == []


def test_the_text_names_instructions_and_nodes() -> None:
    code = [work("load", [], [pad(16, 8)]), work("matrix", [pad(20, 8)], [])]
    made = program(code, kernels=[("first", 0, 1), ("second", 1, 1)])
    (hazard,) = check_hazards(made, TARGET)
    assert (hazard.first, hazard.second, hazard.memory) == (0, 1, "pad")
    assert hazard.text == (
        "RAW: instruction 0 (toy.load, node_first) writes and instruction 1 (toy.matrix, "
        "node_second) reads pad bytes in [0x14, 0x18), and nothing orders them"
    )


def test_a_wait_orders() -> None:
    code = [work("load", [], [pad(0)]), work("load"), work("matrix", [pad(0)])]
    assert found(code) != []
    for count, hazards in ((0, 1), (1, 0), (2, 0)):
        waited = [*code[:2], wait("matrix", "load", count), code[2]]
        assert len(found(waited)) == hazards


def test_a_wait_of_another_queue_does_not() -> None:
    code = [work("load", [], [pad(0)]), wait("vector", "load", 1), work("matrix", [pad(0)])]
    assert len(found(code)) == 1


def test_a_wait_before_the_conflict_does_not() -> None:
    code = [
        work("load"),
        wait("matrix", "load", 1),
        work("load", [], [pad(0)]),
        work("matrix", [pad(0)]),
    ]
    assert len(found(code)) == 1


def test_shared_bytes_need_a_wait_for_all_cores() -> None:
    code = [work("store", [], [far(0)]), wait("load", "store", 1), work("load", [far(0)])]
    assert [h.kind for h in found(code)] == ["RAW"]
    code[1] = wait("load", "store", 1, True)
    assert found(code) == []


def test_one_queue_on_many_cores() -> None:
    code = [work("store", [], [far(0)]), work("store", [], [far(0)])]
    assert [h.kind for h in found(code)] == ["WAW"]
    assert found([work("store", [], [far(0)], cores=1)] * 2) == []
    assert found([work("store", [pad(0)], [pad(0)])] * 2) == []


def test_one_core_has_no_others() -> None:
    code = [work("store", [], [far(0)], cores=1)] * 2
    target = toy_target(toy_chip(cores=1))
    assert check_hazards(program(code), target) == []


def test_waits_carry_knowledge_over() -> None:
    code = [
        work("load", [], [pad(0)]),
        wait("matrix", "load", 1),
        work("matrix", [pad(0)], [pad(1)]),
        wait("store", "matrix", 1),
        work("store", [pad(0), pad(1)], [far(0)]),
    ]
    assert found(code) == []
    assert {(h.first, h.second) for h in found(code[:1] + code[2:])} == {(0, 1), (0, 3)}


def test_an_endless_wait_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="instruction 0 lets matrix wait for 1 instructions of load"
    ):
        found([wait("matrix", "load", 1), work("load")])


def random_waits(chance: random.Random, code: Sequence[Isa]) -> list[Isa]:
    """The program with waits anywhere that look back; those on or of `task` are for all cores."""
    counts: dict[str, int] = {}
    made: list[Isa] = []
    for item in code:
        for on in chance.sample(sorted(counts), k=chance.randrange(min(3, len(counts) + 1))):
            everywhere = "task" in {on, item.engine} or chance.random() < 0.5
            count = chance.randrange(max(0, counts[on] - 2), counts[on] + 1)
            made.append(wait(item.engine, on, count, everywhere))
        made.append(item)
        counts[item.engine] = counts.get(item.engine, 0) + 1
    return made


@given(st.integers(0, 2**32), st.integers(1, 22))
def test_the_full_closure_finds_the_same(seed: int, length: int) -> None:
    chance = seeded(seed)
    code = random_waits(chance, random_programs.instructions(chance, length, CORES))
    expected = unordered_conflicts(code, CORES)
    assert {Conflict(h.first, h.second, h.memory) for h in found(code)} == expected


def test_random_programs_are_neither_all_safe_nor_all_broken() -> None:
    chance = seeded(3)
    pairs = ordered = 0
    for _ in range(20):
        plain = random_programs.instructions(chance, 15, CORES)
        pairs += len(unordered_conflicts(plain, CORES))
        ordered += len(unordered_conflicts(random_waits(chance, plain), CORES))
    assert 0.1 * pairs < ordered < 0.9 * pairs
