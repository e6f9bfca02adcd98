"""What tells whether a package was made for this very chip description and instruction set."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from kcompiler.machine.facts import facts
from kcompiler.machine.fields import Many, Nested

if TYPE_CHECKING:
    from kcompiler.machine.chip import Chip
    from kcompiler.machine.fields import Kind
    from kcompiler.machine.instruction import Isa, Packed


def chip_facts(chip: Chip) -> dict[str, dict[str, Any]]:
    """Every number of a chip with its tag and source, by dotted path."""
    return {
        path: {"value": fact.value, "tag": fact.tag, "source": fact.source}
        for path, fact in facts(chip).items()
    }


def chip_digest(chip: Chip) -> str:
    """SHA-256 of a chip's numbers, not of their tags and sources."""
    return _digest([chip.name, {path: fact.value for path, fact in facts(chip).items()}])


def instruction_set_digest(isa: type[Isa]) -> str:
    """SHA-256 of an instruction set: opcodes, mnemonics, engines and the layout of all fields."""
    return _digest([[i.opcode, i.mnemonic, i.engine, _fields(i)] for i in isa.instructions()])


def _fields(record: type[Packed]) -> list[Any]:
    return [[operand.name, _kind(operand.kind)] for operand in record.operands]


def _kind(kind: Kind) -> Any:
    if isinstance(kind, Many):
        return ["many", kind.most, _kind(kind.element)]
    if isinstance(kind, Nested):
        return ["record", _fields(kind.cls)]
    return repr(kind)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
