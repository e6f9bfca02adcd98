"""Sums of products: in the accumulator's type, then converted once."""

from __future__ import annotations

import math
from itertools import product

from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import exports
from kcompiler.frontend.exporters.elementwise import convert
from kcompiler.frontend.exporters.movement import cut
from kcompiler.frontend.exporters.reductions import integer_sum
from kcompiler.graph.matmul import accumulator
from kcompiler.graph.operators import Contract, Conv
from kcompiler.graph.types import F32, is_float


@exports(Contract)
def contract(net: Net, op: Contract, x: str, y: str) -> str:
    """Einstein's notation is ONNX's, too; what one operand sums alone is summed before."""
    acc = accumulator(op.x.dtype, op.y.dtype)
    a, b, result = op.letters
    x, a = _sum_alone(net, net.cast(x, acc), op.x.shape, a, b + result)
    y, b = _sum_alone(net, net.cast(y, acc), op.y.shape, b, a + result)
    return convert(net, net("Einsum", x, y, equation=f"{a},{b}->{result}"), op.dtype)


def _sum_alone(
    net: Net, x: str, shape: tuple[int, ...], letters: str, elsewhere: str
) -> tuple[str, str]:
    """Integers summed over the letters that occur nowhere else: Einsum would do it in float64."""
    alone = [i for i, c in enumerate(letters) if c not in elsewhere]
    if not alone or is_float(net.dtypes[x]):
        return x, letters
    rest = [i for i in range(len(shape)) if i not in alone]
    total = integer_sum(net, x, shape, alone)
    return net.reshape(total, [shape[i] for i in rest]), "".join(letters[i] for i in rest)


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
