"""Instruction sets: one declaration per instruction, from which everything else follows.

    class Toy(Isa):
        "A toy."

    class Add(Toy, opcode=0x01, mnemonic="vec.add", engine="vector"):
        "sram[dst] += immediate."
        dst: int = u(24, base=16, doc="byte address in sram")
        immediate: int = s(8, default=1)

        def execute(self, m: Machine) -> None: ...
        def cycles(self, chip: Chip) -> int: ...

`Toy.encode(Add(dst=64))` are its bytes and `str(Add(dst=64))` its line of assembly; see also
`assembly.parse_program` and `manual.manual`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self, dataclass_transform

from kcompiler.machine import assembly, encoding
from kcompiler.machine.encoding import EncodingError
from kcompiler.machine.fields import Operand, choice, f32, is_word, many, record, s, u
from kcompiler.machine.products import Products
from kcompiler.machine.touch import Touch

__all__ = [
    "EncodingError",
    "FieldError",
    "Isa",
    "Packed",
    "Record",
    "choice",
    "f32",
    "many",
    "record",
    "s",
    "u",
]


class FieldError(ValueError):
    """A value that a field of an instruction does not hold."""


@dataclass_transform(frozen_default=True, field_specifiers=(u, s, f32, choice, many, record))
class Packed:
    """What records and instructions share: frozen, validated, equal when their bits are equal.

    Equality goes by bits because float equality is wrong here twice: nan != nan, and 0.0 == -0.0.
    """

    operands: ClassVar[tuple[Operand, ...]] = ()
    _checks: ClassVar[tuple[tuple[str, Callable[[Any], Any]], ...]] = ()
    _put: ClassVar[staticmethod[[encoding.Writer, Any], None]]

    @classmethod
    def title(cls) -> str:
        """The name that messages use."""
        return cls.__name__

    def check(self) -> None:
        """Rules across fields: a subclass raises ValueError with the reason. Fields are legal."""

    def __post_init__(self) -> None:
        """Replace every field by its canonical value, or say which one is illegal and why."""
        values = self.__dict__
        name = ""
        try:
            for name, check in self._checks:
                values[name] = check(values[name])
        except ValueError as error:
            raise FieldError(f"{self.title()}: field {name}: {error}") from None
        try:
            self.check()
        except ValueError as error:
            raise ValueError(f"{self.title()}: {error}") from None

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._bits() == other._bits()

    def __hash__(self) -> int:
        return hash(self._bits())

    def _bits(self) -> tuple[int, int]:
        writer = encoding.Writer()
        self._put(writer, self)
        return writer.bits, writer.size


class Record(Packed):
    """A nested group of fields, for `many(Dim, most=8)` or `record(Dim)`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _declare(cls, Record)


