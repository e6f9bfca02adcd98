"""The meaning of a graph: numpy, one operator after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from kcompiler.errors import IRError, UsageError
from kcompiler.graph.node import Array, Graph, Input, Op
from kcompiler.graph.operators.structure import Host, Item

HostRunner: TypeAlias = Callable[[Host, Sequence[Array]], Sequence[Array]]


def run_graph(
    graph: Graph, inputs: Mapping[str, Array], host: HostRunner | None = None
) -> dict[str, Array]:
    """The outputs by name. `host` runs `Host` operators; without it they are an error.

    Raises `UsageError` when inputs are missing or have another type than declared.
    """
    results: dict[int, Array] = {}
    wanted = {id(value) for _, value in graph.outputs}
    for node, value in run_nodes(graph, inputs, host):
        if id(node) in wanted:
            results[id(node)] = value
    return {name: results[id(value)] for name, value in graph.outputs}


def run_nodes(
    graph: Graph, inputs: Mapping[str, Array], host: HostRunner | None = None
) -> Iterator[tuple[Op, Array]]:
    """Every node with its value, in the order of `graph.nodes`; freed after its last use.

    The pairs of a `Host` are left out: its results come with the `Item`s.
    """
    values: dict[int, Array] = {}
    items: dict[int, Sequence[Array]] = {}
    last = _last_uses(graph)
    for position, node in enumerate(graph.nodes):
        if isinstance(node, Host):
            items[id(node)] = _run_host(node, [values[id(o)] for o in node.operands], host)
        else:
            values[id(node)] = _value(node, values, items, inputs)
            yield node, values[id(node)]
        for dead in last[position]:
            values.pop(dead, None)
            items.pop(dead, None)


def _value(
    node: Op,
    values: Mapping[int, Array],
    items: Mapping[int, Sequence[Array]],
    inputs: Mapping[str, Array],
) -> Array:
    if isinstance(node, Input):
        return _given(node, inputs)
    if isinstance(node, Item):
        value = np.asarray(items[id(node.host)][node.index])
    else:
        value = node.evaluate(*(values[id(o)] for o in node.operands))
    if value.dtype != node.dtype or value.shape != node.shape:
        found = f"the value is {value.dtype}{list(value.shape)}, the type {node.type}"
        raise IRError("graph", "values have the inferred type", _where(node), found)
    return value


def _given(node: Input, inputs: Mapping[str, Array]) -> Array:
    if node.name not in inputs:
        names = ", ".join(inputs) or "none"
        raise UsageError("an input is missing", node.name, f"given: {names}")
    value = np.asarray(inputs[node.name])
    if value.dtype != node.dtype or value.shape != node.shape:
        found = f"given {value.dtype}{list(value.shape)}, declared {node.type}"
        raise UsageError("an input has the wrong type", node.name, found)
    return value


def _run_host(node: Host, operands: Sequence[Array], host: HostRunner | None) -> Sequence[Array]:
    if host is None:
        reason = "the graph has a host operator, and nothing was given to run it"
        raise UsageError(reason, _where(node), node.reason)
    return host(node, operands)


def _last_uses(graph: Graph) -> list[list[int]]:
    """For each position of `graph.nodes`, the ids of values that nobody reads after it."""
    last: dict[int, int] = {}
    for position, node in enumerate(graph.nodes):
        last[id(node)] = position
        for operand in node.operands:
            last[id(operand)] = position
    dead: list[list[int]] = [[] for _ in graph.nodes]
    for key, position in last.items():
        dead[position].append(key)
    return dead


def _where(node: Op) -> str:
    return ", ".join(node.origin) or repr(node)
