"""Instruction templates: one meaning, many sets, each with its own widths."""

import types

import pytest

from kcompiler.machine.instruction import Isa, u
from tests.laws import isa_strategies as laws


def test_a_template_of_many_sets_and_other_widths() -> None:
    class Move(Isa, template=True):
        """Two fields; a set may change their widths."""

        place: int = u(32, base=16)
        count: int = u(8, default=1)

    class Narrow(Isa):
        """A set."""

    class NarrowMove(Narrow, Move, opcode=0x01, mnemonic="move", engine="e"):
        """With a width of its own."""

        place: int = u(4)

    class Wide(Isa):
        """Another set."""

    class WideMove(Move, Wide, opcode=0x01, mnemonic="move", engine="e"):
        """As the template has it; the order of bases is free."""

    assert Narrow.instructions() == (NarrowMove,)
    assert Wide.instructions() == (WideMove,)
    assert [str(c(place=9, count=2)) for c in (NarrowMove, WideMove)] == [
        "move place=9 count=2",
        "move place=0x9 count=2",
    ]
    for isa, made in ((Narrow, NarrowMove(place=15)), (Wide, WideMove(place=(1 << 32) - 1))):
        laws.bytes_round_trip(isa, made)
    with pytest.raises(ValueError, match="16 does not fit"):
        NarrowMove(place=16)
    with pytest.raises(TypeError, match="Bad: no base of it is an instruction set"):
        types.new_class("Bad", (Move,), {"opcode": 1, "mnemonic": "m", "engine": "e"})
