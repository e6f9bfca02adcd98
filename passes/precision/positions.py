"""Results that become indices: a position in a narrow type names another element."""

from __future__ import annotations

from kcompiler.graph.node import Graph, Input, Op
from kcompiler.graph.operators import Cast, Constant, Elementwise, Fused
from kcompiler.graph.types import is_float, is_integer
from kcompiler.kernel.views import is_movement


def positions(graph: Graph) -> set[int]:
    """The kernels, by id, whose numbers are made wide integers by a reader.

    Or by a reader of element-wise readers: what they compute on the way is a position too.
    """
    found: set[int] = set()
    for node in reversed(graph.nodes):
        users = [u for u in graph.users[id(node)] if isinstance(u, Fused)]
        if any(_makes_indices(u) or (id(u) in found and _elementwise(u)) for u in users):
            found.add(id(node))
    return found


def _makes_indices(kernel: Fused) -> bool:
    return any(map(_is_index, kernel.body.nodes))


def _is_index(op: Op) -> bool:
    """Whether numbers become integers that are large enough to be indices."""
    return (
        isinstance(op, Cast)
        and is_float(op.x.dtype)
        and is_integer(op.dtype)
        and op.dtype.itemsize >= 4
    )


def _elementwise(kernel: Fused) -> bool:
    return all(
        isinstance(n, Elementwise | Input | Constant) or is_movement(n) for n in kernel.body.nodes
    )
