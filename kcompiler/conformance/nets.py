"""Small networks with what large ones consist of, in odd shapes; their weights are seeded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from kcompiler.conformance.values import generator
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Graph, Input, Op
from kcompiler.graph.types import F32, I64, TensorType
from kcompiler.scalar import convert

I8 = np.dtype(np.int8)


def weights(*shape: int) -> Array:
    """Weights that keep the size of what they are applied to, about."""
    rng = generator("weights", shape)
    inner = math.prod(shape[1:]) or 1
    return np.asarray(rng.standard_normal(shape) / math.sqrt(inner), np.float32)


def conv(x: Op, filters: int, kernel: int, *, stride: int = 1, pad: int = 0, **how: int) -> Op:
    """A convolution with a bias; `how` may name `dilation` and `groups`."""
    groups, dilation = how.get("groups", 1), how.get("dilation", 1)
    w = weights(filters, x.shape[1] // groups, kernel, kernel)
    two = (stride, stride), (pad, pad), (pad, pad), (dilation, dilation)
    y = ops.Conv(x, constant(w, F32), *two, groups, F32)
    return ops.Add(y, constant(weights(filters, 1, 1), F32))


def residual() -> Graph:
    """Strided, depthwise, grouped, dilated and transposed convolutions, pools, a residual sum."""
    x = Input("image", TensorType(F32, (1, 3, 23, 19)))
    stem = ops.HardSwish(conv(x, 12, 3, stride=2, pad=1))
    deep = ops.Relu(conv(stem, 12, 3, pad=1, groups=12))
    grouped = ops.Silu(conv(deep, 12, 3, pad=2, dilation=2, groups=3))
    total = ops.Add(stem, ops.Mul(grouped, _excited(grouped)))
    pooled = ops.Window(total, "max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1))
    up = _upsampled(pooled, 5)
    mean = build.mean(up, (2, 3))
    flat = build.reshape(mean, (1, mean.type.size))
    logits = build.matmul(flat, constant(weights(mean.type.size, 11), F32))
    return Graph("residual", (x,), (("map", up), ("logits", ops.Softmax(logits, 1))))


def _excited(x: Op) -> Op:
    narrow = ops.Relu(conv(build.mean(x, (2, 3)), 3, 1))
    return ops.Sigmoid(conv(narrow, x.shape[1], 1))


def _upsampled(x: Op, filters: int) -> Op:
    """A transposed convolution of stride 2: four phases as channels, interleaved."""
    phases = conv(x, 4 * filters, 2, pad=1)
    h, w = phases.shape[2:]
    split = build.reshape(phases, (1, filters, 2, 2, h, w))
    return build.reshape(build.transpose(split, (0, 1, 4, 2, 5, 3)), (1, filters, 2 * h, 2 * w))


def transformer() -> Graph:
    """A block of a decoder: embedded tokens, attention under a mask, norms, a gated product."""
    length, width, heads = 13, 24, 3
    tokens = Input("tokens", TensorType(I64, (1, length)))
    mask = Input("bias", TensorType(F32, (length, length)))
    x = build.gather(constant(weights(67, width), F32), tokens, 0)
    normal: Op = ops.RmsNorm(x, constant(1 + weights(width), F32), (2,), 1e-5)
    q, k, v = (_heads(normal, i, heads) for i in range(3))
    attended = ops.Attention(q, k, v, mask, 1 / math.sqrt(width // heads))
    joined = build.reshape(build.transpose(attended, (0, 2, 1, 3)), x.shape)
    x = ops.Add(x, _linear(joined, width, "o"))
    scale, bias = constant(1 + weights(width), F32), constant(weights(width), F32)
    normal = ops.LayerNorm(x, scale, bias, (2,), 1e-5)
    gated = ops.Mul(ops.Gelu(_linear(normal, 37, "g")), _linear(normal, 37, "u"))
    x = ops.Add(x, _linear(gated, width, "d"))
    return Graph("transformer", (tokens, mask), (("logits", _linear(x, 67, "head")),))


def _linear(x: Op, columns: int, seed: str) -> Op:
    rng = generator("linear", seed)
    w = rng.standard_normal((x.shape[-1], columns)) / math.sqrt(x.shape[-1])
    return build.matmul(x, constant(w.astype(np.float32), F32))


def _heads(x: Op, number: int, heads: int) -> Op:
    y = _linear(x, x.shape[-1], f"head {number}")
    split = build.reshape(y, (*x.shape[:2], heads, x.shape[-1] // heads))
    return build.transpose(split, (0, 2, 1, 3))


def lstm() -> Graph:
    """Three steps of an LSTM cell, unrolled."""
    size, width = 17, 9
    x = Input("sequence", TensorType(F32, (3, 2, width)))
    h, c = (Input(name, TensorType(F32, (2, size))) for name in ("hidden", "cell"))
    now: Op = h
    memory: Op = c
    hidden: list[Op] = []
    for step in range(3):
        taken = build.reshape(build.slice_axis(x, 0, step, 1), (2, width))
        gates = ops.Add(_linear(taken, 4 * size, "x"), _linear(now, 4 * size, "h"))
        i, f, g, o = (build.slice_axis(gates, 1, n * size, size) for n in range(4))
        kept = ops.Mul(ops.Sigmoid(f), memory)
        memory = ops.Add(kept, ops.Mul(ops.Sigmoid(i), ops.Tanh(g)))
        now = ops.Mul(ops.Sigmoid(o), ops.Tanh(memory))
        hidden.append(build.reshape(now, (1, 2, size)))
    outputs = ("states", build.concat(hidden, 0)), ("last", memory)
    return Graph("lstm", (x, h, c), outputs)


def quantized() -> Graph:
    """A network of 8-bit integers: convolutions, a residual sum, a pool, a product; asymmetric."""
    x = Input("pixels", TensorType(I8, (1, 3, 17, 13)))
    first = _layer(_numbers(x, 0.03, -5), 8, 3, stride=2)
    deep = _layer(first, 8, 3, groups=8)
    wide = _layer(deep, 8, 1)
    total = _again(ops.Add(wide, first), 0.06, 4)
    pooled = ops.Window(total, "max", (2, 2), (2, 2), (0, 0), (0, 0), (1, 1))
    flat = build.reshape(pooled, (1, pooled.type.size))
    product = ops.Contract(flat, _weights(11, pooled.type.size), "ik,jk->ij", F32)
    return Graph("quantized", (x,), (("classes", _quantize(product, 0.05, 0)),))


def _layer(x: Op, filters: int, kernel: int, stride: int = 1, groups: int = 1) -> Op:
    pads = (kernel // 2, kernel // 2)
    w = _weights(filters, x.shape[1] // groups, kernel, kernel)
    y = ops.Conv(x, w, (stride, stride), pads, pads, (1, 1), groups, F32)
    return _again(ops.Relu(y), 0.04, -128)


def _weights(*shape: int) -> Op:
    """Integer weights with a scale a filter."""
    values = weights(*shape)
    scales = np.abs(values).reshape(shape[0], -1).max(1).reshape(-1, *[1] * (len(shape) - 1)) / 127
    whole = convert(np.rint(values / scales), I8)
    return ops.Dequantize(constant(whole, I8), constant(scales, F32), constant(0, I8))


def _numbers(x: Op, scale: float, zero: int) -> Op:
    return ops.Dequantize(x, constant(scale, F32), constant(zero, I8))


def _quantize(x: Op, scale: float, zero: int) -> Op:
    return ops.Quantize(x, constant(scale, F32), constant(zero, I8))


def _again(x: Op, scale: float, zero: int) -> Op:
    return _numbers(_quantize(x, scale, zero), scale, zero)


def odd() -> Graph:
    """Shapes with ones and primes, a scalar, values that are cut backwards and joined again."""
    x = Input("x", TensorType(F32, (1, 7, 1, 13)))
    s = Input("s", TensorType(F32, ()))
    turned = build.transpose(ops.Mul(x, s), (3, 1, 0, 2))
    back = build.slice_axis(turned, 0, 12, 7, -2)
    joined = build.concat([back, build.slice_axis(turned, 0, 0, 5)], 0)
    top = build.reduce_max(build.pad(joined, (1, 0, 0, 2), (0, 3, 0, 0), 0.5), (1,))
    return Graph("odd", (x, s), (("y", ops.Sub(top, build.reshape(s, (1, 1, 1, 1)))), ("z", back)))


NETS: Sequence[Callable[[], Graph]] = (residual, transformer, lstm, quantized, odd)
"""All of them."""
