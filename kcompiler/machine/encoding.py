"""Instructions to bytes and back.

An instruction is a little-endian string of bits: opcode (8 bits), length in 8-byte words (12 bits),
then the fields in declaration order without gaps, then zero bits up to the length. Every bit is
accounted for: a decoder that returns an instruction has read the one byte string that encodes it.

Each record class is compiled once into a tuple of closures (one per field), because a program has
hundreds of thousands of scalars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from kcompiler.machine.fields import (
    Choice,
    Float32,
    Integer,
    Kind,
    Many,
    Nested,
    f32_bits,
    f32_value,
    widths,
)

if TYPE_CHECKING:
    from kcompiler.machine.instruction import Packed

WORD = 8  # bytes
OPCODE_BITS = 8
LENGTH_BITS = 12
HEADER_BITS = OPCODE_BITS + LENGTH_BITS
MOST_WORDS = (1 << LENGTH_BITS) - 1


class EncodingError(ValueError):
    """Bytes that are no instruction: where (byte offset), of what, which field, and why."""

    def __init__(self, reason: str, offset: int, instruction: str = "", field: str = "") -> None:
        place = f"{instruction}: " if instruction else ""
        place += f"field {field}: " if field else ""
        super().__init__(f"byte {offset}: {place}{reason}")
        self.reason, self.offset = reason, offset
        self.instruction, self.field = instruction, field


class _Malformed(Exception):
    """A reason on its way up to the instruction; every level that it passes adds its name."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.reason, self.position = reason, position
        self.path = ""

    def within(self, name: str) -> None:
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = name + dot + self.path


class Writer:
    """Bits in, lowest first."""

    __slots__ = ("bits", "size")

    def __init__(self) -> None:
        self.bits = 0
        self.size = 0

    def put(self, value: int, width: int) -> None:
        """Append the low `width` bits of `value`, which must be all of it."""
        self.bits |= value << self.size
        self.size += width


class Reader:
    """Bits out of one instruction, never past its end."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.end = 8 * len(data)
        self.position = 0

    def take(self, width: int) -> int:
        """The next `width` bits as an unsigned integer."""
        start = self.position
        stop = start + width
        if stop > self.end:
            words = self.end // (8 * WORD)
            raise _Malformed(f"runs past the length in the header ({words} words)", start)
        self.position = stop
        # Only the bytes concerned: shifting the whole instruction would cost its length per field.
        chunk = int.from_bytes(self.data[start >> 3 : (stop + 7) >> 3], "little")
        return (chunk >> (start & 7)) & ((1 << width) - 1)


Put: TypeAlias = Callable[[Writer, Any], None]
Take: TypeAlias = Callable[[Reader], Any]


def sign_extend(value: int, bits: int) -> int:
    """The two's complement number whose low `bits` bits are `value`."""
    return value - (1 << bits) if value >> (bits - 1) else value


