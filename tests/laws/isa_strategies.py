"""Strategies and laws for any instruction set, and a search that shows that a law can fail.

Every field knows its legal values, so nothing here knows an instruction.
"""

import dataclasses
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar, assert_never

from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

from kcompiler.machine.assembly import (
    AssemblyError,
    format_program,
    parse_instruction,
    parse_program,
)
from kcompiler.machine.encoding import HEADER_BITS, OPCODE_BITS, EncodingError
from kcompiler.machine.fields import Choice, Float32, Integer, Kind, Many, Nested, f32_value
from kcompiler.machine.instruction import Isa, Packed

InstructionT = TypeVar("InstructionT", bound=Isa)
PackedT = TypeVar("PackedT", bound=Packed)
T = TypeVar("T")

U32 = st.integers(0, (1 << 32) - 1)
ODD_FLOATS = (0x00000000, 0x80000000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF)  # zeros and NaNs


def instructions(isa: type[InstructionT]) -> SearchStrategy[InstructionT]:
    """Any instruction of the set, each opcode as likely as any other."""
    return st.sampled_from(isa.instructions()).flatmap(packed)


def packed(cls: type[PackedT]) -> SearchStrategy[PackedT]:
    """Any record or instruction of this class."""
    fields = {operand.name: values(operand.kind) for operand in cls.operands}
    if cls.check is Packed.check:  # so that a field that refuses a legal value is not hidden
        return st.builds(cls, **fields)
    return st.fixed_dictionaries(fields).filter(lambda f: _allowed(cls, f)).map(lambda f: cls(**f))


def _allowed(cls: type[Packed], fields: dict[str, Any]) -> bool:
    try:
        cls(**fields)
    except ValueError as error:
        if ": field " in str(error):
            raise
        return False
    return True


def values(kind: Kind) -> SearchStrategy[Any]:
    """Any legal value of this kind of field."""
    match kind:
        case Integer():
            return st.integers(kind.low, kind.high)
        case Float32():
            return st.floats(width=32) | (st.sampled_from(ODD_FLOATS) | U32).map(f32_value)
        case Choice():
            return st.sampled_from(kind.names)
        case Many():
            return st.lists(values(kind.element), max_size=kind.most).map(tuple)
        case Nested():
            return packed(kind.cls)
        case _:
            assert_never(kind)


@st.composite
def pairs(draw: st.DrawFn, isa: type[InstructionT]) -> tuple[InstructionT, InstructionT]:
    """Two instructions that are the same bits, or differ in one field, or in everything."""
    one, other = draw(instructions(isa)), draw(instructions(isa))
    if draw(st.booleans()):
        return one, isa.decode(isa.encode(one))[0]
    if type(one) is not type(other) or not one.operands:
        return one, other
    name = draw(st.sampled_from(one.operands)).name
    try:
        return one, dataclasses.replace(one, **{name: getattr(other, name)})
    except ValueError:  # the two do not go together
        return one, other


@st.composite
def headed(draw: st.DrawFn, isa: type[Isa]) -> bytes:
    """Random bytes under a valid opcode and length; bare ones would hardly get past these."""
    words = draw(st.integers(1, 4))
    opcode = draw(st.sampled_from(isa.instructions())).opcode
    # From bytes, because large random integers are mostly small and would be all padding.
    noise = int.from_bytes(draw(st.binary(min_size=8 * words, max_size=8 * words)), "little")
    body = noise >> HEADER_BITS << HEADER_BITS
    return (opcode | words << OPCODE_BITS | body).to_bytes(8 * words, "little")


@st.composite
def mangled(draw: st.DrawFn, isa: type[Isa]) -> bytes:
    """A program with a few bits flipped, sometimes cut; most opcodes and lengths stay valid."""
    data = isa.encode_program(draw(st.lists(instructions(isa), min_size=1, max_size=3)))
    bits = int.from_bytes(data, "little")
    for place in draw(st.lists(st.integers(0, 8 * len(data) - 1), max_size=3)):
        bits ^= 1 << place
    data = bits.to_bytes(len(data), "little")
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 3)) == 0 else data


@st.composite
def mangled_text(draw: st.DrawFn, isa: type[Isa]) -> str:
    """A program's text, of which a few characters are replaced."""
    text = format_program(draw(st.lists(instructions(isa), min_size=1, max_size=3)))
    start = draw(st.integers(0, len(text)))
    stop = start + draw(st.integers(0, 2))
    return text[:start] + draw(st.text("=[]{},; -0x1fnai\n", max_size=3)) + text[stop:]


def bytes_round_trip(isa: type[InstructionT], instruction: InstructionT) -> None:
    """Decoding undoes encoding and gives legal fields; the header tells opcode and length."""
    data = isa.encode(instruction)
    assert len(data) == 8 * ((data[1] | data[2] << 8) & 0xFFF)
    assert data[0] == instruction.opcode
    assert isa.decode(data) == (instruction, len(data))
    decoded = isa.decode(data)[0]
    assert isa.encode(decoded) == data
    assert dataclasses.replace(decoded) == decoded  # made by its constructor, which checks


def text_round_trip(isa: type[InstructionT], instruction: InstructionT) -> None:
    """Parsing undoes printing."""
    assert parse_instruction(isa, str(instruction)) == instruction


def equal_means_equal_bytes(
    isa: type[InstructionT], pair: tuple[InstructionT, InstructionT]
) -> None:
    """Equality, hash, bytes and text tell the same instructions apart."""
    one, other = pair
    assert (one == other) == (isa.encode(one) == isa.encode(other))
    assert (one == other) == (str(one) == str(other))
    assert one != other or hash(one) == hash(other)


def bytes_are_canonical(isa: type[Isa], data: bytes) -> str:
    """Either refused with EncodingError, or the one encoding of what they decode to."""
    try:
        program = isa.decode_program(data)
    except EncodingError as error:
        return error.reason
    assert isa.encode_program(program) == data
    return "decoded"


def text_is_parsed_or_refused(isa: type[Isa], text: str) -> str:
    """Either refused with AssemblyError, or a program that prints and parses back."""
    try:
        program = parse_program(isa, text)
    except AssemblyError as error:
        return error.reason
    assert parse_program(isa, format_program(program)) == program
    return "parsed"


def found(strategy: SearchStrategy[T], holds: Callable[[T], bool], tries: int = 5000) -> T:
    """An example that holds, or NoSuchExample; the same one in every run."""
    search = settings(max_examples=tries, database=None, phases=[Phase.generate])
    return find(strategy, holds, settings=search, random=Random(0))  # noqa: S311


def fails(law: Callable[[T], object], strategy: SearchStrategy[T]) -> bool:
    """Whether the law can be seen to fail."""

    def broken(example: T) -> bool:
        try:
            law(example)
        except (AssertionError, ValueError):
            return True
        return False

    try:
        found(strategy, broken, tries=300)
    except NoSuchExample:
        return False
    return True