class Isa(Packed):
    """An instruction set is a direct subclass; its subclasses with an `opcode` are instructions.

    A subclass of it without an opcode is a template, whose fields come first in its subclasses. A
    template that serves many sets says `template=True`; an instruction then names its set and the
    template as bases. A field that is declared again keeps its place and changes its width.
    """

    opcode: ClassVar[int] = -1
    mnemonic: ClassVar[str] = ""
    engine: ClassVar[str] = ""
    meaning: ClassVar[str] = ""
    _classes: ClassVar[dict[int, type[Isa]]]
    _codecs: ClassVar[dict[int, encoding.Codec]]

    def __init_subclass__(
        cls,
        *,
        opcode: int | None = None,
        mnemonic: str = "",
        engine: str = "",
        template: bool = False,
    ) -> None:
        super().__init_subclass__()
        if cls.opcode >= 0:
            raise TypeError(f"{cls.__name__}: {cls.mnemonic} is an instruction, no base class")
        # Before dataclass() invents a docstring for a class that has none.
        cls.meaning = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        _declare(cls, Isa)
        if Isa in cls.__bases__ and not template:
            cls._classes, cls._codecs = {}, {}
        if opcode is not None:
            cls._register(opcode, mnemonic, engine)

    @classmethod
    def _register(cls, opcode: int, mnemonic: str, engine: str) -> None:
        """Enter the instruction in its set's tables, unless opcode or mnemonic is taken."""
        if Isa in cls.__bases__:
            raise TypeError(f"{cls.__name__}: an instruction set has no opcode")
        if not hasattr(cls, "_classes"):
            raise TypeError(f"{cls.__name__}: no base of it is an instruction set")
        if not is_word(mnemonic) or not engine:
            raise TypeError(f"{cls.__name__}: needs mnemonic= (one word) and engine=")
        if not cls.meaning and sys.flags.optimize < 2:  # -OO strips docstrings
            raise TypeError(f"{cls.__name__}: needs a docstring that says what {mnemonic} does")
        for other in cls._classes.values():
            if other.opcode == opcode or other.mnemonic == mnemonic:
                raise TypeError(
                    f"{cls.__name__} ({mnemonic}, opcode {opcode:#04x}) clashes with "
                    f"{other.__name__} ({other.mnemonic}, opcode {other.opcode:#04x})"
                )
        cls._codecs[opcode] = encoding.codec(cls, opcode, mnemonic)
        cls._classes[opcode] = cls
        cls.opcode, cls.mnemonic, cls.engine = opcode, mnemonic, engine

    @classmethod
    def title(cls) -> str:
        """The mnemonic; the class's name where it has none."""
        return cls.mnemonic or cls.__name__

    @classmethod
    def instructions(cls) -> tuple[type[Self], ...]:
        """All instructions of the set, by opcode."""
        return tuple(cls._classes[opcode] for opcode in sorted(cls._classes))  # type: ignore[misc]

    @classmethod
    def encode(cls, instruction: Self) -> bytes:
        """The bytes of one instruction: a multiple of 8."""
        if cls._classes.get(instruction.opcode) is not type(instruction):
            raise EncodingError(f"{instruction.title()} is not an instruction of {cls.__name__}", 0)
        return encoding.encode(instruction, cls._codecs[instruction.opcode])

    @classmethod
    def encode_program(cls, instructions: Iterable[Self]) -> bytes:
        """The bytes of all instructions, one after the other."""
        return b"".join(map(cls.encode, instructions))

    @classmethod
    def decode(cls, buffer: bytes | memoryview, offset: int = 0) -> tuple[Self, int]:
        """The instruction at byte `offset` and its size in bytes, or EncodingError."""
        if isinstance(buffer, memoryview):
            buffer = buffer.cast("B")
        return encoding.decode(buffer, offset, cls._codecs)

    @classmethod
    def decode_program(cls, buffer: bytes | memoryview) -> list[Self]:
        """All instructions in `buffer`, or the EncodingError of the first bad one."""
        program: list[Self] = []
        data = bytes(buffer)
        offset = 0
        while offset < len(data):
            instruction, size = cls.decode(data, offset)
            program.append(instruction)
            offset += size
        return program

    def __str__(self) -> str:
        """Its line of assembly."""
        return assembly.format_instruction(self)

    def execute(self, m: Any) -> None:
        """Do to the machine `m` what the instruction means."""
        raise NotImplementedError(f"{self.title()} does not say what it does")

    def cycles(self, chip: Any) -> int:
        """The engine's clock cycles that it takes on `chip`."""
        raise NotImplementedError(f"{self.title()} does not say what it costs")

    def reads(self, chip: Any) -> tuple[Touch, ...]:
        """The bytes that it reads; none, unless a subclass says so."""
        return ()

    def writes(self, chip: Any) -> tuple[Touch, ...]:
        """The bytes that it writes; none, unless a subclass says so."""
        return ()

    def traffic(self, chip: Any) -> Mapping[str, int]:
        """Bytes that it moves from and to each shared memory, over all cores; none by default."""
        return {}

    def products(self, chip: Any) -> Products | None:
        """The products that it sums on each core, in the scratchpad; None for all other work."""
        return None

    def active_cores(self) -> int:
        """How many cores take part, from core 0 on; 0 for work of the chip itself."""
        return 0


def _declare(cls: type[Packed], frame: type[Packed]) -> None:
    """Make `cls` a frozen dataclass and derive its operands; TypeError for a bad declaration."""
    if "__post_init__" in cls.__dict__:
        raise TypeError(f"{cls.__name__}: define check() for rules across fields")
    made: Any = dataclass(frozen=True, eq=False)(cls)
    operands = []
    for declared in fields(made):
        place = f"{cls.__name__}: field {declared.name}"
        kind = declared.metadata.get("kind")
        if kind is None:
            raise TypeError(f"{place}: has no width; write = u(8), s(8), ...")
        if hasattr(frame, declared.name):
            raise TypeError(f"{place}: the name belongs to {frame.__name__}")
        default = declared.default
        if default is not MISSING:
            try:
                default = kind.check(default)
            except ValueError as error:
                raise TypeError(f"{place}: default: {error}") from None
        operands.append(Operand(declared.name, kind, declared.metadata["doc"], default))
    cls.operands = tuple(operands)
    cls._checks = tuple((o.name, o.kind.check) for o in operands)
    cls._put = staticmethod(encoding.record_putter(cls))
