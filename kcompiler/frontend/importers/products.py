"""Matrix products and Einstein sums."""

from __future__ import annotations

from kcompiler.frontend.einsum import einsum
from kcompiler.frontend.helpers import plus
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op


@onnx_op("MatMul")
def mat_mul(node: Node) -> Op:
    """Numpy's matmul."""
    return build.matmul(node[0], node[1])


@onnx_op("Gemm")
def gemm(node: Node) -> Op:
    """Alpha A B + beta C, with A and B transposed or not."""
    a, b, c = node[0], node[1], node.get(2)
    x = "ki" if node.flag("transA") else "ik"
    y = "jk" if node.flag("transB") else "kj"
    product = ops.Contract(a, b, f"{x},{y}->ij", a.dtype)
    scaled = times(product, node.number("alpha", 1.0))
    return plus(scaled, None if c is None else times(c, node.number("beta", 1.0)))


def times(x: Op, factor: float) -> Op:
    """X times a number, nothing for 1."""
    return x if factor == 1 else ops.Mul(x, build.scalar(x, factor))


@onnx_op("Einsum")
def einstein(node: Node) -> Op:
    """Any number of operands, two at a time."""
    return einsum(node.string("equation"), [node[i] for i in range(len(node))])
