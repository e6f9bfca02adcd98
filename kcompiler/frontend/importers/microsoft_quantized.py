"""The quantized operators of onnxruntime (com.microsoft)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import plus
from kcompiler.frontend.importers.pooling import average
from kcompiler.frontend.importers.quantized import (
    dequantized,
    integer_product,
    quantized,
    rescaled,
)
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.schemas import MICROSOFT
from kcompiler.frontend.windows import read_windows
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Op
from kcompiler.graph.types import BOOL, F32, compute_dtype


@onnx_op("QLinearAdd", domain=MICROSOFT)
def qlinear_add(node: Node) -> Op:
    """The sum of the numbers that are meant, quantized again."""
    return _on_numbers(node, ops.Add)


@onnx_op("QLinearMul", domain=MICROSOFT)
def qlinear_mul(node: Node) -> Op:
    """The product of the numbers that are meant, quantized again."""
    return _on_numbers(node, ops.Mul)


def _on_numbers(node: Node, function: Callable[[Op, Op], Op]) -> Op:
    a = dequantized(node[0], _one(node, 1), node.get(2))
    b = dequantized(node[3], _one(node, 4), node.get(5))
    return _again(function(a, b), node, 6, node[0])


@onnx_op("QLinearSigmoid", domain=MICROSOFT)
def qlinear_sigmoid(node: Node) -> Op:
    """The sigmoid of the numbers that are meant, quantized again."""
    x = dequantized(node[0], _one(node, 1), node.get(2))
    return _again(ops.Sigmoid(x), node, 3, node[0])


@onnx_op("QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_global_average_pool(node: Node) -> Op:
    """The mean of the numbers that are meant, quantized again."""
    x = node[0]
    last = node.flag("channels_last")
    axes = range(1, x.type.rank - 1) if last else range(2, x.type.rank)
    numbers = dequantized(x, _one(node, 1), node.get(2))
    return _again(build.mean(numbers, tuple(axes)), node, 3, x)


@onnx_op("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(node: Node) -> Op:
    """Tensors of different scales, brought to one."""
    parts = [
        dequantized(node[i], _one(node, i + 1), node.get(i + 2)) for i in range(2, len(node), 3)
    ]
    return _again(build.concat(parts, node.integer("axis")), node, 0, node[2])


def _one(node: Node, index: int) -> Op:
    return build.reshape(node[index], ())


def _again(numbers: Op, node: Node, index: int, like: Op) -> Op:
    """Quantized by the scale and zero point at `index`."""
    zero = node.get(index + 1)
    dtype = like.dtype if zero is None else zero.dtype
    flat = None if zero is None else build.reshape(zero, ())
    return quantized(numbers, _one(node, index), flat, dtype)


@onnx_op("QGemm", domain=MICROSOFT)
def q_gemm(node: Node) -> Op:
    """Integer product and bias; without an output scale the result is float."""
    a, b = node[0], node[3]
    a = build.swap_axes(a, 0, 1) if node.flag("transA") else a
    b = build.swap_axes(b, 0, 1) if node.flag("transB") else b
    sums = integer_product(a, node[2], b, node[5])
    sums = plus(sums, node.get(6))
    alpha = build.constant(node.number("alpha", 1.0), F32)
    a_scale, b_scale = ops.Mul(_one(node, 1), alpha), node[4]
    y_scale, y_zero = node.get(7), node.get(8)
    if y_scale is None or y_zero is None:
        return ops.Mul(build.cast(sums, F32), ops.Mul(a_scale, b_scale))
    return rescaled(sums, a_scale, b_scale, y_scale, y_zero)


@onnx_op("QLinearLeakyRelu", domain=MICROSOFT)
def qlinear_leaky_relu(node: Node) -> Op:
    """The leaky relu of the numbers that are meant, quantized again."""
    x = dequantized(node[0], _one(node, 1), node.get(2))
    slope = build.scalar(x, node.number("alpha", 0.01))
    leaky = ops.Where(ops.Less(x, build.scalar(x, 0)), ops.Mul(x, slope), x)
    return _again(leaky, node, 3, node[0])


@onnx_op("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(node: Node) -> Op:
    """The softmax of the numbers that are meant; before opset 13 over all later dimensions."""
    x = dequantized(node[0], _one(node, 1), node.get(2))
    axis = build.normal_axis(node.integer("axis", -1), x.type.rank)
    flat = x
    if node.integer("opset") < 13:
        flat = build.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
        axis = 1
    return _again(build.reshape(ops.Softmax(flat, axis), x.shape), node, 3, node[0])


@onnx_op("QLinearAveragePool", domain=MICROSOFT)
def qlinear_average_pool(node: Node) -> Op:
    """The mean of each window of the numbers that are meant, quantized again."""
    if node.flag("channels_last"):
        raise NotExpressible("QLinearAveragePool with channels last")
    x = dequantized(node[0], _one(node, 1), node.get(2))
    w = read_windows(node, x.shape[2:], node.integers("kernel_shape"))
    return _again(average(x, w, node), node, 3, node[0])


@onnx_op("QLinearWhere", domain=MICROSOFT)
def qlinear_where(node: Node) -> Op:
    """A choice between numbers of different scales, quantized again."""
    x = dequantized(node[1], _one(node, 2), node.get(3))
    y = dequantized(node[4], _one(node, 5), node.get(6))
    return _again(ops.Where(build.cast(node[0], BOOL), x, y), node, 7, node[1])


@onnx_op("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_quantize_mat_mul(node: Node) -> Op:
    """The left side is quantized to its own range; the product is exact, and scaled."""
    a, scale, zero = _dynamically(node[0])
    sums = integer_product(a, zero, node[1], node.get(3))
    factor = ops.Mul(scale, _spread(node[2]))
    return plus(ops.Mul(build.cast(sums, F32), factor), node.get(4))


@onnx_op("MatMulIntegerToFloat", domain=MICROSOFT)
def mat_mul_integer_to_float(node: Node) -> Op:
    """An exact product of integers, scaled."""
    sums = integer_product(node[0], node.get(4), node[1], node.get(5))
    factor = ops.Mul(_spread(node[2]), _spread(node[3]))
    return plus(ops.Mul(build.cast(sums, factor.dtype), factor), node.get(6))


def _spread(scale: Op) -> Op:
    """One scale, or one for each column."""
    return build.reshape(scale, ()) if scale.type.size == 1 else scale


def _dynamically(x: Op) -> tuple[Op, Op, Op]:
    """Bytes, scale and zero point: the range of x and 0 in 255 steps."""
    axes, zero = tuple(range(x.type.rank)), build.scalar(x, 0)
    low = ops.Min(build.reshape(build.reduce_min(x, axes), ()), zero)
    high = ops.Max(build.reshape(build.reduce_max(x, axes), ()), zero)
    ratio = ops.Div(ops.Sub(high, low), build.scalar(x, 255))
    scale = ops.Where(ops.Equal(low, high), build.scalar(x, 1), ratio)
    place = ops.Round(ops.Div(ops.Neg(low), scale))
    byte = np.dtype(np.uint8)
    at = build.cast(ops.Min(ops.Max(place, zero), build.scalar(x, 255)), byte)
    return quantized(x, scale, at, byte), scale, at


@onnx_op("MatMulNBits", domain=MICROSOFT)
def mat_mul_n_bits(node: Node) -> Op:
    """A product with weights of 2, 4 or 8 bits, in blocks of one scale and zero point each."""
    if node.get(4) is not None:
        raise NotExpressible("MatMulNBits with g_idx, an order of its columns")
    bits, rows, depth = node.integer("bits", 4), node.integer("N"), node.integer("K")
    block = node.integer("block_size")
    if bits not in {2, 4, 8}:
        raise NotExpressible(f"MatMulNBits with {bits} bits")
    blocks = -(-depth // block)
    weights = _unpacked(node.known(1).reshape(rows, blocks, -1), bits)[..., :block]
    zeros = _zeros(node.value(3), (rows, blocks), bits)
    x = node[0]
    wide = compute_dtype(x.dtype)
    scales = node.known(2).reshape(rows, blocks, 1).astype(wide)
    numbers = (weights.astype(wide) - zeros[..., None].astype(wide)) * scales
    table = numbers.reshape(rows, blocks * block)[:, :depth]
    product = build.matmul(x, build.constant(np.ascontiguousarray(table.T), x.dtype))
    return plus(product, node.get(5))


def _zeros(given: Array | None, shape: tuple[int, int], bits: int) -> Array:
    """The zero point of each block: numbers, or packed like weights, or the middle of the range."""
    if given is None:
        return np.full(shape, 1 << (bits - 1))
    if given.dtype != np.uint8:
        return given.reshape(shape)
    return _unpacked(given.reshape(shape[0], -1), bits)[:, : shape[1]]


def _unpacked(packed: Array, bits: int) -> Array:
    """The numbers in bytes, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    found = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return found.reshape(*packed.shape[:-1], -1)
