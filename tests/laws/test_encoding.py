"""Laws of instruction sets on a toy: bytes, text and manual follow from the declarations.

Round trips cannot see a mistake that both directions share, so a listing written by hand stands
beside them; and each law is shown to fail when a fault is planted.
"""

import ast
import dataclasses
import pickle
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine import assembly, encoding, fields
from kcompiler.machine.assembly import AssemblyError, parse_instruction, parse_program
from kcompiler.machine.fields import choice, f32, many, record, s, u
from kcompiler.machine.instruction import EncodingError, Isa, Packed, Record
from kcompiler.machine.manual import manual
from tests.laws import isa_strategies as laws


class Toy(Isa):
    """A machine of three instructions."""


class Dim(Record):
    extent: int = u(6, doc="elements | 0 for none")
    stride: int = s(10)


class Wait(Toy, opcode=0x02, mnemonic="sync.wait", engine="sync"):
    """Wait until counter >= value."""

    counter: int = u(4)
    value: int = s(8, default=-1, doc="-1 means for ever")


class Copy(Toy, opcode=0x10, mnemonic="dma.copy", engine="dma"):
    """Copy a box."""

    dst: int = u(24, base=16, doc="byte address")
    dtype: str = choice("f16", "f32", "i8")
    scale: float = f32()
    dims: tuple[Dim, ...] = many(Dim, most=5)
    steps: tuple[int, ...] = many(s(5), most=2, default=())


class Pad(Toy, opcode=0x7F, mnemonic="dma.pad", engine="dma"):
    """Fill an edge."""

    edge: Dim = record(Dim)
    value: float = f32(default=0.0)

    def check(self) -> None:
        if self.edge.extent == 0:
            raise ValueError("an edge of extent 0 pads nothing")


# The oracle. Worked out with pencil and paper from the layout: opcode 8, length 12, then the fields
# from the lowest bit up; e.g. in the first, 0x50 is the length's high nibble 0 below counter 5.
GOLDEN: list[tuple[Toy, str, str]] = [
    (Wait(5, -2), "0201 50fe 0000 0000", "sync.wait counter=5 value=-2"),
    (Wait(15), "0201 f0ff 0000 0000", "sync.wait counter=15"),
    (
        Copy(0x123456, "i8", -2.0, (Dim(3, -1),), (-1, 7)),
        "1002 6045 2321 0000 0070 86ff fd07 0000",
        "dma.copy dst=0x123456 dtype=i8 scale=-2.0 dims=[{extent=3 stride=-1}] steps=[-1, 7]",
    ),
    (
        Pad(Dim(1, 0), -0.0),
        "7f02 1000 0000 0000 0800 0000 0000 0000",
        "dma.pad edge={extent=1 stride=0} value=-0.0",
    ),
]


@pytest.mark.parametrize(("instruction", "code", "line"), GOLDEN)
def test_golden_listing(instruction: Toy, code: str, line: str) -> None:
    data = bytes.fromhex(code)
    assert Toy.encode(instruction) == data
    assert Toy.decode(data) == (instruction, len(data))
    assert str(instruction) == line
    assert parse_instruction(Toy, line) == instruction


ANY = laws.instructions(Toy)
PAIRS = laws.pairs(Toy)
MANGLED = laws.mangled(Toy) | laws.headed(Toy)
BYTES = partial(laws.bytes_round_trip, Toy)
TEXT = partial(laws.text_round_trip, Toy)
CANONICAL = partial(laws.bytes_are_canonical, Toy)
EQUALITY = partial(laws.equal_means_equal_bytes, Toy)
PARSES = partial(laws.text_is_parsed_or_refused, Toy)


@given(ANY)
def test_round_trips(instruction: Toy) -> None:
    BYTES(instruction)
    TEXT(instruction)


@given(st.lists(ANY))
def test_program_round_trip(program: list[Toy]) -> None:
    data = Toy.encode_program(program)
    assert Toy.decode_program(memoryview(data)) == program
    assert parse_program(Toy, assembly.format_program(program)) == program


@given(PAIRS)
def test_equal_means_equal_bytes(pair: tuple[Toy, Toy]) -> None:
    EQUALITY(pair)


@pytest.mark.parametrize("same", [True, False])
def test_pairs_are_equal_and_unequal(same: bool) -> None:
    laws.found(PAIRS, lambda pair: type(pair[0]) is type(pair[1]) and (pair[0] == pair[1]) == same)


@given(st.binary() | MANGLED)
def test_any_bytes_are_canonical_or_refused(data: bytes) -> None:
    CANONICAL(data)


