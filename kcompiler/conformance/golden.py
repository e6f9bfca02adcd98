"""Golden listings: instructions as bytes and text, written once, kept beside the instruction set.

Laws compare encoder and decoder with each other; a change in both at once is seen only beside
something older. A line is the bytes in hexadecimal, two blanks, and the line of assembly.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path

from kcompiler.machine.assembly import AssemblyError, parse_instruction
from kcompiler.machine.instruction import EncodingError, Isa

NAME = "golden.txt"
_HEAD = "; Instructions as bytes and text. Whoever changes one of these lines breaks programs.\n"


def golden_path(isa: type[Isa]) -> Path | None:
    """Where the listing of an instruction set is, or would be; None without a source file."""
    try:
        return Path(inspect.getfile(_named(isa))).with_name(NAME)
    except (TypeError, OSError):
        return None


def _named(isa: type[Isa]) -> type[Isa]:
    """The class that declares the instructions, of which `isa` may be made."""
    return next(c for c in reversed(isa.__mro__) if c is not Isa and issubclass(c, Isa))


def listing(instructions: Iterable[Isa], isa: type[Isa]) -> str:
    """The text of a listing."""
    return _HEAD + "".join(f"{isa.encode(x).hex()}  {x}\n" for x in instructions)


def differences(text: str, isa: type[Isa]) -> Iterator[str]:
    """How today's encoder, decoder, printer and parser differ from a listing."""
    seen = set()
    for line in text.splitlines():
        if line.startswith(";") or not line.strip():
            continue
        code, _, shown = line.partition("  ")
        try:
            made, size = isa.decode(bytes.fromhex(code))
            parsed = isa.encode(parse_instruction(isa, shown))
        except (EncodingError, AssemblyError, ValueError) as error:
            yield f"{line}\nis no longer understood: {error}"
            continue
        seen.add(made.mnemonic)
        if str(made) != shown or 2 * size != len(code):
            yield f"{code} was {shown}\nand is {made}"
        elif parsed.hex() != code:
            yield f"{shown} was {code}\nand is {parsed.hex()}"
    missing = sorted({c.mnemonic for c in isa.instructions()} - seen)
    if missing:
        yield f"the listing has no {missing[0]}"
