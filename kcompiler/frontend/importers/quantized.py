"""Quantized operators as arithmetic: rounding is half to even, sums of products are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kcompiler.errors import ModelError
from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import channels
from kcompiler.frontend.importers.convolution import convolved
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.schemas import MICROSOFT
from kcompiler.frontend.tensors import numpy_dtype
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.types import F32, I32, compute_dtype, is_float, is_integer
from kcompiler.scalar import highest, lowest

_I16 = np.dtype(np.int16)
_U8 = np.dtype(np.uint8)


def quantized(x: Op, scale: Op, zero: Op | None, dtype: np.dtype[Any]) -> Op:
    """X / scale rounded, plus the zero point, saturated."""
    if _known(scale, zero) and _narrow(dtype) and compute_dtype(x.dtype) == scale.dtype:
        return ops.Quantize(x, scale, _zero(zero, dtype))
    ratio = ops.Div(x, build.cast(scale, x.dtype))
    if is_float(dtype):
        return build.cast(ratio, dtype)
    whole: Op = ops.Round(ratio)
    if zero is not None:
        whole = ops.Add(whole, build.cast(zero, x.dtype))
    low, high = build.scalar(whole, lowest(dtype)), build.scalar(whole, highest(dtype))
    return build.cast(ops.Min(ops.Max(whole, low), high), dtype)


def dequantized(x: Op, scale: Op, zero: Op | None) -> Op:
    """(x - zero) scale, in the compute type of the scale."""
    wide = compute_dtype(scale.dtype)
    if _known(scale, zero) and _narrow(x.dtype):
        return ops.Dequantize(x, build.cast(scale, wide), _zero(zero, x.dtype))
    number = build.cast(x, wide)
    if zero is not None and is_integer(zero.dtype):
        number = ops.Sub(number, build.cast(zero, wide))
    return ops.Mul(number, build.cast(scale, wide))


def _checked(zero: Op | None) -> Op | None:
    """A zero point; raises `ModelError` for one of floats that is not 0, as ONNX has none."""
    if zero is None or is_integer(zero.dtype):
        return zero
    value = _value(zero)
    if value is None:
        raise NotExpressible("a zero point of floats that nobody knows to be 0")
    if value.any():
        first = value[value != 0].astype(np.float32).flat[0]
        raise ModelError(
            f"a zero point of 8-bit floats is {first:g}",
            fix="make it 0: floats of 8 bits have no other zero point",
        )
    return zero


def _value(op: Op) -> Array | None:
    """The value of what follows from constants; None of anything else."""
    if isinstance(op, Constant):
        return op.value
    operands = [_value(o) for o in op.operands]
    if not operands or any(o is None for o in operands):
        return None
    return op.evaluate(*(o for o in operands if o is not None))


def _zero(given: Op | None, dtype: np.dtype[Any]) -> Op:
    """The zero point; that of floats is 0: ONNX's QuantizeLinear takes its type and no more."""
    return build.constant(0, dtype) if given is None or is_float(dtype) else given


