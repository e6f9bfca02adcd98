"""What an operand may be: how wide, which values are legal, what it means.

A field specifier (`u`, `s`, `f32`, `choice`, `many`, `record`) stands on the right of a field in an
instruction or a record. It returns a dataclass field that carries a `Kind`; encoder, assembler,
manual and test strategies each derive from the kind with one `match`, so that a new kind is a type
error in every consumer that has not learnt it yet.
"""

from __future__ import annotations

import math
import operator
import re
import struct
from dataclasses import MISSING, Field, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, assert_never, overload

if TYPE_CHECKING:
    from kcompiler.machine.instruction import Packed, Record

_WIDEST = 64  # an operand wider than this is an array, not a number
_WORD = re.compile(r"[A-Za-z0-9_.+-]+")  # what the assembler reads as one name
_REQUIRED: Any = MISSING

_SINGLE = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_QUIET = 0x400000


def is_word(text: str) -> bool:
    """Whether the assembler can read `text` as one name."""
    return _WORD.fullmatch(text) is not None


def f32_bits(value: float) -> int:
    """The 32 bits of `value` rounded to float32; OverflowError if a finite value is too large.

    NaNs are converted by hand, because hardware conversion sets the quiet bit of a signalling NaN.
    """
    if not math.isnan(value):
        return int(_U32.unpack(_SINGLE.pack(value))[0])
    wide: int = _U64.unpack(_DOUBLE.pack(value))[0]
    payload = (wide >> 29) & 0x7FFFFF
    return (wide >> 63) << 31 | 0x7F800000 | (payload or _QUIET)


def f32_value(bits: int) -> float:
    """The float whose float32 bits are `bits`; the inverse of `f32_bits`, NaN payloads included."""
    payload = bits & 0x7FFFFF
    if bits & 0x7F800000 != 0x7F800000 or payload == 0:
        return float(_SINGLE.unpack(_U32.pack(bits))[0])
    wide = (bits >> 31) << 63 | 0x7FF << 52 | payload << 29
    return float(_DOUBLE.unpack(_U64.pack(wide))[0])


@dataclass(frozen=True)
class Integer:
    """A two's complement or unsigned integer of `bits` bits; the text form uses `base`."""

    bits: int
    low: int
    high: int
    base: int = 10

    def check(self, value: Any) -> int:
        """`value` as an exact int (numpy integers and bools are converted), or ValueError."""
        if type(value) is int and self.low <= value <= self.high:
            return value
        if type(value) is not int:
            try:
                value = int(operator.index(value))
            except TypeError:
                raise ValueError(f"{value!r} is not an integer; legal: {self.legal}") from None
        if self.low <= value <= self.high:
            return int(value)
        size = value.bit_length()
        shown = value if size <= 2 * _WIDEST else f"an integer of {size} bits"
        raise ValueError(f"{shown} does not fit; legal: {self.legal}")

    @property
    def legal(self) -> str:
        """The legal range, for messages and the manual."""
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Float32:
    """An IEEE 754 float32, stored by its bits, so that NaN payloads and signed zeros survive."""

    bits = 32
    legal = "any float32"

    def check(self, value: Any) -> float:
        """`value` rounded to the nearest float32 (ties to even), or ValueError."""
        try:
            return f32_value(f32_bits(value.__float__()))  # float() would take strings too
        except OverflowError:
            raise ValueError(f"{value!r} is too large; legal: {self.legal}") from None
        except (AttributeError, TypeError):
            raise ValueError(f"{value!r} is not a number; legal: {self.legal}") from None


@dataclass(frozen=True)
class Choice:
    """One of a list of names, stored as its position in the list."""

    names: tuple[str, ...]
    bits: int
    codes: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", {name: code for code, name in enumerate(self.names)})

    def check(self, value: Any) -> str:
        """`value` as one of the names, or ValueError."""
        code = self.codes.get(value) if isinstance(value, str) else None
        if code is None:
            raise ValueError(f"{value!r} is not a choice; legal: {self.legal}")
        return self.names[code]

    @property
    def legal(self) -> str:
        """The names, for messages and the manual."""
        return ", ".join(self.names)


@dataclass(frozen=True)
class Nested:
    """A record inside an instruction or another record, stored in place."""

    cls: type[Packed]

    def check(self, value: Any) -> Any:
        """`value` itself, if it is such a record (it validated itself), or ValueError."""
        if type(value) is not self.cls:
            raise ValueError(f"{value!r} is not a {self.cls.__name__}; legal: {self.legal}")
        return value

    @property
    def legal(self) -> str:
        """The record's name, for messages and the manual."""
        return f"a {self.cls.__name__}"