REASONS = "decoded|unknown opcode|truncated|code 3 is outside|a count of|runs past the length|"
REASONS += "its header says|the padding is not zero|an edge of extent 0"


@pytest.mark.parametrize("reason", REASONS.split("|"))
def test_mangled_bytes_meet_every_reason(reason: str) -> None:
    laws.found(MANGLED, lambda data: reason in CANONICAL(data))


@given(st.text() | laws.mangled_text(Toy))
def test_any_text_is_an_instruction_or_refused(text: str) -> None:
    PARSES(text)


@pytest.mark.parametrize("reason", ["parsed", "expected", "is not a", "does not fit"])
def test_mangled_text_meets_every_reason(reason: str) -> None:
    laws.found(laws.mangled_text(Toy), lambda text: reason in PARSES(text))


def _golden_fails() -> bool:
    return any(Toy.encode(made) != bytes.fromhex(code) for made, code, _ in GOLDEN)


def _reversed_codec(patch: pytest.MonkeyPatch, cls: type[Toy]) -> encoding.Codec:
    with patch.context() as inner:
        inner.setattr(cls, "operands", cls.operands[::-1])
        return encoding.codec(cls, cls.opcode, cls.mnemonic)


def test_no_law_fails_without_a_fault() -> None:
    assert not laws.fails(BYTES, ANY)
    assert not laws.fails(TEXT, ANY)
    assert not laws.fails(CANONICAL, MANGLED)
    assert not laws.fails(EQUALITY, PAIRS)
    assert not _golden_fails()


def test_fault_no_sign_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "sign_extend", lambda value, _: value)
    assert laws.fails(BYTES, ANY)


def test_fault_the_decoder_reads_fields_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = dataclasses.replace(Toy._codecs[2], take=_reversed_codec(monkeypatch, Wait).take)
    monkeypatch.setitem(Toy._codecs, 2, fault)
    assert laws.fails(BYTES, ANY)


def test_fault_both_have_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Toy._codecs, 2, _reversed_codec(monkeypatch, Wait))
    assert not laws.fails(BYTES, ANY)  # a shared mistake: the round trip holds,
    assert _golden_fails()  # which is why there is a listing


def test_fault_padding_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "check_end", lambda _: None)
    assert not laws.fails(BYTES, ANY)
    assert laws.fails(CANONICAL, MANGLED)


def test_fault_equality_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packed, "__eq__", lambda one, other: vars(one) == vars(other))
    assert laws.fails(EQUALITY, PAIRS)  # nan != nan