def words(bits: int) -> int:
    """The 8-byte words that hold `bits` bits."""
    return -(-bits // (8 * WORD))


def putter(kind: Kind) -> Put:
    """A function that writes a (valid) value of this kind."""
    match kind:
        case Integer(bits=bits):
            mask = (1 << bits) - 1
            return lambda writer, value: writer.put(value & mask, bits)
        case Float32():
            return lambda writer, value: writer.put(f32_bits(value), 32)
        case Choice(bits=bits, codes=codes):
            return lambda writer, value: writer.put(codes[value], bits)
        case Many():
            return _many_putter(kind)
        case Nested(cls=cls):
            return record_putter(cls)
        case _:
            assert_never(kind)


def _many_putter(kind: Many) -> Put:
    put, count_bits = putter(kind.element), kind.count_bits

    def put_many(writer: Writer, values: tuple[Any, ...]) -> None:
        writer.put(len(values), count_bits)
        for value in values:
            put(writer, value)

    return put_many


def record_putter(cls: type[Packed]) -> Put:
    """A function that writes all fields of a record in declaration order."""
    puts = tuple((operand.name, putter(operand.kind)) for operand in cls.operands)

    def put_record(writer: Writer, value: Packed) -> None:
        fields = value.__dict__
        for name, put in puts:
            put(writer, fields[name])

    return put_record


def taker(kind: Kind) -> Take:
    """A function that reads a value of this kind."""
    match kind:
        case Integer(bits=bits, low=low):
            if low < 0:
                return lambda reader: sign_extend(reader.take(bits), bits)
            return lambda reader: reader.take(bits)
        case Float32():
            return lambda reader: f32_value(reader.take(32))
        case Choice():
            return _choice_taker(kind)
        case Many():
            return _many_taker(kind)
        case Nested(cls=cls):
            return record_taker(cls)
        case _:
            assert_never(kind)


def _choice_taker(kind: Choice) -> Take:
    names, bits = kind.names, kind.bits

    def take_choice(reader: Reader) -> str:
        start = reader.position
        code = reader.take(bits)
        if code >= len(names):
            raise _Malformed(f"code {code} is outside 0..{len(names) - 1}", start)
        return names[code]

    return take_choice


def _many_taker(kind: Many) -> Take:
    take, count_bits, most = taker(kind.element), kind.count_bits, kind.most

    def take_many(reader: Reader) -> tuple[Any, ...]:
        start = reader.position
        count = reader.take(count_bits)
        if count > most:
            raise _Malformed(f"a count of {count} is outside 0..{most}", start)
        values: list[Any] = []
        try:
            for _ in range(count):
                values.append(take(reader))  # noqa: PERF401 - its length names the bad element
        except _Malformed as error:
            error.within(f"[{len(values)}]")
            raise
        return tuple(values)

    return take_many


def record_taker(cls: type[Packed]) -> Take:
    """A function that reads all fields of a record in declaration order and makes the record."""
    takes = tuple((operand.name, taker(operand.kind)) for operand in cls.operands)

    def take_record(reader: Reader) -> Packed:
        start = reader.position
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, take in takes:
                values[name] = take(reader)
        except _Malformed as error:
            error.within(name)
            raise
        # Not `cls(**values)`, which would look at every field again: here each is legal.
        made = object.__new__(cls)
        made.__dict__.update(values)
        try:
            made.check()
        except ValueError as error:
            raise _Malformed(str(error), start) from None
        return made

    return take_record


@dataclass(frozen=True)
class Codec:
    """What encoder and decoder need of one instruction, compiled from its declaration."""

    opcode: int
    mnemonic: str
    put: Put
    take: Take


def codec(cls: type[Packed], opcode: int, mnemonic: str) -> Codec:
    """Compile one instruction; TypeError if its opcode or its length does not fit the header."""
    if not 0 <= opcode < 1 << OPCODE_BITS:
        raise TypeError(f"{mnemonic}: opcode {opcode} does not fit in {OPCODE_BITS} bits")
    most = words(HEADER_BITS + widths(Nested(cls))[1])
    if most > MOST_WORDS:
        raise TypeError(f"{mnemonic}: up to {most} words, but the header counts to {MOST_WORDS}")
    return Codec(opcode, mnemonic, record_putter(cls), record_taker(cls))


def encode(instruction: Packed, compiled: Codec) -> bytes:
    """Header, fields, zero bits."""
    writer = Writer()
    writer.put(compiled.opcode, HEADER_BITS)  # the length is not known yet
    compiled.put(writer, instruction)
    size = words(writer.size)
    return (writer.bits | size << OPCODE_BITS).to_bytes(size * WORD, "little")


def decode(buffer: bytes | memoryview, offset: int, codecs: Mapping[int, Codec]) -> tuple[Any, int]:
    """The instruction at `offset` and its size in bytes, or EncodingError."""
    left = len(buffer) - offset
    if offset < 0 or left < WORD:
        raise EncodingError(f"truncated: {max(left, 0)} bytes, the least is {WORD}", offset)
    first = int.from_bytes(buffer[offset : offset + WORD], "little")
    found = codecs.get(first & ((1 << OPCODE_BITS) - 1))
    if found is None:
        raise EncodingError(f"unknown opcode {first & 0xFF:#04x}", offset)
    size = (first >> OPCODE_BITS & MOST_WORDS) * WORD
    if size > left:
        reason = f"truncated: {left} bytes, its header says {size}"
        raise EncodingError(reason, offset, found.mnemonic)
    reader = Reader(bytes(buffer[offset : offset + size]))
    reader.position = HEADER_BITS
    try:
        made = found.take(reader)
        check_end(reader)
    except _Malformed as error:
        byte = offset + error.position // 8
        raise EncodingError(error.reason, byte, found.mnemonic, error.path) from None
    return made, size


def check_end(reader: Reader) -> None:
    """The length is the shortest that holds the fields, and what is left over is zero."""
    start = reader.position
    needed, given = words(start), words(reader.end)
    if needed != given:
        raise _Malformed(f"its header says {given} words, the fields take {needed}", start)
    if reader.take(reader.end - start):
        raise _Malformed("the padding is not zero", start)
