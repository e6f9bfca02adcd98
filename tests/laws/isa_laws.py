"""The laws that every instruction set obeys, as tests: a module of tests takes them by name.

test_round_trips, test_equality, test_damage = laws_of(Mine, any_of)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcompiler.machine.instruction import Isa
from tests.laws import isa_strategies as laws

SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
Test: TypeAlias = Callable[..., None]
AnyOf: TypeAlias = Callable[[Any], st.SearchStrategy[Any]]
"""The instructions of a class."""


def laws_of(isa: type[Isa], any_of: AnyOf) -> tuple[Test, Test, Test, Test]:
    """Round trips, equality, any bytes, damaged programs."""
    instructions = st.sampled_from(isa.instructions()).flatmap(any_of)

    @pytest.mark.parametrize("cls", isa.instructions(), ids=lambda c: c.mnemonic)
    @given(data=st.data())
    @SLOW
    def round_trips(cls: type[Isa], data: st.DataObject) -> None:
        each = data.draw(any_of(cls))
        laws.bytes_round_trip(isa, each)
        laws.text_round_trip(isa, each)

    @given(instructions, instructions)
    @SLOW
    def equality(one: Isa, other: Isa) -> None:
        laws.equal_means_equal_bytes(isa, (one, other))
        laws.equal_means_equal_bytes(isa, (one, isa.decode(isa.encode(one))[0]))

    @given(laws.headed(isa))
    def any_bytes(data: bytes) -> None:
        laws.bytes_are_canonical(isa, data)

    @given(st.lists(instructions, min_size=1, max_size=3), st.data())
    @SLOW
    def damage(program: list[Isa], data: st.DataObject) -> None:
        code = isa.encode_program(program)
        bits = int.from_bytes(code, "little")
        for place in data.draw(st.lists(st.integers(0, 8 * len(code) - 1), max_size=3)):
            bits ^= 1 << place
        laws.bytes_are_canonical(isa, bits.to_bytes(len(code), "little"))

    return round_trips, equality, any_bytes, damage


def single_bits(isa: type[Isa], instruction: Isa) -> tuple[int, int]:
    """How many of an instruction's bits, flipped one at a time, are decoded, and refused."""
    code = isa.encode(instruction)
    bits = int.from_bytes(code, "little")
    results = [
        laws.bytes_are_canonical(isa, (bits ^ 1 << i).to_bytes(len(code), "little"))
        for i in range(8 * len(code))
    ]
    decoded = results.count("decoded")
    return decoded, len(results) - decoded
