"""Integers, or 8-bit floats, that stand for numbers: `number = (integer - zero) * scale`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompiler.graph.node import Array, Constant, Op, Tensor
from kcompiler.graph.operators.arithmetic import Add, Div, Max, Min, Mul, Round, Sub
from kcompiler.graph.operators.check import broadcast_shape, require
from kcompiler.graph.operators.elementwise import Cast
from kcompiler.graph.types import TensorType, compute_dtype, is_float, is_integer
from kcompiler.scalar import convert, highest, lowest


class Quantize(Op):
    """x / scale, rounded half to even, plus zero, saturated to the integers of zero's type.

    8-bit floats are rounded and saturate as well, and have no zero point: theirs is 0, and says
    which of the types it is. Scale and zero broadcast to x: one number, or one a channel, or one a
    block.
    """

    x: Tensor
    scale: Tensor
    zero: Tensor

    def infer(self) -> TensorType:
        _check(self, self.x, self.scale, self.zero)
        same = self.scale.dtype == compute_dtype(self.x.dtype)
        require(is_float(self.x.dtype) and same, self, "scale has the type that x computes in")
        return TensorType(self.zero.dtype, self.x.shape)

    def arithmetic(self) -> Op:
        """The same in element-wise operators."""
        dtype = self.scale.dtype
        ratio = _divided(_cast(self.x, dtype), self.scale)
        if is_float(self.dtype):
            return Cast(ratio, self.dtype)
        whole: Op = Round(ratio)
        if not _is_zero(self.zero):
            whole = Add(whole, _cast(self.zero, dtype))
        low, high = (_number(bound(self.dtype), dtype) for bound in (lowest, highest))
        return Cast(Min(Max(whole, low), high), self.dtype)

    def evaluate(self, x: Array, scale: Array, zero: Array) -> Array:
        with np.errstate(all="ignore"):
            ratio = np.asarray(x.astype(scale.dtype, copy=False) / scale)
        if is_float(self.dtype):
            return convert(ratio, self.dtype)
        whole = np.rint(ratio, out=ratio)
        whole += zero.astype(scale.dtype)
        low, high = (convert(np.array(f(self.dtype)), scale.dtype) for f in (lowest, highest))
        return convert(np.clip(whole, low, high, out=whole), self.dtype)


class Dequantize(Op):
    """(x - zero) * scale: the numbers that integers or 8-bit floats stand for, in scale's type.

    Scale and zero broadcast to x: one number, or one a channel, or one a block.
    """

    x: Tensor
    scale: Tensor
    zero: Tensor

    def infer(self) -> TensorType:
        _check(self, self.x, self.scale, self.zero)
        require(self.x.dtype == self.zero.dtype, self, "zero has the type of x")
        wide = is_float(self.scale.dtype) and compute_dtype(self.scale.dtype) == self.scale.dtype
        require(wide, self, "scale is float32 or float64")
        return TensorType(self.scale.dtype, self.x.shape)

    def arithmetic(self) -> Op:
        """The same in element-wise operators."""
        number: Op = Cast(self.x, self.dtype)
        if not _is_zero(self.zero):
            number = Sub(number, _cast(self.zero, self.dtype))
        return Mul(number, self.scale)

    def evaluate(self, x: Array, scale: Array, zero: Array) -> Array:
        number = np.array(x, scale.dtype)
        number -= zero.astype(scale.dtype)
        number *= scale
        return number


def _check(op: Op, x: Op, scale: Op, zero: Op) -> None:
    eight = is_float(zero.dtype) and zero.dtype.itemsize == 1
    require(is_integer(zero.dtype) or eight, op, "zero must be integers or 8-bit floats")
    none = is_integer(zero.dtype) or not isinstance(zero, Constant) or _is_zero(zero)
    require(none, op, "zero of 8-bit floats is 0")
    whole = broadcast_shape(op, x.shape, scale.shape, zero.shape)
    require(whole == x.shape, op, "scale and zero must broadcast to x")


def _is_zero(zero: Op) -> bool:
    return isinstance(zero, Constant) and not zero.value.any()


def _divided(x: Op, scale: Op) -> Op:
    """The ratio; by powers of two as a product, which is as exact and takes no division."""
    if isinstance(scale, Constant) and (np.frexp(scale.value)[0] == 0.5).all():
        inverse = np.ldexp(np.ones_like(scale.value), 1 - np.frexp(scale.value)[1])
        if np.isfinite(inverse).all():
            return Mul(x, Constant(inverse))
    return Div(x, scale)


def _cast(x: Op, dtype: np.dtype[Any]) -> Op:
    if isinstance(x, Constant):
        return Constant(convert(x.value, dtype))
    return x if x.dtype == dtype else Cast(x, dtype)


def _number(value: float, dtype: np.dtype[Any]) -> Constant:
    return Constant(convert(np.asarray(value), dtype))
