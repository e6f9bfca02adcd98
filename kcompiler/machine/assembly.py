"""The text form of instructions: one line each, printed and parsed back exactly.

    ndma.load dst=0x100 dtype=f16 scale=1.0 dims=[{extent=3 stride=2}] steps=[1, 2]  ; a comment

Fields come in any order; a field that has a default may be left out (and is not printed when it
has it). Integers are decimal, 0x or 0b; a NaN is written by its bits, nan:0x7fc00001.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, assert_never

from kcompiler.machine.fields import (
    Choice,
    Float32,
    Integer,
    Kind,
    Many,
    Nested,
    f32_bits,
    f32_value,
)

if TYPE_CHECKING:
    from kcompiler.machine.instruction import Isa, Packed

InstructionT = TypeVar("InstructionT", bound="Isa")
PackedT = TypeVar("PackedT", bound="Packed")
T = TypeVar("T")

_TOKEN = re.compile(r"(?P<word>[^\s=\[\]{},;]+)|(?P<mark>[=\[\]{},])|;.*|\s+", re.DOTALL)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_NAN = re.compile(r"nan:0x([0-9a-f]{1,8})", re.IGNORECASE)
_QUIET_NAN = 0x7FC00000


class AssemblyError(ValueError):
    """Text that is no instruction: where (line and column, from 1) and why."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.reason, self.line, self.column = reason, line, column


def format_program(instructions: Iterable[Isa]) -> str:
    """One line per instruction, each ended by a newline."""
    return "".join(f"{format_instruction(instruction)}\n" for instruction in instructions)


def format_instruction(instruction: Isa) -> str:
    """The line of one instruction, without newline."""
    return " ".join([instruction.mnemonic, *_fields(instruction)])


def parse_program(isa: type[InstructionT], text: str) -> list[InstructionT]:
    """The instructions in `text`, or the AssemblyError of the first bad one."""
    known = {cls.mnemonic: cls for cls in isa.instructions()}
    program: list[InstructionT] = []
    # Not splitlines(): a comment may hold the exotic separators that it would break at.
    for number, line in enumerate(text.split("\n"), start=1):
        tokens = _Line(line, number)
        if tokens.next.text:
            start, cls = tokens.name(f"an instruction of {isa.__name__}", known)
            program.append(_parse_fields(tokens, cls, "", start))
    return program


def parse_instruction(isa: type[InstructionT], text: str) -> InstructionT:
    """The one instruction in `text`; AssemblyError if there is none or more than one."""
    program = parse_program(isa, text)
    if len(program) != 1:
        raise AssemblyError(f"{len(program)} instructions, expected one", 1, 1)
    return program[0]


def _fields(value: Packed) -> list[str]:
    """`name=text` of all fields that differ from their default."""
    shown = []
    for operand in value.operands:
        text = _show(operand.kind, getattr(value, operand.name))
        # By text, which is exact, because 0.0 == -0.0.
        if operand.required or text != _show(operand.kind, operand.default):
            shown.append(f"{operand.name}={text}")
    return shown


def _show(kind: Kind, value: Any) -> str:
    match kind:
        case Integer(base=base):
            return str(value) if base == 10 else f"{value:#x}"
        case Float32():
            return _show_float(value)
        case Choice():
            return str(value)
        case Many(element=element):
            return "[" + ", ".join([_show(element, item) for item in value]) + "]"
        case Nested():
            return "{" + " ".join(_fields(value)) + "}"
        case _:
            assert_never(kind)


def _show_float(value: float) -> str:
    """The shortest decimal that rounds to this float32; the bits of a NaN."""
    if math.isnan(value):
        return f"nan:{f32_bits(value):#010x}"
    shorter = (float(f"{value:.{digits}g}") for digits in range(6, 9))
    near = (short for short in shorter if _rounds_to(short, value))
    return repr(next(near, float(f"{value:.9g}")))


def _rounds_to(short: float, value: float) -> bool:
    try:
        return f32_bits(short) == f32_bits(value)
    except OverflowError:  # the largest float32, rounded up
        return False


class _Token(NamedTuple):
    text: str  # empty at the end of the line
    column: int
    is_word: bool


