"""Reductions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import normal_axes, wide
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BOOL, is_float

Axes = Sequence[int]


def _sum_square(x: Op, axes: Axes) -> Op:
    return build.reduce_sum(ops.Mul(x, x), axes)


def _log_sum_exp(x: Op, axes: Axes) -> Op:
    """Shifted by the maximum, so that nothing overflows; the maximum may be infinite."""
    limit = float(np.finfo(x.dtype).max)
    above = ops.Max(build.reduce_max(x, axes), build.scalar(x, -limit))
    top = ops.Min(above, build.scalar(x, limit))
    return ops.Add(ops.Log(build.reduce_sum(ops.Exp(ops.Sub(x, top)), axes)), top)


def _mean(x: Op, axes: Axes) -> Op:
    if is_float(x.dtype):
        return build.mean(x, axes)
    total = build.reduce_sum(x, axes)
    return ops.Div(total, build.scalar(total, x.type.size // max(total.type.size, 1)))


def _prod(x: Op, axes: Axes) -> Op:
    chosen = normal_axes(axes, x.type.rank)
    return ops.Reduce(x, "prod", chosen) if chosen else x


# What each computes on the operand in its compute type, and whether only floats have it.
_REDUCTIONS: dict[str, tuple[Callable[[Op, Axes], Op], bool]] = {
    "ReduceL1": (lambda x, axes: build.reduce_sum(ops.Abs(x), axes), False),
    "ReduceL2": (lambda x, axes: ops.Sqrt(_sum_square(x, axes)), True),
    "ReduceLogSum": (lambda x, axes: ops.Log(build.reduce_sum(x, axes)), True),
    "ReduceLogSumExp": (_log_sum_exp, True),
    "ReduceMax": (build.reduce_max, False),
    "ReduceMean": (_mean, False),
    "ReduceMin": (build.reduce_min, False),
    "ReduceProd": (_prod, False),
    "ReduceSum": (build.reduce_sum, False),
    "ReduceSumSquare": (_sum_square, False),
}


@onnx_op(*_REDUCTIONS)
def reduce_(node: Node) -> Op:
    """Axes are an attribute before opset 18 (13 for sums); none means all, or nothing."""
    x, (compute, only_float) = node[0], _REDUCTIONS[node.op_type]
    axes = node.integers_of(1, "axes")
    if not axes and node.flag("noop_with_empty_axes"):
        chosen: tuple[int, ...] = ()
    else:
        chosen = normal_axes(axes or None, x.type.rank)
    if only_float and not is_float(x.dtype):
        raise NotExpressible(f"{node.op_type} of integers")
    if x.dtype == BOOL:
        y = build.cast(compute(build.cast(x, np.dtype(np.uint8)), chosen), BOOL)
    else:
        y = wide(x, lambda v: compute(v, chosen))
    return y if node.flag("keepdims", True) else build.squeeze(y, chosen)
