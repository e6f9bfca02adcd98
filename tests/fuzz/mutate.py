"""Damaged models and packages: bytes changed blindly, and with knowledge of their structure."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

VARINTS = (0, 1, 2, 3, 7, 16, 23, 255, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = (b"", b"x0", b"w0", b"n0_0", b"Conv", b"If", b"Loop", b"ai.onnx", b"\xff\xfe", b"a" * 300)


@dataclass
class Field:
    """A field of a protobuf message; a sub-message is a list of fields."""

    number: int
    wire: int
    value: Any  # int for varints, bytes, or list[Field]


def varint(value: int) -> bytes:
    """The bytes of a varint."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def parse(data: bytes, descriptor: Any) -> list[Field]:
    """The fields of a sound message."""
    found, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        index, wire = key >> 3, key & 7
        if wire == 0:
            found.append(Field(index, wire, number()))
            continue
        size = {1: 8, 5: 4}.get(wire) or number()
        payload, at = data[at : at + size], at + size
        inner = descriptor.fields_by_number.get(index)
        kind = inner.message_type if inner is not None else None
        found.append(Field(index, wire, parse(payload, kind) if kind is not None else payload))
    return found


def serialize(fields: list[Field], source: random.Random | None = None) -> bytes:
    """The bytes of a message; with a source of chance some lengths are wrong."""
    parts = []
    for field in fields:
        parts.append(varint(field.number << 3 | field.wire))
        if isinstance(field.value, int):
            parts.append(varint(field.value))
            continue
        data = serialize(field.value, source) if isinstance(field.value, list) else field.value
        if field.wire in {2, 0, 3, 4, 6, 7}:
            wrong = source is not None and source.random() < 0.02
            parts.append(
                varint(max(0, len(data) + (source.randint(-3, 3) if wrong and source else 0)))
            )
        parts.append(data)
    return b"".join(parts)


def walk(fields: list[Field]) -> Iterator[tuple[list[Field], int]]:
    """Every field, as the message that holds it and its position."""
    for index, field in enumerate(fields):
        yield fields, index
        if isinstance(field.value, list):
            yield from walk(field.value)


def mutated_model(data: bytes, source: random.Random) -> bytes:
    """A model with one to four changes."""
    if source.random() < 0.15:
        return mutated_bytes(data, source)
    fields = parse(data, ModelProto.DESCRIPTOR)
    for _ in range(source.choice([1, 1, 1, 2, 3, 4])):
        _change(fields, source)
    return serialize(fields, source if source.random() < 0.05 else None)


def mutated_bytes(data: bytes, source: random.Random) -> bytes:
    """Bytes set, flipped, cut, inserted or repeated."""
    found = bytearray(data)
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(found) + 1)
        kind = source.randrange(5)
        if kind == 0:
            found[at : at + 1] = source.randbytes(1)
        elif kind == 1 and at < len(found):
            found[at] ^= 1 << source.randrange(8)
        elif kind == 2:
            del found[at : at + source.randint(1, 20)]
        elif kind == 3:
            found[at:at] = source.randbytes(source.randint(1, 8))
        else:
            found[at:at] = found[at : at + source.randint(1, 200)]
    return bytes(found)


def _change(fields: list[Field], source: random.Random) -> None:
    places = list(walk(fields))
    if not places:
        return
    holder, index = source.choice(places)
    field = holder[index]
    kind = source.choice(["value", "value", "value", "copy", "drop", "repeat", "number", "wire"])
    if kind == "drop":
        del holder[index]
    elif kind == "repeat":
        holder[index:index] = [copy.deepcopy(field)] * source.choice([1, 1, 2, 50])
    elif kind == "number":
        field.number = source.choice([field.number + 1, max(1, field.number - 1), 1, 2, 5, 9, 20])
    elif kind == "wire":
        field.wire = source.choice([0, 1, 2, 5])
        field.value = field.value if isinstance(field.value, int) else _flat(field)
    elif kind == "copy":
        _copy(field, places, source)
    else:
        _set(field, source)


def _flat(field: Field) -> bytes:
    data: bytes = serialize(field.value) if isinstance(field.value, list) else field.value
    return data


def _copy(field: Field, places: list[tuple[list[Field], int]], source: random.Random) -> None:
    """The value of another field of the same kind: names, shapes and types that do not fit."""
    alike = [h[i] for h, i in places if type(h[i].value) is type(field.value)]
    near = [f for f in alike if f.number == field.number] if source.random() < 0.5 else alike
    field.value = copy.deepcopy(source.choice(near).value)


def _set(field: Field, source: random.Random) -> None:
    if isinstance(field.value, int):
        near = (field.value + source.choice([-1, 1, 2])) % 2**64
        field.value = source.choice([near, near, source.choice(VARINTS)])
    elif isinstance(field.value, list):
        source.shuffle(field.value)
    elif source.random() < 0.5 or not field.value:
        field.value = source.choice(TEXTS)
    else:
        field.value = mutated_bytes(field.value, source)


# Packages

VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 63, 64, 4096, 2**31, 2**63, -(2**63), 10**30, 0.5, True, False, None, ""),
    *("x", "x0", "f32", "f16", "i8", "hbm", "shm", "npu", "host", [], {}, [0], [1, 2], [[]]),
)


def mutated_package(
    manifest: dict[str, Any], sections: dict[str, bytes], source: random.Random
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A package's content with one to three changes; who writes it computes the right hashes."""
    manifest, sections = copy.deepcopy(manifest), dict(sections)
    for _ in range(source.choice([1, 1, 2, 3])):
        if source.random() < 0.6:
            _edit(manifest, source)
        else:
            _damage(sections, source)
    return manifest, sections


def _damage(sections: dict[str, bytes], source: random.Random) -> None:
    if not sections:
        return
    name = source.choice(sorted(sections))
    data = bytes(sections[name])
    kind = source.randrange(6)
    if kind == 0:
        del sections[name]
    elif kind == 1:
        sections[name] = data[: source.randrange(len(data) + 1)]
    elif kind == 2:
        sections[name] = bytes(sections[source.choice(sorted(sections))])
    else:
        sections[name] = _damaged(name, data, source)


def _damaged(name: str, data: bytes, source: random.Random) -> bytes:
    """Flipped bits keep a program's length; a host model is changed as models are."""
    if "code" not in name and "constant" not in name and data and source.random() < 0.8:
        try:
            return mutated_model(data, source)
        except (IndexError, TypeError):
            return mutated_bytes(data, source)
    found = bytearray(data)
    for _ in range(source.randint(1, 3) if data else 0):
        found[source.randrange(len(found))] ^= 1 << source.randrange(8)
    return bytes(found)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a manifest, as its container and key."""
    keys = sorted(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _edit(manifest: dict[str, Any], source: random.Random) -> None:
    places = list(_places(manifest))
    if not places:
        return
    holder, key = source.choice(places)
    kind = source.choice(["set", "set", "near", "near", "drop", "repeat", "copy"])
    if kind == "drop":
        del holder[key]
    elif kind == "repeat" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == "copy":
        alike = [h[k] for h, k in places if type(h[k]) is type(holder[key])]
        holder[key] = copy.deepcopy(source.choice(alike))
    elif kind == "near" and isinstance(holder[key], int):
        holder[key] += source.choice([-64, -2, -1, 1, 2, 64, 4096])
    else:
        holder[key] = copy.deepcopy(source.choice(VALUES))
