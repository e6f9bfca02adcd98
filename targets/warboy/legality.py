"""What Warboy takes: constraints, whose docstrings users read. Published ones: [FSDK] in README."""

from __future__ import annotations

import numpy as np

from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import (
    Attention,
    Concat,
    Contract,
    Conv,
    CumSum,
    Fused,
    Gather,
    LayerNorm,
    RmsNorm,
    Slice,
    Softmax,
    TopKIndices,
    TopKValues,
)
from kcompiler.graph.types import I32
from kcompiler.machine.generic import constraints
from kcompiler.machine.target import Constraint

_BYTES = frozenset({np.dtype(np.int8), np.dtype(np.uint8)})
_STORED = _BYTES | {I32}  # sums that become numbers on the host, or in parts
_MOST_GROUPS = 128
_MOST_DILATION = 12
_MOST_BATCH = 2
_IMAGE = 4  # dimensions: batch, channels, height, width
_CHANNELS_HEIGHT = (1, 2)
_WITHOUT_KERNEL = (CumSum, TopKValues, TopKIndices, Gather, Attention, LayerNorm, RmsNorm)


def has_a_kernel(op: Op) -> bool:
    """Warboy has no attention, LayerNorm, RMSNorm, Gather, TopK or CumSum: they run on the CPU."""
    return not isinstance(op, _WITHOUT_KERNEL)


def integer_products(op: Op) -> bool:
    """Warboy multiplies 8-bit integers only: this Conv or MatMul is not quantized."""
    return not isinstance(op, Conv | Contract) or all(o.dtype in _BYTES for o in op.operands[:2])


def conv_groups(op: Op) -> bool:
    """A Conv has at most 128 groups, unless each channel is one (depthwise)."""
    return not isinstance(op, Conv) or op.groups <= _MOST_GROUPS or op.groups == op.x.shape[1]


def conv_dilation(op: Op) -> bool:
    """A Conv is dilated by at most 12."""
    return not isinstance(op, Conv) or max(op.dilations) <= _MOST_DILATION


def softmax_batch(op: Op) -> bool:
    """A Softmax has a batch of at most 2."""
    return not isinstance(op, Softmax) or op.shape[0] <= _MOST_BATCH


def concat_axis(op: Op) -> bool:
    """A Concat of images is along the channels or the height."""
    return not isinstance(op, Concat) or op.type.rank != _IMAGE or op.axis in _CHANNELS_HEIGHT


def slice_axis(op: Op) -> bool:
    """A Slice of images is along the channels or the height."""
    if not isinstance(op, Slice) or op.type.rank != _IMAGE:
        return True
    pairs = zip(op.shape, op.x.shape, strict=True)
    return all(a == b or axis in _CHANNELS_HEIGHT for axis, (a, b) in enumerate(pairs))


def bytes_between_kernels(op: Op) -> bool:
    """Warboy is an int8 chip: what reads or makes a float tensor runs on the CPU."""
    if not isinstance(op, Fused):
        return True
    tensors = (op, *(o for o in op.operands if not isinstance(o, Constant)))
    return all(each.dtype in _STORED for each in tensors)


CONSTRAINTS: tuple[Constraint, ...] = (
    constraints.not_left_to_the_host,
    constraints.element_types,
    has_a_kernel,
    integer_products,
    conv_groups,
    conv_dilation,
    softmax_batch,
    concat_axis,
    slice_axis,
    bytes_between_kernels,
    constraints.few_dimensions,
    constraints.no_empty_tensor,
    constraints.extents_fit,
)
