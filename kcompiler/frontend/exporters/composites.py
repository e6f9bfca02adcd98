"""Composites: their formulas in float32, rounded once."""

from __future__ import annotations

from collections.abc import Sequence

from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import exports
from kcompiler.graph.operators import Attention, LayerNorm, RmsNorm, Softmax
from kcompiler.graph.types import compute_dtype


def _wide(net: Net, xs: Sequence[str]) -> list[str]:
    return [net.cast(x, compute_dtype(net.dtypes[x])) for x in xs]


@exports(Softmax)
def softmax(net: Net, op: Softmax, *operands: str) -> str:
    """exp(x) over its sum."""
    (x,) = _wide(net, operands)
    return net.cast(net("Softmax", x, axis=op.axis), op.dtype)


@exports(LayerNorm)
def layer_norm(net: Net, op: LayerNorm, *operands: str) -> str:
    """Around the mean, by the standard deviation."""
    x, *rest = _wide(net, operands)
    given = iter(rest)
    result = _by_root(net, net("Sub", x, _mean(net, x, op.axes)), op.axes, op.epsilon)
    result = result if op.scale is None else net("Mul", result, next(given))
    result = result if op.bias is None else net("Add", result, next(given))
    return net.cast(result, op.dtype)


@exports(RmsNorm)
def rms_norm(net: Net, op: RmsNorm, *operands: str) -> str:
    """By the root of the mean square."""
    x, *scale = _wide(net, operands)
    result = _by_root(net, x, op.axes, op.epsilon)
    return net.cast(net("Mul", result, *scale) if scale else result, op.dtype)


def _mean(net: Net, x: str, axes: Sequence[int]) -> str:
    return net("ReduceMean", x, net.ints(axes), keepdims=1) if axes else x


def _by_root(net: Net, x: str, axes: Sequence[int], epsilon: float) -> str:
    power = _mean(net, net("Mul", x, x), axes)
    return net("Div", x, net("Sqrt", net("Add", power, net.number(epsilon, x))))


@exports(Attention)
def attention(net: Net, op: Attention, *operands: str) -> str:
    """softmax(q kᵀ * scale + mask) v."""
    q, k, v, *mask = _wide(net, operands)
    rank = len(op.shape)
    turned = net("Transpose", k, perm=(*range(rank - 2), rank - 1, rank - 2))
    logits = net("MatMul", net("Mul", q, net.number(op.scale, q)), turned)
    logits = net("Add", logits, *mask) if mask else logits
    return net.cast(net("MatMul", net("Softmax", logits, axis=-1), v), op.dtype)
