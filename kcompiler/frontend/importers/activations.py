"""Activations; those with parameters are written in simpler functions."""

from __future__ import annotations

from collections.abc import Callable

from kcompiler.frontend.helpers import wide
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import F32, is_float

_PLAIN: dict[str, Callable[[Op], Op]] = {
    "HardSwish": ops.HardSwish,
    "Mish": ops.Mish,
    "Relu": ops.Relu,
    "Sigmoid": ops.Sigmoid,
    "Softplus": ops.Softplus,
    "Softsign": ops.Softsign,
    "Tanh": ops.Tanh,
}


@onnx_op(*_PLAIN)
def plain(node: Node) -> Op:
    """One graph operator."""
    return _PLAIN[node.op_type](node[0])


@onnx_op("Gelu")
def gelu(node: Node) -> Op:
    """By erf or by tanh."""
    by_tanh = node.string("approximate", "none") == "tanh"
    return ops.GeluTanh(node[0]) if by_tanh else ops.Gelu(node[0])


@onnx_op("Swish")
def swish(node: Node) -> Op:
    """X sigmoid(alpha x)."""
    x, alpha = node[0], node.number("alpha", 1.0)
    if alpha == 1:
        return ops.Silu(x)
    return wide(x, lambda v: ops.Mul(v, ops.Sigmoid(_times(v, alpha))))


@onnx_op("HardSigmoid")
def hard_sigmoid(node: Node) -> Op:
    """max(0, min(1, alpha x + beta))."""
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    return wide(node[0], lambda x: hard_sigmoid_of(x, alpha, beta))


def hard_sigmoid_of(x: Op, alpha: float, beta: float) -> Op:
    """max(0, min(1, alpha x + beta))."""
    line = ops.Add(_times(x, alpha), build.scalar(x, beta))
    return ops.Min(ops.Max(line, build.scalar(x, 0)), build.scalar(x, 1))


@onnx_op("LeakyRelu")
def leaky_relu(node: Node) -> Op:
    """X where positive, else alpha x."""
    return leaky_relu_of(node[0], node.number("alpha", 0.01))


def leaky_relu_of(x: Op, alpha: float) -> Op:
    """X where positive, else alpha x; without a choice wherever the larger one is right."""
    scaled = _times(x, alpha)
    return ops.Max(x, scaled) if 0 <= alpha <= 1 else _negative(x, scaled)


@onnx_op("PRelu")
def prelu(node: Node) -> Op:
    """X where positive, else slope x."""
    return _negative(node[0], ops.Mul(node[1], node[0]))


@onnx_op("ThresholdedRelu")
def thresholded_relu(node: Node) -> Op:
    """X above alpha, else 0."""
    return thresholded_relu_of(node[0], node.number("alpha", 1.0))


def thresholded_relu_of(x: Op, alpha: float) -> Op:
    """X above alpha, else 0."""
    return ops.Where(ops.Less(build.scalar(x, alpha), x), x, build.scalar(x, 0))


@onnx_op("Elu")
def elu(node: Node) -> Op:
    """X where positive, else alpha (exp(x) - 1)."""
    alpha = node.number("alpha", 1.0)
    return wide(node[0], lambda x: elu_of(x, alpha))


def elu_of(x: Op, alpha: float) -> Op:
    """X where positive, else alpha (exp(x) - 1)."""
    return _negative(x, _times(ops.Sub(ops.Exp(x), build.scalar(x, 1)), alpha))


@onnx_op("Selu")
def selu(node: Node) -> Op:
    """Gamma times elu."""
    alpha = node.number("alpha", 1.67326319217681884765625)
    gamma = node.number("gamma", 1.05070102214813232421875)
    return wide(node[0], lambda x: _times(elu_of(x, alpha), gamma))


@onnx_op("Celu")
def celu(node: Node) -> Op:
    """X where positive, else alpha (exp(x / alpha) - 1)."""
    alpha = node.number("alpha", 1.0)

    def compute(x: Op) -> Op:
        power = ops.Exp(ops.Div(x, build.scalar(x, alpha)))
        return _negative(x, _times(ops.Sub(power, build.scalar(x, 1)), alpha))

    return wide(node[0], compute)


@onnx_op("Shrink")
def shrink(node: Node) -> Op:
    """0 in the middle, moved toward it outside."""
    given, lambd = node[0], node.number("lambd", 0.5)
    x = given if is_float(given.dtype) else build.cast(given, F32)  # the bias may be a fraction
    bias, zero = build.scalar(x, node.number("bias", 0.0)), build.scalar(x, 0)
    below = ops.Less(x, build.scalar(x, -lambd))
    above = ops.Less(build.scalar(x, lambd), x)
    moved = ops.Where(below, ops.Add(x, bias), ops.Where(above, ops.Sub(x, bias), zero))
    return build.cast(moved, given.dtype)


def _times(x: Op, factor: float) -> Op:
    return x if factor == 1 else ops.Mul(x, build.scalar(x, factor))


def _negative(x: Op, replacement: Op) -> Op:
    """x, and something else where x is negative."""
    return ops.Where(ops.Less(x, build.scalar(x, 0)), replacement, x)
