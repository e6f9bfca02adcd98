"""The laws of instruction sets, on rebel's."""

from dataclasses import replace

from hypothesis import strategies as st

from kcompiler.machine.manual import manual
from kcompiler.targets.rebel.isa import NeuralDma, Rebel, SyncWait, VectorNest
from tests.laws import isa_strategies as laws
from tests.laws.core_strategies import nests, transfers
from tests.laws.isa_laws import laws_of, single_bits


def any_of(cls: type[Rebel]) -> st.SearchStrategy[Rebel]:
    if issubclass(cls, NeuralDma):
        return transfers(cls)
    return nests(cls) if issubclass(cls, VectorNest) else laws.packed(cls)


(
    test_bytes_and_text_round_trip,
    test_equal_means_equal_bytes,
    test_any_bytes_are_refused_or_canonical,
    test_damaged_programs_are_refused_or_canonical,
) = laws_of(Rebel, any_of)


def test_the_laws_see_damage() -> None:
    """Not vacuous: most single bits matter, and some damage decodes."""
    wait = SyncWait(queue="matrix", on="ndma_load", count=3, all_cores=0)
    decoded, refused = single_bits(Rebel, wait)
    assert decoded > 32
    assert refused > 8


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