class _Line:
    """The tokens of one line and where we are in it. Every character is part of some match."""

    def __init__(self, text: str, number: int) -> None:
        found = [match for match in _TOKEN.finditer(text) if match.lastgroup]
        self.tokens = [_Token(m[0], m.start() + 1, m.lastgroup == "word") for m in found]
        self.tokens.append(_Token("", len(text) + 1, False))
        self.number = number
        self.index = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.index]

    def accept(self, mark: str) -> bool:
        """Step over `mark` if it comes next."""
        found = self.next.text == mark
        self.index += found
        return found

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            self.fail(self.next, f"expected '{mark}', not {_quote(self.next)}")

    def word(self, what: str) -> _Token:
        token = self.next
        if not token.is_word:
            self.fail(token, f"expected {what}, not {_quote(token)}")
        self.index += 1
        return token

    def name(self, what: str, known: Mapping[str, T]) -> tuple[_Token, T]:
        """The next word, which is a key of `known`, and its value there."""
        token = self.word(what)
        if token.text not in known:
            close = difflib.get_close_matches(token.text, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
            self.fail(token, f"'{token.text}' is not {what}; {hint}")
        return token, known[token.text]

    def fail(self, token: _Token, reason: str) -> NoReturn:
        raise AssemblyError(reason, self.number, token.column) from None


def _quote(token: _Token) -> str:
    return f"'{token.text}'" if token.text else "the end of the line"


def _parse_fields(line: _Line, cls: type[PackedT], end: str, start: _Token) -> PackedT:
    """All fields up to the mark `end`, as an object of `cls`; `start` serves the errors."""
    known = {operand.name: operand for operand in cls.operands}
    values: dict[str, Any] = {}
    while not line.accept(end):
        token, operand = line.name(f"a field of {cls.title()}", known)
        if operand.name in values:
            line.fail(token, f"field '{operand.name}' is given twice")
        line.expect("=")
        values[operand.name] = _parse_value(line, operand.kind)
    missing = [name for name in known if known[name].required and name not in values]
    if missing:
        line.fail(start, f"{cls.title()} lacks {', '.join(missing)}")
    try:
        return cls(**values)
    except ValueError as error:  # from its `check`: every field is legal here
        line.fail(start, str(error))


def _parse_value(line: _Line, kind: Kind) -> Any:
    start = line.next
    raw: Any
    try:
        match kind:
            case Integer():
                raw = _read_int(line.word("an integer").text)
            case Float32():
                raw = _read_float(line.word("a number").text)
            case Choice():
                raw = line.word("a name").text
            case Many():
                raw = _parse_items(line, kind.element)
            case Nested():
                line.expect("{")
                raw = _parse_fields(line, kind.cls, "}", start)
            case _:
                assert_never(kind)
        return kind.check(raw)
    except AssemblyError:  # from within an array or a record: its column is the better one
        raise
    except ValueError as error:
        line.fail(start, str(error))


def _parse_items(line: _Line, element: Kind) -> list[Any]:
    line.expect("[")
    items: list[Any] = []
    if line.accept("]"):
        return items
    items.append(_parse_value(line, element))
    while line.accept(","):
        items.append(_parse_value(line, element))
    line.expect("]")
    return items


def _read_int(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"'{text}' is not an integer") from None


def _read_float(text: str) -> float:
    """A decimal, a hexadecimal float, inf, or a NaN; ValueError if it is none or too large."""
    if text in ("inf", "-inf"):
        return float(text)
    if text == "nan":
        return f32_value(_QUIET_NAN)
    if bits := _NAN.fullmatch(text):
        return _read_nan(int(bits[1], 16))
    is_hex = text.lower().lstrip("+-").startswith("0x")
    if not is_hex and not _DECIMAL.fullmatch(text):
        raise ValueError(f"'{text}' is not a number")
    try:
        value = float.fromhex(text) if is_hex else float(text)
    except OverflowError:
        value = math.inf
    if math.isinf(value):
        raise ValueError(f"'{text}' is too large for a float32")
    return value


def _read_nan(bits: int) -> float:
    value = f32_value(bits)
    if not math.isnan(value):
        raise ValueError(f"{bits:#010x} are not the bits of a NaN")
    return value
