"""Protobuf's wire format, read just far enough to leave the weights where they are.

protobuf copies every `raw_data`. A model of 750 MB would be held twice before anything is compiled,
so the large ones are cut out of the message first and stay views of the (memory-mapped) file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_RAW_DATA = 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LARGE = 4096  # bytes of an initializer from which cutting it pays


class _Malformed(Exception):
    """Not the plain form that writers produce; protobuf itself shall judge it."""


class _Field(NamedTuple):
    number: int
    start: int  # of the tag
    body: int  # of the payload
    end: int
    kind: int


def cut_weights(data: memoryview) -> tuple[bytes | memoryview, dict[int, memoryview]]:
    """The message without large weights, and these weights by the index of their initializer.

    A message in any unusual form is returned whole: protobuf copies then, and says what is wrong.
    """
    try:
        return _cut_model(data)
    except _Malformed:
        return data, {}


def _cut_model(data: memoryview) -> tuple[bytes, dict[int, memoryview]]:
    graphs = [f for f in _fields(data, 0, len(data)) if f.number == _MODEL_GRAPH]
    if len(graphs) != 1 or graphs[0].kind != _BYTES:
        raise _Malformed
    (graph,) = graphs
    parts, weights = _cut_graph(data, graph)
    chunks = [data[: graph.start], _header(_MODEL_GRAPH, parts), *parts, data[graph.end :]]
    return b"".join(chunks), weights


def _cut_graph(
    data: memoryview, graph: _Field
) -> tuple[list[bytes | memoryview], dict[int, memoryview]]:
    parts: list[bytes | memoryview] = []
    weights: dict[int, memoryview] = {}
    count = 0
    kept = graph.body  # everything before this is in `parts`
    for field in _fields(data, graph.body, graph.end):
        if field.number != _GRAPH_INITIALIZER:
            continue
        if field.kind != _BYTES:
            raise _Malformed
        raw = _large_raw_data(data, field)
        if raw is not None:
            rest = [data[field.body : raw.start], data[raw.end : field.end]]
            parts += [data[kept : field.start], _header(_GRAPH_INITIALIZER, rest), *rest]
            weights[count] = data[raw.body : raw.end]
            kept = field.end
        count += 1
    parts.append(data[kept : graph.end])
    return parts, weights


def _large_raw_data(data: memoryview, tensor: _Field) -> _Field | None:
    if tensor.end - tensor.body < _LARGE:
        return None
    fields = [f for f in _fields(data, tensor.body, tensor.end) if f.number == _TENSOR_RAW_DATA]
    if len(fields) > 1 or any(f.kind != _BYTES for f in fields):
        raise _Malformed
    return fields[0] if fields and fields[0].end - fields[0].body >= _LARGE else None


def _fields(data: memoryview, at: int, end: int) -> Iterator[_Field]:
    while at < end:
        start = at
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        body = at
        if kind == _BYTES:
            length, body = _varint(data, at, end)
            at = body + length
        elif kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise _Malformed
        if at > end:
            raise _Malformed
        yield _Field(number, start, body, at, kind)


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Malformed


def _header(number: int, parts: Sequence[bytes | memoryview]) -> bytes:
    return _encode(number << 3 | _BYTES) + _encode(sum(map(len, parts)))


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
