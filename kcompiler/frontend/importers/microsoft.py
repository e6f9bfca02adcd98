"""The operators of onnxruntime (com.microsoft) that its optimizer and its quantizer write."""

from __future__ import annotations

from collections.abc import Callable

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import channels, plus, wide
from kcompiler.frontend.importers.convolution import convolved
from kcompiler.frontend.importers.products import times
from kcompiler.frontend.importers.quantized import (
    dequantized,
    integer_product,
    quantized,
    rescaled,
)
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.schemas import MICROSOFT
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import F32

_FUNCTIONS: dict[str, Callable[[Op, Node], Op]] = {
    "Relu": lambda x, _: ops.Relu(x),
    "Sigmoid": lambda x, _: ops.Sigmoid(x),
    "Tanh": lambda x, _: ops.Tanh(x),
}


@onnx_op("Gelu", domain=MICROSOFT)
def gelu(node: Node) -> Op:
    """By erf."""
    return ops.Gelu(node[0])


@onnx_op("BiasGelu", domain=MICROSOFT)
def bias_gelu(node: Node) -> Op:
    """Gelu of a sum."""
    return ops.Gelu(ops.Add(node[0], node[1]))


@onnx_op("FastGelu", domain=MICROSOFT)
def fast_gelu(node: Node) -> Op:
    """By tanh, with an optional bias."""
    return ops.GeluTanh(plus(node[0], node.get(1)))


@onnx_op("QuickGelu", domain=MICROSOFT)
def quick_gelu(node: Node) -> Op:
    """X sigmoid(alpha x)."""
    x, alpha = node[0], node.number("alpha", 1.702)
    return wide(x, lambda v: ops.Mul(v, ops.Sigmoid(times(v, alpha))))


@onnx_op("FusedMatMul", domain=MICROSOFT)
def fused_mat_mul(node: Node) -> Op:
    """A matrix product with transposes and a factor."""
    if node.flag("transBatchA") or node.flag("transBatchB"):
        raise NotExpressible("FusedMatMul with a transposed batch")
    a, b = node[0], node[1]
    if node.flag("transA") and a.type.rank > 1:
        a = build.swap_axes(a, -1, -2)
    if node.flag("transB") and b.type.rank > 1:
        b = build.swap_axes(b, -1, -2)
    return times(build.matmul(a, b), node.number("alpha", 1.0))


@onnx_op("FusedConv", domain=MICROSOFT)
def fused_conv(node: Node) -> Op:
    """A convolution, an optional sum, and an activation."""
    name = node.string("activation", "Relu")
    if name not in _FUNCTIONS:
        raise NotExpressible(f"FusedConv with {name}")
    y = convolved(node, node[0], node[1], node[0].dtype)
    bias = node.get(2)
    y = y if bias is None else ops.Add(y, channels(bias, y.type.rank))
    return _FUNCTIONS[name](plus(y, node.get(3)), node)


@onnx_op("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_normalization(node: Node) -> list[Op | None]:
    """LayerNorm of a sum, which is the fourth result."""
    total = plus(ops.Add(node[0], node[1]), node.get(4))
    axes, epsilon = (total.type.rank - 1,), node.number("epsilon", 1e-12)
    return [ops.LayerNorm(total, node[2], node.get(3), axes, epsilon), None, None, total]


@onnx_op("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_simplified_layer_normalization(node: Node) -> list[Op | None]:
    """RmsNorm of a sum, which is the fourth result."""
    total = plus(ops.Add(node[0], node[1]), node.get(3))
    axes, epsilon = (total.type.rank - 1,), node.number("epsilon", 1e-12)
    return [ops.RmsNorm(total, node[2], axes, epsilon), None, None, total]


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
