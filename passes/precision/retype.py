"""The body of one kernel in other element types.

Products take operands of the stored type and add up in float32; everything else is float32 from the
first read to the last write, where it is rounded once. Data that is only moved keeps its type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompiler.graph.build import cast, constant
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.operators import (
    ArgReduce,
    Attention,
    Cast,
    Concat,
    Contract,
    Conv,
    Gather,
    IsInf,
    Max,
    Pad,
    Reduce,
    TopKIndices,
    TopKValues,
    Where,
    Window,
)
from kcompiler.graph.operators.movement import Reshape
from kcompiler.graph.types import F32, TensorType, compute_dtype, is_float
from kcompiler.kernel.views import is_movement
from kcompiler.passes.precision.bodies import unmoved
from kcompiler.scalar import convert

DType = np.dtype[Any]
# Operators that only compare or move: exact in the type that their data has.
EXACT = (ArgReduce, TopKIndices, TopKValues, Gather)


def largest(dtype: DType) -> float:
    """The largest finite number of a floating-point type."""
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]


def narrowed(value: Constant, dtype: DType) -> Constant:
    """A constant as another float type; what is finite stays so: -3e38 is -65504 in float16."""
    if value.dtype == dtype:
        return value
    limit, narrow = largest(dtype), convert(value.value, dtype)
    if not _within(value.value, limit):
        clipped = np.clip(value.value, -limit, limit)
        clipped = np.where(np.isfinite(value.value), clipped, value.value)
        narrow = convert(clipped, dtype)
    return Constant(narrow).with_origin(value.origin)


def _within(value: Array, limit: float) -> bool:
    """Whether no element is beyond a limit; False if one is NaN."""
    return not value.size or bool(-limit <= value.min() and value.max() <= limit)


class Retyper:
    """Rebuilds a body for the float type `stored`; inputs come in the types that they are given."""

    def __init__(self, body: Graph, stored: DType, inputs: list[DType]) -> None:
        self.body = body
        self.stored = stored
        self.new: dict[int, Op] = {}
        self.inputs: list[Input] = []
        for old, dtype in zip(body.inputs, inputs, strict=True):
            fresh = Input(old.name, TensorType(dtype, old.shape))
            self.inputs.append(fresh)
            self.new[id(old)] = fresh
        for node in body.nodes:
            if id(node) not in self.new:
                self.new[id(node)] = self._retyped(node)

    @property
    def root(self) -> Op:
        """The result, before it is converted to what is stored."""
        return self.new[id(self.body.outputs[0][1])]

    def finished(self, dtype: DType) -> Graph:
        """The body with a result of an element type."""
        ((name, last),) = self.body.outputs
        last = unmoved(last)
        origin = last.origin if isinstance(last, Cast) else ()
        result = _narrowed_below(self.root, dtype, origin)
        return Graph(self.body.name, tuple(self.inputs), ((name, result),))

    def _retyped(self, op: Op) -> Op:
        operands = [self.new[id(o)] for o in op.operands]
        match op:
            case Constant():
                return constant(op.value, F32) if _wide(op.dtype) else op
            case Contract() | Conv() if is_float(op.dtype):
                x, y = (self._stored(o) for o in operands)
                return _with_dtype(op, (x, y), F32)
            case Attention():
                q, k, v = (self._stored(o) for o in operands[:3])
                masks = [_mask(o, q.dtype) for o in operands[3:]]
                return op.with_operands([q, cast(k, q.dtype), cast(v, q.dtype), *masks])
            case Cast():
                return self._cast(op, operands[0])
            case Pad():
                return _padded(op, operands[0])
        if is_movement(op) or isinstance(op, EXACT) or _is_maximum(op) or _is_joined(op, operands):
            return op.with_operands(operands)
        return op.with_operands([_computed(o) for o in operands])

    def _cast(self, op: Cast, x: Op) -> Op:
        """A cast to a wide float is one to float32, after rounding to what the model rounds to."""
        if not is_float(op.dtype) or op.dtype.itemsize == 1:
            return Cast(x, op.dtype).with_origin(op.origin)
        narrows = is_float(op.x.dtype) and op.dtype.itemsize < op.x.dtype.itemsize
        target = op.dtype if narrows and op.dtype.itemsize < F32.itemsize else F32
        return _converted(_converted(x, target, op.origin), F32, op.origin)

    def _stored(self, x: Op) -> Op:
        """An operand of a product: constants are rounded, other values too if they are wider."""
        if not is_float(x.dtype) or x.dtype == self.stored or x.dtype.itemsize < F32.itemsize:
            return x
        if isinstance(x, Constant):
            return narrowed(x, self.stored)
        return cast(x, self.stored)


def _narrowed_below(root: Op, dtype: DType, origin: tuple[str, ...]) -> Op:
    """The result as a type; what only gives it another shape stays last, and is no work."""
    if root.dtype == dtype or not isinstance(root, Reshape) or isinstance(root.x, Input):
        return _converted(root, dtype, origin)
    return root.with_operands([_narrowed_below(root.x, dtype, origin)])


def _converted(x: Op, dtype: DType, origin: tuple[str, ...]) -> Op:
    """A cast that remembers its node, where one is needed."""
    return x if x.dtype == dtype else Cast(x, dtype).with_origin(origin)


def _wide(dtype: DType) -> bool:
    return is_float(dtype) and dtype.itemsize >= F32.itemsize


def _computed(x: Op) -> Op:
    """A float operand in the type that arithmetic has."""
    if not is_float(x.dtype):
        return x
    return cast(x, F32 if x.dtype.itemsize > F32.itemsize else compute_dtype(x.dtype))


def _mask(x: Op, dtype: DType) -> Op:
    """The mask of an attention as a type; what is finite stays so, or a hidden row becomes NaN."""
    limit = -largest(dtype)
    if isinstance(x, Constant) and is_float(x.dtype):
        return narrowed(x, dtype)
    if limit <= -largest(x.dtype):
        return cast(x, dtype)
    inside = Max(x, constant(limit, x.dtype))
    return cast(Where(IsInf(x), x, inside), dtype)


def _with_dtype(op: Contract | Conv, operands: tuple[Op, Op], dtype: DType) -> Op:
    x, y = operands
    if isinstance(op, Contract):
        return Contract(x, y, op.equation, dtype).with_origin(op.origin)
    new = Conv(x, y, op.strides, op.pads_low, op.pads_high, op.dilations, op.groups, dtype)
    return new.with_origin(op.origin)


def _padded(op: Pad, x: Op) -> Op:
    """A pad whose value stays finite in the type of x."""
    value = op.value
    if is_float(x.dtype) and np.isfinite(value):
        limit = largest(x.dtype)
        value = min(max(float(value), -limit), limit)
    return Pad(x, op.low, op.high, value).with_origin(op.origin)


def _is_joined(op: Op, operands: list[Op]) -> bool:
    """Pieces of one type, which stay in it."""
    return isinstance(op, Concat) and len({o.dtype for o in operands}) == 1


def _is_maximum(op: Op) -> bool:
    """A maximum or minimum of a whole tensor: exact in any type."""
    return isinstance(op, Reduce | Window) and op.function in {"max", "min"}
