"""The laws of instruction sets, on rebel's."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcompiler.machine.manual import manual
from kcompiler.targets.rebel.isa import NeuralDma, Rebel, SyncWait, VectorNest
from tests.laws import isa_strategies as laws
from tests.laws.core_strategies import nests, transfers


def any_of(cls: type[Rebel]) -> st.SearchStrategy[Rebel]:
    if issubclass(cls, NeuralDma):
        return transfers(cls)
    return nests(cls) if issubclass(cls, VectorNest) else laws.packed(cls)


instructions = st.sampled_from(Rebel.instructions()).flatmap(any_of)
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("cls", Rebel.instructions(), ids=lambda c: c.mnemonic)
@given(data=st.data())
@SLOW
def test_bytes_and_text_round_trip(cls: type[Rebel], data: st.DataObject) -> None:
    each = data.draw(any_of(cls))
    laws.bytes_round_trip(Rebel, each)
    laws.text_round_trip(Rebel, each)


@given(instructions, instructions)
@SLOW
def test_equal_means_equal_bytes(one: Rebel, other: Rebel) -> None:
    laws.equal_means_equal_bytes(Rebel, (one, other))
    laws.equal_means_equal_bytes(Rebel, (one, Rebel.decode(Rebel.encode(one))[0]))


@given(laws.headed(Rebel))
def test_any_bytes_are_refused_or_canonical(data: bytes) -> None:
    laws.bytes_are_canonical(Rebel, data)


@given(st.lists(instructions, min_size=1, max_size=3), st.data())
@SLOW
def test_damaged_programs_are_refused_or_canonical(
    program: list[Rebel], data: st.DataObject
) -> None:
    code = Rebel.encode_program(program)
    bits = int.from_bytes(code, "little")
    for place in data.draw(st.lists(st.integers(0, 8 * len(code) - 1), max_size=3)):
        bits ^= 1 << place
    laws.bytes_are_canonical(Rebel, bits.to_bytes(len(code), "little"))


def test_the_laws_see_damage() -> None:
    """Not vacuous: most single bits matter, and some damage decodes."""
    code = Rebel.encode(SyncWait(queue="matrix", on="ndma_load", count=3, all_cores=0))
    results = [
        laws.bytes_are_canonical(
            Rebel, (int.from_bytes(code, "little") ^ 1 << i).to_bytes(len(code), "little")
        )
        for i in range(8 * len(code))
    ]
    assert results.count("decoded") > 32
    assert len(results) - results.count("decoded") > 8


def test_a_wait_in_bytes() -> None:
    """The oracle, by hand: opcode 8 bits, length 12, then queue 3, on 3, count 32, all_cores 1."""
    wait = SyncWait(queue="matrix", on="ndma_store", count=5, all_cores=1)
    bits = 0x01 | 1 << 8 | 2 << 20 | 1 << 23 | 5 << 26 | 1 << 58
    assert Rebel.encode(wait) == bits.to_bytes(8, "little")
    assert str(wait) == "sync.wait queue=matrix on=ndma_store count=5 all_cores=1"
    assert Rebel.encode(replace(wait, count=6)) != Rebel.encode(wait)


def test_every_instruction_explains_itself() -> None:
    text = manual(Rebel)
    for cls in Rebel.instructions():
        assert cls.mnemonic in text
        assert cls.meaning.splitlines()[0] in text
