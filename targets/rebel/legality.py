"""What the modelled Rebel100 takes. A constraint's docstring is the reason that users read when it does not hold."""

from __future__ import annotations

from kcompiler.graph.node import Op
from kcompiler.graph.operators.movement import Gather
from kcompiler.graph.operators.reduction import CumSum, TopKIndices, TopKValues
from kcompiler.graph.operators.structure import Host, Item
from kcompiler.graph.types import I32, I64, parse_dtype
from kcompiler.machine.target import Constraint
from kcompiler.targets.rebel.isa import TYPES

_ELEMENTS = frozenset(map(parse_dtype, TYPES))
_WITHOUT_KERNEL = (CumSum, TopKValues, TopKIndices)
_MOST_DIMENSIONS = 8  # a transfer has room for 15, which grids of cores and tiles share with these
_LARGEST_EXTENT = (1 << 32) - 1  # a transfer's field


def not_left_to_the_host(op: Op) -> bool:
    """The importer found no form of this operator that the graph can express, so the host runs it."""
    return not isinstance(op, Host | Item)


def element_types(op: Op) -> bool:
    """Element types are f16, bf16, f32, f8, bool and integers of 8 to 64 bits: no f64, complex, string or 4-bit one."""
    return all(each.dtype in _ELEMENTS for each in (op, *op.operands))


def has_a_kernel(op: Op) -> bool:
    """Sorting (TopK) and running sums (CumSum) are no loop nests over independent results: no engine does them."""
    return not isinstance(op, _WITHOUT_KERNEL)


def few_dimensions(op: Op) -> bool:
    """A tensor may have at most 8 dimensions of more than one element: a transfer's descriptor holds no more."""
    return all(sum(n > 1 for n in each.shape) <= _MOST_DIMENSIONS for each in (op, *op.operands))


def no_empty_tensor(op: Op) -> bool:
    """A tensor without elements gives an engine nothing to do."""
    return all(0 not in each.shape for each in (op, *op.operands))


def extents_fit(op: Op) -> bool:
    """An extent has at most 32 bits: a transfer's descriptor holds no more."""
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
