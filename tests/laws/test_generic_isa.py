"""The laws of instruction sets, on the generic core's own, and what its memories mean."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from kcompiler.graph.types import F16
from kcompiler.machine.generic.base import chip_memory, memory_word
from kcompiler.machine.generic.instructions import choices
from kcompiler.machine.generic.isa import Generic, Load, SyncWait
from kcompiler.machine.generic.transfers import Dim, Transfer
from kcompiler.machine.generic.vector import VectorNest
from kcompiler.machine.manual import manual
from kcompiler.machine.simulator.memories import Machine
from tests.laws import isa_strategies as laws
from tests.laws.core_strategies import nests, transfers
from tests.laws.isa_laws import laws_of
from tests.machine.generic_chips import chip


def any_of(cls: type[Generic]) -> st.SearchStrategy[Any]:
    if issubclass(cls, Transfer):
        return transfers(cls)
    return nests(cls) if issubclass(cls, VectorNest) else laws.packed(cls)


(
    test_bytes_and_text_round_trip,
    test_equal_means_equal_bytes,
    test_any_bytes_are_refused_or_canonical,
    test_damaged_programs_are_refused_or_canonical,
) = laws_of(Generic, any_of)


def test_a_wait_in_bytes() -> None:
    """The oracle, by hand: opcode 8 bits, length 12, then queue 2, on 2, count 32, all_cores 1."""
    wait = SyncWait(queue="matrix", on="store", count=5, all_cores=1)
    bits = 0x01 | 1 << 8 | 2 << 20 | 1 << 22 | 5 << 24 | 1 << 56
    assert Generic.encode(wait) == bits.to_bytes(8, "little")
    assert str(wait) == "sync.wait queue=matrix on=store count=5 all_cores=1"


@pytest.mark.parametrize("shared", [None, 1 << 20])
def test_memories_by_role_or_by_name(shared: int | None) -> None:
    """What the lowering writes is what the instruction then means."""
    on = chip(shared=shared)
    names = [m.name for m in on.memories if not m.per_core]
    for words in (choices(Load, "memory"), tuple(names)):
        assert [chip_memory(memory_word(n, on, words), on) for n in names] == names
    assert chip_memory("shared", on) == ("ddr" if shared is None else "l2")


def test_a_load_moves_what_it_says() -> None:
    """By hand: two cores take two elements each of four, from the role's memory."""
    on = chip()
    m = Machine(on, {"pad": 64, "ddr": 64, "l2": 64})
    m.stores["l2"].data[0, 8:16] = range(8)
    dim = Dim(extent=3, stride=2, origin=0, step=1, box=2, core_steps=(2,))
    load = Load(
        local=16,
        memory="shared",
        base=8,
        itemsize=F16.itemsize,
        dims=(dim,),
        grid=(2,),
        fill=0xABCD,
    )
    load.execute(m)
    assert m.stores["pad"].data[0, 16:20].tolist() == [0, 1, 2, 3]
    assert m.stores["pad"].data[1, 16:20].tolist() == [4, 5, 0xCD, 0xAB]
    assert load.traffic(on) == {"l2": 6}
    assert [t.memory for t in (*load.reads(on), *load.writes(on))] == ["l2", "pad"]
    assert replace(load, memory="dram").traffic(on) == {"ddr": 6}


def test_every_instruction_explains_itself() -> None:
    text = manual(Generic)
    assert all(cls.mnemonic in text for cls in Generic.instructions())
