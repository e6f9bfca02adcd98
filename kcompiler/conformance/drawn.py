"""Instructions to try laws on: those that programs consist of, and these with extreme fields.

Fields of an instruction hang together, so that random ones are hardly ever legal. What programs
consist of is legal; each of its fields, one at a time, takes the ends of its range, single bits,
every name, fewer and more elements. What the instruction refuses (`check`) is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, assert_never

from kcompiler.conformance.values import generator
from kcompiler.machine.fields import Choice, Float32, Integer, Kind, Many, Nested, f32_value
from kcompiler.machine.instruction import FieldError, Isa, Packed

_ODD_FLOATS = (0, 1 << 31, 0x3F800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x007FFFFF)
_ELEMENTS = 3  # of an array, that are varied
_TRIES = 400
_PLAIN = frozenset({int, str})  # types whose equality is meant as it is


def variants(instruction: Isa) -> Iterator[Isa]:
    """The instruction itself, and copies with one field changed each."""
    yield instruction
    yield from _changed(instruction)


def _changed(whole: Any) -> Iterator[Any]:
    for operand in whole.operands:
        for value in _others(operand.kind, getattr(whole, operand.name)):
            made = altered(whole, operand.name, value)
            if made is not None:
                yield made


def altered(whole: Any, name: str, value: Any) -> Any:
    """A copy with another value of a field; None where the rules across fields refuse it.

    Raises `FieldError` when the field itself does, whose kind says that the value is legal.
    """
    try:
        return replace(whole, **{name: value})
    except FieldError:
        raise
    except ValueError:
        return None


def _others(kind: Kind, now: Any) -> Iterator[Any]:
    """Other legal values: ends, single bits, all names, other lengths."""
    match kind:
        case Integer(bits=bits, low=low, high=high):
            single = (1 << b for b in range(bits))
            found = [low, high, low + 1, high - 1, 0, 1, -1, high // 3, *single]
            yield from dict.fromkeys(v for v in found if low <= v <= high and v != now)
        case Float32():
            yield from map(f32_value, _ODD_FLOATS)
        case Choice(names=names):
            yield from (name for name in names if name != now)
        case Nested():
            yield from _changed(now)
        case Many(element=element, most=most):
            yield from _lengths(now, most)
            for i in range(min(len(now), _ELEMENTS)):
                for value in _others(element, now[i]):
                    yield (*now[:i], value, *now[i + 1 :])
        case _:
            assert_never(kind)


def _lengths(now: tuple[Any, ...], most: int) -> Iterator[tuple[Any, ...]]:
    yield ()
    if now:
        yield now[:-1]
        yield (now * most)[:most]
        if len(now) < most:
            yield (*now, now[-1])


def invented(cls: type[Isa]) -> Isa | None:
    """An instruction of a class that no program has; None where none was found to be legal."""
    rng = generator("invented", cls.mnemonic)
    for number in range(_TRIES):
        try:
            return cls(**{o.name: _any(o.kind, rng, number % 4) for o in cls.operands})
        except FieldError:
            raise
        except ValueError:
            continue
    return None


def _any(kind: Kind, rng: Any, most: int) -> Any:
    """A legal value, of small numbers and at most so many elements."""
    match kind:
        case Integer(low=low, high=high):
            return int(rng.integers(max(low, -4), min(high, 9), endpoint=True))
        case Float32():
            return float(rng.integers(-4, 5))
        case Choice(names=names):
            return names[int(rng.integers(len(names)))]
        case Nested(cls=cls):
            return cls(**{o.name: _any(o.kind, rng, most) for o in cls.operands})
        case Many(element=element, most=limit):
            return tuple(_any(element, rng, most) for _ in range(min(most, limit)))
        case _:
            assert_never(kind)


def form(value: Any) -> Any:
    """All that an instruction says, to compare without its own idea of equality."""
    kind = type(value)
    if kind in _PLAIN:  # most of what there is
        return value
    if isinstance(value, Packed):
        return kind.__name__, tuple(
            [(o.name, form(getattr(value, o.name))) for o in value.operands]
        )
    if isinstance(value, tuple):
        plain = _PLAIN.issuperset(map(type, value))
        return value if plain else tuple([form(each) for each in value])
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    return value


def samples(isa: type[Isa], programs: Iterator[Isa], each: int) -> dict[type[Isa], list[Isa]]:
    """Up to `each` different instructions of every class, the first that come."""
    found: dict[type[Isa], dict[Any, Isa]] = {cls: {} for cls in isa.instructions()}
    for instruction in programs:
        known = found.get(type(instruction))
        if known is not None and len(known) < each:
            known.setdefault(form(instruction), instruction)
    for cls, known in found.items():
        made = None if known else invented(cls)
        if made is not None:
            known[form(made)] = made
    return {cls: list(islice(known.values(), each)) for cls, known in found.items()}
