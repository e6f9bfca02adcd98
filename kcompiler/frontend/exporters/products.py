"""Sums of products: in the accumulator's type, then converted once."""

from __future__ import annotations

import math
from itertools import product

from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import exports
from kcompiler.frontend.exporters.elementwise import convert
from kcompiler.frontend.exporters.movement import cut
from kcompiler.graph.matmul import accumulator
from kcompiler.graph.operators import Contract, Conv
from kcompiler.graph.types import F32


@exports(Contract)
def contract(net: Net, op: Contract, x: str, y: str) -> str:
    """Einstein's notation is ONNX's, too."""
    acc = accumulator(op.x.dtype, op.y.dtype)
    total = net("Einsum", net.cast(x, acc), net.cast(y, acc), equation=op.equation)
    return convert(net, total, op.dtype)


@exports(Conv)
def conv(net: Net, op: Conv, x: str, w: str) -> str:
    """Onnxruntime convolves float32; other types are unfolded to a matrix product."""
    acc = accumulator(op.x.dtype, op.w.dtype)
    x, w = net.cast(x, acc), net.cast(w, acc)
    if acc != F32:
        return convert(net, _unfolded(net, op, x, w), op.dtype)
    pads = (*op.pads_low, *op.pads_high)
    result = net(
        "Conv", x, w, strides=op.strides, pads=pads, dilations=op.dilations, group=op.groups
    )
    return convert(net, result, op.dtype)


def _unfolded(net: Net, op: Conv, x: str, w: str) -> str:
    """`w[1, g, M/g, C/g*K] @ x[N, g, C/g*K, S]`, a slice of x for each of the K positions."""
    n, g, inner, out = op.shape[0], op.groups, op.w.shape[1], math.prod(op.shape[2:])
    pads = net.ints([0, 0, *op.pads_low, 0, 0, *op.pads_high])
    padded = net("Pad", x, pads, net.number(0, x))
    taps = [
        net.reshape(_shifted(net, op, padded, k), (n, g, inner, 1, out))
        for k in product(*map(range, op.w.shape[2:]))
    ]
    columns = net.reshape(net("Concat", *taps, axis=3), (n, g, inner * len(taps), out))
    weights = net.reshape(w, (1, g, op.w.shape[0] // g, inner * len(taps)))
    return net.reshape(net("MatMul", weights, columns), op.shape)


def _shifted(net: Net, op: Conv, x: str, k: tuple[int, ...]) -> str:
    """The padded input as kernel position k sees it."""
    starts = [i * d for i, d in zip(k, op.dilations, strict=True)]
    reach = [(size - 1) * s + 1 for size, s in zip(op.shape[2:], op.strides, strict=True)]
    ends = [a + r for a, r in zip(starts, reach, strict=True)]
    whole = [op.x.shape[0], op.x.shape[1]]
    return cut(net, x, [0, 0, *starts], [*whole, *ends], [1, 1, *op.strides])
