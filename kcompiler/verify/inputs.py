"""Inputs for a verification without any: the same ones each time, of a sensible range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kcompiler.buckets.layout import is_position
from kcompiler.errors import UsageError
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.operators import Equal, Fused, Gather
from kcompiler.graph.types import BOOL, TensorType, is_float

_SEED = 20_240_229
_MOST = 1 << 29  # elements of all that is made up: each takes up to 16 bytes on the way
_MASKS = ("mask",)
_BYTES = ("int8", "uint8")


def sample_inputs(graph: Graph, given: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """Every input of a graph: what is given, and data for the rest.

    Floats are standard normal; masks and booleans are ones; integers that look something up in a
    table stay inside it, a single one that the model compares with a constant (a mode, a rate) is
    this constant, other bytes take their whole range, other integers are 0 or 1. Raises
    `UsageError` where that would be more data than a computer has room for.
    """
    given = given or {}
    _check_size([node for node in graph.inputs if node.name not in given])
    return dict(given) | {
        node.name: _sample(graph, node, number)
        for number, node in enumerate(graph.inputs)
        if node.name not in given
    }


def _check_size(made: Sequence[Input]) -> None:
    """Raise `UsageError` before inputs out of all proportion are made; it names the largest."""
    total = sum(node.type.size for node in made)
    if total <= _MOST:
        return
    largest = max(made, key=lambda node: node.type.size)
    rest = "" if len(made) == 1 else f" of the {total:,} of all inputs"
    why = f"{largest.type} has {largest.type.size:,} elements{rest}; up to {_MOST:,} are made up"
    fix = "make its dimensions smaller, give it (--input), or do not verify (--no-verify)"
    raise UsageError(f"there is no data to verify with for input {largest.name!r}", "", why, fix)


def _sample(graph: Graph, node: Input, number: int) -> Array:
    kind, rng = node.type, np.random.default_rng([_SEED, number])
    if is_position(node.name):
        return np.arange(kind.size, dtype=kind.dtype).reshape(kind.shape)
    if kind.dtype == BOOL or any(word in node.name.lower() for word in _MASKS):
        return np.ones(kind.shape, kind.dtype)
    if is_float(kind.dtype):
        return np.asarray(rng.standard_normal(kind.shape, np.float32)).astype(kind.dtype)
    choice = _compared_with(graph, node)
    if choice is not None:
        return np.full(kind.shape, choice).astype(kind.dtype)
    return _integers(kind, table_extent(graph, node), rng)


def _compared_with(graph: Graph, node: Input) -> int | None:
    """The first constant that a single integer is compared with."""
    if node.type.size != 1:
        return None
    users = [u for u in graph.users[id(node)] if isinstance(u, Equal)]
    constants = [o for u in users for o in u.operands if isinstance(o, Constant)]
    return next((int(c.value.item()) for c in constants if c.type.size == 1), None)


def _integers(kind: TensorType, table: int | None, rng: np.random.Generator) -> Array:
    low, high = 0, 2
    if table is not None:
        high = max(table, 1)
    elif kind.dtype.name in _BYTES:
        info = np.iinfo(kind.dtype)
        low, high = int(info.min), int(info.max) + 1
    return rng.integers(low, high, kind.shape).astype(kind.dtype)


def table_extent(graph: Graph, node: Op) -> int | None:
    """The extent of the smallest table that values computed from `node` alone are indices of."""
    extents: list[int] = []
    todo, seen = [node], {id(node)}
    while todo:
        value = todo.pop()
        for user in graph.users[id(value)]:
            if isinstance(user, Gather) and user.indices is value:
                extents.append(user.x.shape[user.axis])
            elif _carries(user, seen) and id(user) not in seen:
                seen.add(id(user))
                todo.append(user)
    return min(extents, default=None)


def _carries(user: Op, seen: set[int]) -> bool:
    """Whether a node's integer values still say where to look: its other operands are constants."""
    if isinstance(user, Gather | Fused) or is_float(user.dtype) or user.dtype == BOOL:
        return False
    return all(id(o) in seen or isinstance(o, Constant) for o in user.operands)
