"""The manual page of an instruction set, printed from its declarations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from kcompiler.machine import encoding
from kcompiler.machine.fields import Choice, Float32, Integer, Kind, Many, Nested, Operand, widths
from kcompiler.machine.instruction import Isa

_HEADER = f"""\
Every instruction is a little-endian string of bits, lowest first: opcode ({encoding.OPCODE_BITS}
bits), length in {encoding.WORD}-byte words ({encoding.LENGTH_BITS} bits), the fields below in this
order without gaps, zero bits up to the length. An array is a count and that many elements; a choice
is the position in its list, from 0."""


def manual(isa: type[Isa]) -> str:
    """The manual of `isa` in markdown: per engine, per instruction, its fields to the last bit."""
    classes = isa.instructions()
    prose = [isa.meaning, ""] if isa.meaning else []
    lines = [f"# {isa.__name__}", "", *prose, _HEADER]
    for engine in sorted({cls.engine for cls in classes}):
        lines += ["", f"## Engine `{engine}`"]
        for cls in classes:
            if cls.engine == engine:
                lines += ["", *_instruction(cls)]
    return "\n".join(lines) + "\n"


def _instruction(cls: type[Isa]) -> list[str]:
    rows = [row for operand in cls.operands for row in _rows("", operand)]
    table = ["| field | bits | kind | legal | default | meaning |", "|---|---|---|---|---|---|"]
    body = [*table, *rows] if rows else ["No fields."]
    title = f"### `{cls.mnemonic}` (opcode {cls.opcode:#04x})"
    return [title, "", cls.meaning, "", *body, "", _size(cls)]


def _size(cls: type[Isa]) -> str:
    least, most = (encoding.HEADER_BITS + bits for bits in widths(Nested(cls)))
    words = _range(encoding.words(least), encoding.words(most))
    return f"Length: {words} ({_range(least, most)} bits with the header)."


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}..{most}"


def _rows(prefix: str, operand: Operand) -> Iterator[str]:
    """The row of a field, then those of the record inside it."""
    kind = operand.kind
    bits = _range(*widths(kind))
    default = "" if operand.required else f"`{operand.default}`"
    cells = [f"`{prefix}{operand.name}`", bits, _noun(kind), kind.legal, default, operand.doc]
    yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    suffix = ""
    while isinstance(kind, Many):
        kind, suffix = kind.element, suffix + "[]"
    if isinstance(kind, Nested):
        for inner in kind.cls.operands:
            yield from _rows(f"{prefix}{operand.name}{suffix}.", inner)


def _noun(kind: Kind) -> str:
    match kind:
        case Integer():
            return f"{'signed' if kind.low < 0 else 'unsigned'} integer"
        case Float32():
            return "float32"
        case Choice():
            return "choice"
        case Many():
            return f"count ({kind.count_bits} bits), array of {_noun(kind.element)}"
        case Nested():
            return "record"
        case _:
            assert_never(kind)