@dataclass(frozen=True)
class Many:
    """Zero to `most` elements of one kind, stored as a count and the elements."""

    element: Kind
    most: int

    def check(self, value: Any) -> tuple[Any, ...]:
        """`value` (a tuple or a list) as a tuple of checked elements, or ValueError."""
        if not isinstance(value, tuple | list):
            raise ValueError(f"{value!r} is not a tuple; legal: {self.legal}")
        if len(value) > self.most:
            raise ValueError(f"{len(value)} elements; legal: {self.legal}")
        checked = []
        for index, item in enumerate(value):
            try:
                checked.append(self.element.check(item))
            except ValueError as error:
                raise ValueError(f"element {index}: {error}") from None
        return tuple(checked)

    @property
    def legal(self) -> str:
        """The length and the element, for messages and the manual."""
        return f"0..{self.most} of ({self.element.legal})"

    @property
    def count_bits(self) -> int:
        """The width of the count that precedes the elements."""
        return self.most.bit_length()


Kind: TypeAlias = Integer | Float32 | Choice | Nested | Many


def widths(kind: Kind) -> tuple[int, int]:
    """The least and the most bits that a value of this kind takes."""
    match kind:
        case Integer() | Float32() | Choice():
            return kind.bits, kind.bits
        case Many():
            return kind.count_bits, kind.count_bits + kind.most * widths(kind.element)[1]
        case Nested():
            pairs = [widths(operand.kind) for operand in kind.cls.operands]
            return sum(least for least, _ in pairs), sum(most for _, most in pairs)
        case _:
            assert_never(kind)


@dataclass(frozen=True)
class Operand:
    """One declared field: what every consumer of a declaration iterates over."""

    name: str
    kind: Kind
    doc: str
    default: Any  # the canonical value; MISSING for a required field

    @property
    def required(self) -> bool:
        """Whether the field must be given."""
        return self.default is MISSING


R = TypeVar("R", bound="Record")
N = TypeVar("N", bound=str)
V = TypeVar("V", bound="int | float | str | tuple[Any, ...] | Record")


def _field(kind: Kind, default: Any, doc: str) -> Any:
    return field(default=default, metadata={"kind": kind, "doc": doc})


def _nested(cls: Any) -> Nested:
    if not getattr(cls, "operands", ()):  # one without fields would make arrays of nothing
        raise TypeError(f"{cls!r} is neither a record class with fields nor a field specifier")
    return Nested(cls)


def _width(bits: int, widest: int = _WIDEST) -> int:
    if not 1 <= bits <= widest:
        raise TypeError(f"a field has 1..{widest} bits, not {bits}")
    return bits


def u(bits: int, *, base: int = 10, default: int = _REQUIRED, doc: str = "") -> int:
    """An unsigned integer of `bits` bits; `base=16` prints it in hexadecimal (addresses)."""
    if base not in (10, 16):
        raise TypeError(f"base is 10 or 16, not {base}")
    made: int = _field(Integer(_width(bits), 0, (1 << bits) - 1, base), default, doc)
    return made


def s(bits: int, *, default: int = _REQUIRED, doc: str = "") -> int:
    """A two's complement integer of `bits` bits."""
    half = 1 << (_width(bits) - 1)
    made: int = _field(Integer(bits, -half, half - 1), default, doc)
    return made


def f32(*, default: float = _REQUIRED, doc: str = "") -> float:
    """A float32; a Python float is rounded to the nearest one when the instruction is made."""
    made: float = _field(Float32(), default, doc)
    return made


def choice(*names: N, bits: int | None = None, default: N = _REQUIRED, doc: str = "") -> N:
    """One of `names`, in code order; `bits` reserves room for names that come later."""
    if not names or len(set(names)) < len(names) or not all(map(is_word, names)):
        raise TypeError(f"a choice needs distinct names of letters, digits and _.+-: {names}")
    least = max(1, (len(names) - 1).bit_length())
    width = _width(least if bits is None else bits)
    if width < least:
        raise TypeError(f"{len(names)} choices need {least} bits, not {width}")
    made: N = _field(Choice(tuple(names), width), default, doc)
    return made


def record(cls: type[R], *, default: R = _REQUIRED, doc: str = "") -> R:
    """One record, in place."""
    made: R = _field(_nested(cls), default, doc)
    return made


@overload
def many(
    element: type[R], *, most: int, default: tuple[R, ...] = ..., doc: str = ...
) -> tuple[R, ...]: ...
@overload
def many(
    element: V, *, most: int, default: tuple[V, ...] = ..., doc: str = ...
) -> tuple[V, ...]: ...
def many(element: Any, *, most: int, default: Any = _REQUIRED, doc: str = "") -> Any:
    """Up to `most` elements: a record class, or another specifier, as in `many(s(32), most=4)`."""
    if most < 1:
        raise TypeError(f"most is at least 1, not {most}")
    inner = element.metadata["kind"] if isinstance(element, Field) else _nested(element)
    return _field(Many(inner, most), default, doc)
