"""The text form of a graph: what it prints, parses back to the same graph.

    graph "small"(%0)
    %0: f32[2,3] = input("x")
    %1: f32[3] = const(1.0, 2.0, 3.0)
    %2: f32[2,3] = Add(%0, %1)  # "first_add"
    return "y" = %2

The inputs stand behind the name in the caller's order. Operands come by position, attributes by
name. Constants of more than `INLINE` elements, and other binary data, appear by the hash of their
content; `constants_of` gives what belongs to the hashes. The comment at the end of a line holds the
names of the ONNX nodes that the node came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.parse import parse_graph
from kcompiler.graph.types import BOOL, TensorType, dtype_name, is_float, is_integer

__all__ = ["INLINE", "constants_of", "content_hash", "parse_graph", "print_graph"]

INLINE = 16
_INDENT = "    "


def print_graph(graph: Graph) -> str:
    """The text of a graph; ends with a newline."""
    return "\n".join(_lines(graph)) + "\n"


def constants_of(graph: Graph) -> dict[str, Array]:
    """Content hash -> array, for everything that the text of the graph names by hash."""
    found: dict[str, Array] = {}
    for node in graph.nodes:
        for value in node.attributes.values():
            if isinstance(value, Graph):
                found |= constants_of(value)
            elif isinstance(value, bytes):
                found[content_hash(value)] = np.frombuffer(value, np.uint8)
            elif isinstance(value, np.ndarray) and not _is_inline(value):
                found[content_hash(value)] = value
    return found


def content_hash(value: Array | bytes) -> str:
    """The name of binary data: 16 hex digits of a SHA-256 over its type, shape and bytes."""
    array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    kind = str(TensorType(array.dtype, array.shape))
    digest = hashlib.sha256(kind.encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


def _lines(graph: Graph) -> Iterator[str]:
    names = {id(node): f"%{i}" for i, node in enumerate(graph.nodes)}
    inputs = ", ".join(names[id(i)] for i in graph.inputs)
    yield f"graph {json.dumps(graph.name)}({inputs})"
    for node in graph.nodes:
        yield from _node_lines(node, names)
    outputs = ", ".join(f"{json.dumps(name)} = {names[id(op)]}" for name, op in graph.outputs)
    yield f"return {outputs}".rstrip()


def _node_lines(node: Op, names: dict[int, str]) -> Iterator[str]:
    head = f"{names[id(node)]}: {node.type} = "
    origin = "  # " + ", ".join(map(json.dumps, node.origin)) if node.origin else ""
    bodies = [value for value in node.attributes.values() if isinstance(value, Graph)]
    if not bodies:
        yield head + _expression(node, names) + origin
        return
    yield head + _expression(node, names) + " {"
    for body in bodies:
        yield from (_INDENT + line for line in _lines(body))
    yield "}" + origin


def _expression(node: Op, names: dict[int, str]) -> str:
    if isinstance(node, Input):
        return f"input({json.dumps(node.name)})"
    if isinstance(node, Constant):
        return f"const({_content(node.value)})"
    parts = [_operand(getattr(node, name), names) for name in node.operand_fields]
    attributes = ((k, v) for k, v in node.attributes.items() if not isinstance(v, Graph))
    parts += [f"{name}={_value(value)}" for name, value in attributes]
    return f"{type(node).__name__}({', '.join(parts)})"


def _operand(value: Op | tuple[Op, ...] | None, names: dict[int, str]) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{', '.join(names[id(v)] for v in value)}]"
    return names[id(value)]


def _content(value: Array) -> str:
    if not _is_inline(value):
        return f"sha256:{content_hash(value)}"
    kind = float if is_float(value.dtype) else int if is_integer(value.dtype) else bool
    return ", ".join(_value(kind(v)) for v in value.reshape(-1))


def _is_inline(value: Array) -> bool:
    plain = is_float(value.dtype) or is_integer(value.dtype) or value.dtype == BOOL
    return plain and value.size <= INLINE


def _value(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value)
        case bytes():
            return f"sha256:{content_hash(value)}"
        case tuple():
            inner = ", ".join(map(_value, value))
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        case np.dtype():
            return dtype_name(value)
    return str(value)
