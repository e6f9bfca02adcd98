"""What the generic core takes: constraints, whose docstrings users read."""

from __future__ import annotations

from kcompiler.graph.node import Op
from kcompiler.graph.operators.movement import Gather
from kcompiler.graph.operators.reduction import CumSum, TopKIndices, TopKValues
from kcompiler.graph.operators.structure import Host, Item
from kcompiler.graph.types import I32, I64, parse_dtype
from kcompiler.machine.generic.base import TYPES
from kcompiler.machine.target import Constraint

_ELEMENTS = frozenset(map(parse_dtype, TYPES))
_WITHOUT_KERNEL = (CumSum, TopKValues, TopKIndices)
_MOST_DIMENSIONS = 8  # a transfer has room for 15, which grids of cores and tiles share with these
_LARGEST_EXTENT = (1 << 32) - 1  # a transfer's field


def not_left_to_the_host(op: Op) -> bool:
    """The graph has no form for this ONNX operator, so the host runs it."""
    return not isinstance(op, Host | Item)


def element_types(op: Op) -> bool:
    """Elements must be f16, bf16, f32, f8, bool or integers of 8 to 64 bits."""
    return all(each.dtype in _ELEMENTS for each in (op, *op.operands))


def has_a_kernel(op: Op) -> bool:
    """No engine sorts (TopK) or keeps running sums (CumSum); this has too many pairs."""
    return not isinstance(op, _WITHOUT_KERNEL)


def few_dimensions(op: Op) -> bool:
    """A tensor may have at most 8 dimensions of more than one element."""
    return all(sum(n > 1 for n in each.shape) <= _MOST_DIMENSIONS for each in (op, *op.operands))


def no_empty_tensor(op: Op) -> bool:
    """A tensor without elements gives an engine nothing to do."""
    return all(0 not in each.shape for each in (op, *op.operands))


def extents_fit(op: Op) -> bool:
    """An extent must fit into 32 bits, a field of the transfer's descriptor."""
    return all(n <= _LARGEST_EXTENT for each in (op, *op.operands) for n in each.shape)


def gather_indices(op: Op) -> bool:
    """A gather's indices are i32 or i64."""
    return not isinstance(op, Gather) or op.indices.dtype in {I32, I64}


CONSTRAINTS: tuple[Constraint, ...] = (
    not_left_to_the_host,
    element_types,
    has_a_kernel,
    few_dimensions,
    no_empty_tensor,
    extents_fit,
    gather_indices,
)
