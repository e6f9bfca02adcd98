"""Element-wise operators."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from onnx import TensorProto

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import either_type
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.tensors import numpy_dtype
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BOOL, I32, bit_width, compute_dtype, is_float, is_integer

_UNARY: dict[str, Callable[[Op], Op]] = {
    "Abs": ops.Abs,
    "Acos": ops.Acos,
    "Acosh": ops.Acosh,
    "Asin": ops.Asin,
    "Asinh": ops.Asinh,
    "Atan": ops.Atan,
    "Atanh": ops.Atanh,
    "BitwiseNot": ops.BitNot,
    "Ceil": ops.Ceil,
    "Cos": ops.Cos,
    "Cosh": ops.Cosh,
    "Erf": ops.Erf,
    "Exp": ops.Exp,
    "Floor": ops.Floor,
    "IsNaN": ops.IsNan,
    "Log": ops.Log,
    "Neg": ops.Neg,
    "Not": ops.Not,
    "Reciprocal": ops.Reciprocal,
    "Round": ops.Round,
    "Sign": ops.Sign,
    "Sin": ops.Sin,
    "Sinh": ops.Sinh,
    "Sqrt": ops.Sqrt,
    "Tan": ops.Tan,
}
_BINARY: dict[str, Callable[[Op, Op], Op]] = {
    "Add": ops.Add,
    "And": ops.And,
    "BitwiseAnd": ops.BitAnd,
    "BitwiseOr": ops.BitOr,
    "BitwiseXor": ops.BitXor,
    "Div": ops.Div,
    "Equal": ops.Equal,
    "Less": ops.Less,
    "LessOrEqual": ops.LessEqual,
    "Mul": ops.Mul,
    "Or": ops.Or,
    "Sub": ops.Sub,
    "Xor": ops.Xor,
}
_VARIADIC: dict[str, Callable[[Op, Op], Op]] = {"Max": ops.Max, "Min": ops.Min, "Sum": ops.Add}
_EIGHT_BIT_EXPONENT = TensorProto.FLOAT8E8M0


@onnx_op(*_UNARY)
def unary(node: Node) -> Op:
    """One operand, one function."""
    return _UNARY[node.op_type](node[0])


@onnx_op(*_BINARY)
def binary(node: Node) -> Op:
    """Two operands that broadcast."""
    return _BINARY[node.op_type](node[0], node[1])


@onnx_op(*_VARIADIC)
def variadic(node: Node) -> Op:
    """Any number of operands."""
    return reduce(_VARIADIC[node.op_type], (node[i] for i in range(len(node))))


@onnx_op("Mean")
def mean(node: Node) -> Op:
    """The mean of the operands."""
    total = reduce(ops.Add, (node[i] for i in range(len(node))))
    return ops.Div(total, build.scalar(total, len(node)))


@onnx_op("Greater")
def greater(node: Node) -> Op:
    """Operands exchanged: there is one order."""
    return ops.Less(node[1], node[0])


@onnx_op("GreaterOrEqual")
def greater_or_equal(node: Node) -> Op:
    """Operands exchanged: there is one order."""
    return ops.LessEqual(node[1], node[0])


@onnx_op("Mod")
def mod(node: Node) -> Op:
    """The sign is that of the divisor, or of the dividend as in C."""
    return (ops.Fmod if node.flag("fmod") else ops.Mod)(node[0], node[1])


@onnx_op("Pow")
def power(node: Node) -> Op:
    """The exponent may have another type than the base, which is that of the result."""
    base, exponent = node[0], node[1]
    if base.dtype == exponent.dtype:
        return ops.Pow(base, exponent)
    common = _common(base.dtype, exponent.dtype)
    return build.cast(ops.Pow(build.cast(base, common), build.cast(exponent, common)), base.dtype)


def _common(base: np.dtype[Any], exponent: np.dtype[Any]) -> np.dtype[Any]:
    """The type that a power of two types is computed in: an exponent keeps its digits."""
    floats = [compute_dtype(d) for d in (base, exponent) if is_float(d)]
    if floats:
        return max(floats, key=lambda d: d.itemsize)
    both = np.promote_types(base, exponent)
    return both if is_integer(both) else base


@onnx_op("BitShift")
def bit_shift(node: Node) -> Op:
    """Left or right."""
    left = node.string("direction") == "LEFT"
    return ops.Shl(node[0], node[1]) if left else ops.Shr(node[0], node[1])


@onnx_op("IsInf")
def is_inf(node: Node) -> Op:
    """Either sign may be left out."""
    negative, positive = node.flag("detect_negative", True), node.flag("detect_positive", True)
    x, zero = node[0], build.scalar(node[0], 0)
    if not (negative or positive):
        return build.broadcast(build.constant(False, BOOL), x.shape)
    infinite = ops.IsInf(x)
    if negative and positive:
        return infinite
    return ops.And(infinite, ops.Less(zero, x) if positive else ops.Less(x, zero))


@onnx_op("Where")
def where(node: Node) -> Op:
    """A choice."""
    return ops.Where(node[0], node[1], node[2])


@onnx_op("Clip")
def clip(node: Node) -> Op:
    """Bounds are attributes before opset 11; either may be absent."""
    x = node[0]
    low, high = node.get(1), node.get(2)
    if node.opset < 11:
        low = build.scalar(x, node.number("min")) if node.has("min") else None
        high = build.scalar(x, node.number("max")) if node.has("max") else None
    x = x if low is None else ops.Max(x, low)
    return x if high is None else ops.Min(x, high)


@onnx_op("Cast")
def cast(node: Node) -> Op:
    """Another element type."""
    to = node.integer("to")
    if to == TensorProto.STRING:
        raise NotExpressible("the result is text")
    return _cast(node, node[0], numpy_dtype(to, "the result of Cast"))


@onnx_op("CastLike")
def cast_like(node: Node) -> Op:
    """The element type of another tensor."""
    return _cast(node, node[0], node[1].dtype)


def _cast(node: Node, x: Op, dtype: np.dtype[np.generic]) -> Op:
    if dtype.name.startswith("float8") and not node.flag("saturate", True):
        raise NotExpressible("casts to 8-bit floats saturate")
    if dtype.name == "float8_e8m0fnu" or "c" in {dtype.kind, x.dtype.kind}:
        raise NotExpressible(f"no casts from {x.dtype} to {dtype}")
    if is_float(x.dtype) and is_integer(dtype) and bit_width(dtype) < 8:
        x = build.cast(x, I32)  # ONNX keeps the low bits here, where larger integers saturate
    return build.cast(x, dtype)


@onnx_op("Identity")
def identity(node: Node) -> Op:
    """The same tensor."""
    return node[0]


@onnx_op("Dropout")
def dropout(node: Node) -> list[Op | None]:
    """Nothing in inference; the mask keeps everything."""
    training = node.value(2)
    ratio = node.value(1)
    if training is not None and training.item() and (ratio is None or ratio.item() != 0):
        raise NotExpressible("Dropout in training mode is random")
    kept = build.constant(True, either_type(node.opset >= 10, BOOL, node[0].dtype))
    return [node[0], build.broadcast(kept, node[0].shape) if node.wants(1) else None]