@pytest.mark.parametrize("fault", ["{:.6g}", "{:.9f}"])
def test_fault_floats_are_printed_too_short(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(assembly, "_show_float", fault.format)
    assert laws.fails(TEXT, ANY)


@pytest.mark.parametrize("bits", [0x7F800001, 0xFFC12345, 0x7FBFFFFF, 0x80000000, 0x00000001])
def test_floats_keep_their_bits(bits: int) -> None:
    made = Pad(Dim(1, 0), fields.f32_value(bits))
    assert int.from_bytes(Toy.encode(made), "little") >> 36 == bits
    assert fields.f32_bits(parse_instruction(Toy, str(made)).__dict__["value"]) == bits


def test_fields_are_canonical() -> None:
    dims = [Dim(np.uint8(3), True)]  # type: ignore[arg-type]
    made = Copy(np.int64(7), np.str_("f16"), 1, dims)  # type: ignore[arg-type]
    assert repr(made.dims) == "(Dim(extent=3, stride=1),)"
    assert repr((made.dst, made.dtype, made.scale)) == "(7, 'f16', 1.0)"
    assert Pad(Dim(1, 0), 0.1).value == np.float32(0.1)
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own bytes
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.dst = 8  # type: ignore[misc]


def test_type_checkers_see_the_operands() -> None:
    """Strict mypy demands each `ignore` here: without the error it would be unused."""
    with pytest.raises(TypeError):
        Wait()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Wait(1, thing=2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="is not an integer"):
        Wait("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not a Dim"):
        Pad(edge=Wait(1))  # type: ignore[arg-type]


def test_templates_and_nested_arrays() -> None:
    class Other(Isa):
        """Another set: its opcodes are its own."""

    class Queued(Other):
        queue: int = u(4)

    class Table(Queued, opcode=0x02, mnemonic="table", engine="e"):
        """Fields of the template come first."""

        rows: tuple[tuple[int, ...], ...] = many(many(u(8, base=16), most=3), most=2)
        edge: Dim = record(Dim, default=Dim(1, 2))

    made = Table(5, ((1, 255), ()))
    assert str(made) == "table queue=5 rows=[[0x1, 0xff], []]"
    laws.bytes_round_trip(Other, made)
    laws.text_round_trip(Other, made)
    assert Other.encode(made)[2] >> 4 == made.queue
    assert (made.reads(None), made.writes(None)) == ((), ())
    with pytest.raises(NotImplementedError, match="table does not say what it does"):
        made.execute(None)
    with pytest.raises(NotImplementedError, match="table does not say what it costs"):
        made.cycles(None)


# Errors: the whole text of each. A line is an input, an arrow and the message.

BAD_FIELDS = """
Wait 16, -> sync.wait: field counter: 16 does not fit; legal: 0..15
Wait 0, -129 -> sync.wait: field value: -129 does not fit; legal: -128..127
Wait 1.5, -> sync.wait: field counter: 1.5 is not an integer; legal: 0..15
Dim 0, 512 -> Dim: field stride: 512 does not fit; legal: -512..511
Copy 0, "f64", 1, () -> dma.copy: field dtype: 'f64' is not a choice; legal: f16, f32, i8
Copy 0, "i8", "1", () -> dma.copy: field scale: '1' is not a number; legal: any float32
Copy 0, "i8", 1e39, () -> dma.copy: field scale: 1e+39 is too large; legal: any float32
Copy 0, "i8", 1, 5 -> dma.copy: field dims: 5 is not a tuple; legal: 0..5 of (a Dim)
Copy 0, "i8", 1, (7,) -> dma.copy: field dims: element 0: 7 is not a Dim; legal: a Dim
Copy 0, "i8", 1, (), (1, 99) -> dma.copy: field steps: element 1: 99 does not fit; legal: -16..15
Copy 0, "i8", 1, (), (1, 2, 3) -> dma.copy: field steps: 3 elements; legal: 0..2 of (-16..15)
"""
BAD_BYTES = """
02 -> byte 0: truncated: 1 bytes, the least is 8
0000000000000000 -> byte 0: unknown opcode 0x00
020150fe00000000 1002604523210000 -> byte 8: dma.copy: truncated: 8 bytes, its header says 16
0200000000000000 -> byte 2: sync.wait: field counter: runs past the length in the header (0 words)
0201000000000080 -> byte 4: sync.wait: the padding is not zero
0202000000000000 0000000000000000 -> byte 4: sync.wait: its header says 2 words, the fields take 1
1001000000300000 -> byte 5: dma.copy: field dtype: code 3 is outside 0..2
1002000000000000 00c0010000000000 -> byte 9: dma.copy: field dims: a count of 7 is outside 0..5
1002000000000000 0040010000000000 -> \
byte 14: dma.copy: field dims[2].stride: runs past the length in the header (2 words)
7f02000000000000 0000000000000000 -> byte 2: dma.pad: an edge of extent 0 pads nothing
"""
BAD_TEXT = """
sync.wat counter=1 -> line 1, column 1: 'sync.wat' is not an instruction of Toy; \
did you mean 'sync.wait'?
; one|=3 -> line 2, column 1: expected an instruction of Toy, not '='
sync.wait -> line 1, column 1: sync.wait lacks counter
sync.wait x=1 -> line 1, column 11: 'x' is not a field of sync.wait; known: counter, value
sync.wait counter=1 counter=2 -> line 1, column 21: field 'counter' is given twice
sync.wait counter 1 -> line 1, column 19: expected '=', not '1'
sync.wait counter= ; -> line 1, column 21: expected an integer, not the end of the line
sync.wait counter=one -> line 1, column 19: 'one' is not an integer
dma.copy dtype=f64 -> line 1, column 16: 'f64' is not a choice; legal: f16, f32, i8
dma.copy scale=1e999 -> line 1, column 16: '1e999' is too large for a float32
dma.copy scale=1_0.0 -> line 1, column 16: '1_0.0' is not a number
dma.copy scale=nan:0x1 -> line 1, column 16: 0x00000001 are not the bits of a NaN
dma.copy dims=[{extent=1 stride=512}] -> line 1, column 33: 512 does not fit; legal: -512..511
dma.copy dims=[{extent=1] -> line 1, column 25: expected a field of Dim, not ']'
dma.copy steps=[1,] -> line 1, column 19: expected an integer, not ']'
dma.copy steps=[1,2,3] -> line 1, column 16: 3 elements; legal: 0..2 of (-16..15)
dma.pad edge={extent=0 stride=0} -> line 1, column 1: dma.pad: an edge of extent 0 pads nothing
"""


def _make(source: str) -> object:
    name, _, values = source.partition(" ")
    made: dict[str, type[Packed]] = {"Wait": Wait, "Dim": Dim, "Copy": Copy}
    return made[name](*ast.literal_eval(f"({values})"))


RUN: dict[type[ValueError], Callable[[str], object]] = {
    ValueError: _make,
    EncodingError: lambda code: Toy.decode_program(bytes.fromhex(code)),
    AssemblyError: lambda text: parse_program(Toy, text.replace("|", "\n")),
}
TABLES = zip(RUN, [BAD_FIELDS, BAD_BYTES, BAD_TEXT], strict=True)
BAD = [(kind, *row.split(" -> ")) for kind, rows in TABLES for row in rows.strip().splitlines()]


@pytest.mark.parametrize(("kind", "source", "message"), BAD)
def test_errors(kind: type[ValueError], source: str, message: str) -> None:
    with pytest.raises(kind) as error:
        RUN[kind](source)
    assert str(error.value) == message


def test_text_of_other_writers() -> None:
    text = "; Toy\r\n\tsync.wait value=-0x1,counter=0b11;x\n".replace(",", " ")
    assert parse_program(Toy, text) == [Wait(3)]
    copy = "dma.copy scale=0x1.8p1 dims=[ ] dtype=i8 dst=16"
    assert parse_instruction(Toy, copy) == Copy(16, "i8", 3.0, ())
    with pytest.raises(AssemblyError, match="2 instructions, expected one"):
        parse_instruction(Toy, f"{copy}\n{copy}")


def _declare(base: type[Packed], x: Any = None, opcode: int | None = None, name: str = "x") -> Any:
    """A class with at most one field, `name`; an instruction if it has an opcode."""
    keywords = {} if opcode is None else {"opcode": opcode, "mnemonic": "m", "engine": "e"}
    body: dict[str, Any] = {"__doc__": "Do."}
    if x is not None:
        body |= {name: x, "__annotations__": {name: int}}
    return types.new_class("Bad", (base,), keywords, lambda space: space.update(body))


TOO_LONG = many(u(64), most=4095)
BAD_DECLARATIONS: dict[str, Callable[[], Any]] = {
    "a field has 1..64 bits, not 0": lambda: u(0),
    "most is at least 1, not 0": lambda: many(u(8), most=0),
    "3 choices need 2 bits, not 1": lambda: choice("a", "b", "c", bits=1),
    "Bad: field x: has no width; write = u(8), s(8), ...": lambda: _declare(Record, 3),
    "Bad: field reads: the name belongs to Isa": lambda: _declare(Toy, u(8), name="reads"),
    "Bad: field x: default: 9 does not fit; legal: 0..7": lambda: _declare(Toy, u(3, default=9)),
    "Bad: define check() for rules across fields": lambda: _declare(Toy, 1, name="__post_init__"),
    "Bad: an instruction set has no opcode": lambda: _declare(Isa, opcode=1),
    "Bad: sync.wait is an instruction, no base class": lambda: _declare(Wait),
    "m: opcode 256 does not fit in 8 bits": lambda: _declare(Toy, opcode=256),
    "m: up to 4096 words, but the header counts to 4095": lambda: _declare(Toy, TOO_LONG, 1),
    "Bad (m, opcode 0x02) clashes with Wait (sync.wait, opcode 0x02)": lambda: _declare(
        Toy, None, 2
    ),
}


@pytest.mark.parametrize("message", BAD_DECLARATIONS)
def test_bad_declarations(message: str) -> None:
    with pytest.raises(TypeError) as error:
        BAD_DECLARATIONS[message]()
    assert str(error.value) == message
    assert Toy.instructions() == (Wait, Copy, Pad)


def test_foreign_instructions_are_refused() -> None:
    other: Any = _declare(_declare(Isa), opcode=2)
    with pytest.raises(EncodingError, match="m is not an instruction of Toy"):
        Toy.encode(other())


def test_manual() -> None:
    text = manual(Toy)
    assert text.endswith(WAIT_PAGE)
    assert "| `dims[].extent` | 6 | unsigned integer | 0..63 |  | elements \\| 0 for none |" in text
    assert "Length: 2..3 (83..173 bits with the header)." in text


WAIT_PAGE = """
### `sync.wait` (opcode 0x02)

Wait until counter >= value.

| field | bits | kind | legal | default | meaning |
|---|---|---|---|---|---|
| `counter` | 4 | unsigned integer | 0..15 |  |  |
| `value` | 8 | signed integer | -128..127 | `-1` | -1 means for ever |

Length: 1 (32 bits with the header).
"""
