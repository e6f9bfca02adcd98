"""The operators of onnxruntime (com.microsoft) that its optimizer and its quantizer write."""

from __future__ import annotations

from collections.abc import Callable

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import channels, plus, wide
from kcompiler.frontend.importers.convolution import convolved
from kcompiler.frontend.importers.products import times
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.schemas import MICROSOFT
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op

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
    a = _batch_first(node[0]) if node.flag("transBatchA") else node[0]
    b = _batch_first(node[1]) if node.flag("transBatchB") else node[1]
    if node.flag("transA") and a.type.rank > 1:
        a = build.swap_axes(a, -1, -2)
    if node.flag("transB") and b.type.rank > 1:
        b = build.swap_axes(b, -1, -2)
    return times(build.matmul(a, b), node.number("alpha", 1.0))


def _batch_first(x: Op) -> Op:
    """The first dimension behind those of the batch, which follow it."""
    rank = x.type.rank
    return build.transpose(x, (*range(1, rank - 1), 0, rank - 1)) if rank > 2 else x


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