def _narrow(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one that quantized tensors have: passes compute in it."""
    return is_integer(dtype) or dtype.name.startswith(("float8_e4m3", "float8_e5m2"))


def _known(*parameters: Op | None) -> bool:
    """Whether the parameters follow from constants: passes know what to do with those."""
    given = [p for p in parameters if p is not None and not isinstance(p, Constant)]
    return all(p.operands and _known(*p.operands) for p in given)


@onnx_op("QuantizeLinear")
@onnx_op("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(node: Node) -> Op:
    """For the whole tensor, for each slice of an axis, or for blocks of an axis."""
    x, zero = node[0], node.get(2)
    dtype = _U8 if zero is None else zero.dtype
    if node.integer("output_dtype", 0):
        dtype = numpy_dtype(node.integer("output_dtype"), "the result of QuantizeLinear")
    if dtype.name.startswith("float8") and not node.flag("saturate", True):
        raise NotExpressible("casts to 8-bit floats saturate")
    if node.integer("precision", 0):
        raise NotExpressible("division in another precision")
    wide = build.cast(x, compute_dtype(x.dtype) if is_float(x.dtype) else F32)
    scale = _spread(node, node[1], x)
    return quantized(wide, scale, None if zero is None else _spread(node, zero, x), dtype)


@onnx_op("DequantizeLinear")
@onnx_op("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(node: Node) -> Op:
    """For the whole tensor, for each slice of an axis, or for blocks of an axis."""
    x, zero = node[0], _checked(node.get(2))
    dtype = node[1].dtype
    if node.integer("output_dtype", 0):
        dtype = numpy_dtype(node.integer("output_dtype"), "the result of DequantizeLinear")
    scale = _spread(node, node[1], x)
    spread = None if zero is None else _spread(node, zero, x)
    return build.cast(dequantized(x, scale, spread), dtype)


def _spread(node: Node, parameter: Op, x: Op) -> Op:
    """A scale or zero point in a shape that broadcasts to x."""
    if parameter.type.size == 1 and parameter.type.rank <= 1:
        return build.reshape(parameter, ())
    axis = build.normal_axis(node.integer("axis", 1), x.type.rank)
    block = node.integer("block_size", 0)
    if not block:
        return build.reshape(parameter, (parameter.type.size, *(1,) * (x.type.rank - axis - 1)))
    before, after = parameter.shape[: axis + 1], parameter.shape[axis + 1 :]
    apart = build.reshape(parameter, (*before, 1, *after))
    repeated = build.broadcast(apart, (*before, block, *after))
    whole = build.reshape(repeated, (*before[:-1], before[-1] * block, *after))
    return build.slice_axis(whole, axis, 0, x.shape[axis])


@onnx_op("ConvInteger")
def conv_integer(node: Node) -> Op:
    """A convolution of differences from zero points, in int32."""
    return integer_conv(node, node[0], node.get(2), node[1], node.get(3))


def integer_conv(node: Node, x: Op, x_zero: Op | None, w: Op, w_zero: Op | None) -> Op:
    """The convolution in int32.

    With a known zero point of x the raw bytes are convolved, padded with the zero point, and what
    it contributes is subtracted: it depends on the weights alone.
    """
    w = _minus_zero(w, w_zero, lambda z: build.reshape(z, (z.type.size, *(1,) * (w.type.rank - 1))))
    known = 0 if x_zero is None else _item(x_zero)
    if known is None or x_zero is None:
        return convolved(node, _minus_zero(x, x_zero), w, I32)
    y = convolved(node, x, w, I32, fill=known)
    if not known:
        return y
    total = build.reduce_sum(build.cast(w, I32), tuple(range(1, w.type.rank)))
    correction = ops.Mul(total, build.constant(known, I32))
    return ops.Sub(y, channels(correction, y.type.rank))


@onnx_op("QLinearConv")
def qlinear_conv(node: Node) -> Op:
    """Integer convolution, bias in int32, one rescaling."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (node[i] for i in range(8))
    y = integer_conv(node, x, x_zero, w, w_zero)
    bias = node.get(8)
    if bias is not None:
        y = ops.Add(y, channels(bias, y.type.rank))
    if w_scale.type.size > 1:
        w_scale = channels(w_scale, y.type.rank)
    return rescaled(y, x_scale, w_scale, y_scale, y_zero)


def rescaled(sums: Op, x_scale: Op, w_scale: Op, y_scale: Op, y_zero: Op) -> Op:
    """int32 sums times (x_scale w_scale / y_scale), rounded, plus the zero point, saturated."""
    factor = ops.Div(ops.Mul(_flat(x_scale), _flat(w_scale)), _flat(y_scale))
    one = build.constant(1, F32)
    scaled = ops.Mul(build.cast(sums, F32), build.cast(factor, F32))
    return quantized(scaled, one, _flat(y_zero), y_zero.dtype)


@onnx_op("MatMulInteger")
def mat_mul_integer(node: Node) -> Op:
    """A product of differences from zero points, in int32."""
    return integer_product(node[0], node.get(2), node[1], node.get(3))


def integer_product(x: Op, x_zero: Op | None, w: Op, w_zero: Op | None) -> Op:
    """The matrix product in int32; a known zero point is subtracted afterwards, as for `Conv`."""
    w = _minus_zero(w, w_zero, _columns)
    known = 0 if x_zero is None else _item(x_zero)
    if known is None or x_zero is None or x.type.rank < 2 or w.type.rank < 2:
        return build.matmul(_minus_zero(x, x_zero, _rows), w, I32)
    y = build.matmul(x, w, I32)
    if not known:
        return y
    total = build.reduce_sum(build.cast(w, I32), [-2])
    return ops.Sub(y, ops.Mul(total, build.constant(known, I32)))


def _rows(zero: Op) -> Op:
    """One zero point a row."""
    return build.expand_dims(zero, [-1]) if zero.type.rank else zero


def _columns(zero: Op) -> Op:
    """One zero point a column: it broadcasts as it is."""
    return zero


@onnx_op("QLinearMatMul")
def qlinear_mat_mul(node: Node) -> Op:
    """Integer product, one rescaling."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (node[i] for i in range(8))
    if any(p.type.size > 1 and p.type.rank > 1 for p in (a_scale, b_scale, y_scale)):
        raise NotExpressible("scales of more than one dimension")
    y = integer_product(a, a_zero, b, b_zero)
    rows = build.expand_dims(a_scale, [-1]) if a_scale.type.size > 1 else a_scale
    return rescaled(y, rows, b_scale, y_scale, y_zero)


def _item(zero: Op) -> int | None:
    """A zero point that is known and one number."""
    if isinstance(zero, Constant) and zero.value.size == 1:
        return int(zero.value.reshape(()).item())
    return None


def _minus_zero(x: Op, zero: Op | None, shaped: Callable[[Op], Op] = lambda z: z) -> Op:
    """X without its zero point; nine bits need int16."""
    if zero is None or (isinstance(zero, Constant) and not zero.value.any()):
        return x
    zero = _flat(zero) if zero.type.size == 1 else shaped(zero)
    return ops.Sub(build.cast(x, _I16), build.cast(zero, _I16))


def _flat(x: Op) -> Op:
    """One number without dimensions; anything else as it is."""
    return build.reshape(x, ()) if x.type.size == 1 else x
