"""What the body of a kernel is like, for whoever chooses its element types."""

from __future__ import annotations

from kcompiler.graph.node import Graph, Op
from kcompiler.graph.operators import Attention, Cast, Contract, Conv, Gather, Round
from kcompiler.graph.types import F64, is_float, is_integer
from kcompiler.kernel.views import is_movement


def computes_double(body: Graph) -> bool:
    """Whether anything but casts and movement works on float64."""
    return any(
        F64 in {n.dtype, *(o.dtype for o in n.operands)}
        for n in body.nodes
        if n.operands and not isinstance(n, Cast) and not is_movement(n)
    )


def ends_integers(op: Op) -> bool:
    """Whether numbers become integers or 8-bit floats, or come from them, by factors.

    What a factor loses there is lost.
    """
    if any(is_float(x.dtype) and x.dtype.itemsize == 1 for x in (op, *op.operands)):
        return True
    sums = isinstance(op, Cast) and is_integer(op.x.dtype) and op.x.dtype.itemsize > 1
    return isinstance(op, Round) or (sums and is_float(op.dtype))


def read_by_products(body: Graph) -> set[int]:
    """The inputs of a body that a product reads, as they are or moved; also tables of a gather."""
    found: set[int] = set()
    for node in body.nodes:
        reads = node.operands if isinstance(node, Contract | Conv | Attention) else ()
        for operand in node.operands[:1] if isinstance(node, Gather) else reads:
            found.add(id(unmoved(operand)))
    return found


def masks(body: Graph) -> set[int]:
    """The inputs that are masks of an attention, often beyond the range of a narrow type."""
    found: set[int] = set()
    for node in body.nodes:
        if isinstance(node, Attention) and node.mask is not None:
            found.add(id(unmoved(node.mask)))
    return found


def unmoved(op: Op) -> Op:
    """What a value is before reshapes, transposes and the like."""
    while is_movement(op):
        op = op.operands[0]
    return op
