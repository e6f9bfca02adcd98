"""Quantized operators of onnxruntime, and operators between dequantization and quantization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.fuzz.maker import F32, I8, I32, U8, Discarded, Maker, Value
from tests.fuzz.recipe import recipe


def parameters(m: Maker, dtype: Any, shape: Sequence[int] = ()) -> list[Value]:
    """A scale and a zero point, known as a rule; that of weights is often 0."""
    rng = np.random.default_rng(m.random.getrandbits(32))
    scale = np.asarray(rng.uniform(0.01, 0.3, shape)).astype(np.float32)
    zero = np.zeros(shape, dtype)
    if m.flip():
        zero = m.array(dtype, shape)
    make = m.known if m.flip(0.95) else m.given
    return [make(scale), make(zero)]


def numbers(m: Maker, value: Value) -> Value:
    """What integers mean."""
    return m.emit("DequantizeLinear", [value, *parameters(m, value.dtype)])[0]


def weights(m: Maker, shape: Sequence[int], axis: int) -> Value:
    """Dequantized weights, with a scale for each channel half of the time."""
    data = m.known(m.array(I8, shape, "wild"))
    if m.opset < 13 or m.flip():
        return m.emit("DequantizeLinear", [data, *parameters(m, I8)])[0]
    scale, _ = parameters(m, I8, (shape[axis],))
    zero = m.known(np.zeros(shape[axis], I8))
    return m.emit("DequantizeLinear", [data, scale, zero], axis=axis)[0]


def whole(m: Maker, low: int = 2, high: int = 4) -> Value:
    """Integers that are there or fresh."""
    x = m.pick([U8, I8], (low, high), lambda v: v.size > 0)
    return x if m.flip(0.3) else m.fresh(x.dtype, x.shape, "wild", 0.02)


@recipe("QDQ of a product")
def product(m: Maker, _: str) -> None:
    """What a quantizer leaves of MatMul, Gemm and Conv."""
    x = whole(m, 2, 4)
    columns = m.one(1, 2, 3, 5)
    if x.rank >= 3 and m.flip(0.6):
        kernel = [m.below(1, min(3, n)) for n in x.shape[2:]]
        w = weights(m, (columns, x.shape[1], *kernel), 0)
        attributes = m.maybe(pads=[m.below(0, k - 1) for k in kernel * 2])
        parts = [numbers(m, x), w, _bias(m, columns)]
        result = m.emit("Conv", parts, attributes | {"kernel_shape": kernel})[0]
    elif x.rank == 2 and m.flip():
        w = weights(m, (columns, x.shape[1]), 0)
        result = m.emit("Gemm", [numbers(m, x), w, _bias(m, columns)], transB=1)[0]
    else:
        w = weights(m, (x.shape[-1], columns), 1)
        result = m.emit("MatMul", [numbers(m, x), w])[0]
    if m.flip(0.3):
        result = m.emit(m.one("Relu", "Sigmoid", "Clip", "Tanh"), [result])[0]
    _quantize(m, result)


def _bias(m: Maker, size: int) -> Value | None:
    if m.flip():
        return None
    data = m.known(m.array(I32, (size,)))
    scale, zero = np.array(0.01, np.float32), np.array(0, np.int32)
    return m.emit("DequantizeLinear", [data, m.known(scale), m.known(zero)])[0]


def _quantize(m: Maker, x: Value) -> None:
    scale, zero = parameters(m, m.one(U8, I8))
    y = m.emit("QuantizeLinear", [x, scale, zero])[0]
    if m.flip(0.3):
        m.emit("DequantizeLinear", [y, scale, zero])


@recipe("QDQ of other operators")
def other(m: Maker, _: str) -> None:
    """Sums, pools and movement between dequantization and quantization."""
    x = whole(m, 3, 4)
    real = numbers(m, x)
    kind = m.one("Add", "Mul", "Concat", "Relu", "Sigmoid", "GlobalAveragePool", "MaxPool",
                 "AveragePool", "Transpose", "Softmax", "ReduceMean", "LeakyRelu")  # fmt: skip
    if kind in {"Add", "Mul"}:
        shape = m.broadcastable(x.shape)
        result = m.emit(kind, [real, numbers(m, m.fresh(m.one(U8, I8), shape, "wild"))])[0]
    elif kind == "Concat":
        result = m.emit(kind, [real, numbers(m, m.fresh(U8, x.shape, "wild"))], axis=1)[0]
    elif kind in {"MaxPool", "AveragePool"}:
        kernel = [m.below(1, min(3, n)) for n in x.shape[2:]]
        result = m.emit(kind, [real], kernel_shape=kernel, pads=[k // 2 for k in kernel * 2])[0]
    elif kind == "Transpose":
        result = m.emit(kind, [real], perm=m.random.sample(range(x.rank), x.rank))[0]
    else:
        attributes = {"axes": [-1]} if kind == "ReduceMean" and m.opset < 18 else {}
        result = m.emit(kind, [real], attributes)[0]
    _quantize(m, result)


# Operators of onnxruntime, of which ONNX knows no types


@recipe("QLinearAdd", "QLinearMul")
def qlinear_binary(m: Maker, operator: str) -> None:
    x = whole(m)
    shape = m.broadcastable(x.shape, longer=False)
    y = m.fresh(x.dtype, shape, "wild")
    parts = [p for v in (x, y) for p in (v, *parameters(m, x.dtype))]
    m.emit_microsoft(operator, [*parts, *parameters(m, x.dtype)], [(x.dtype, x.shape)])


@recipe("QLinearSigmoid")
def qlinear_sigmoid(m: Maker, operator: str) -> None:
    x = whole(m)
    parts = [x, *parameters(m, x.dtype), *parameters(m, x.dtype)]
    m.emit_microsoft(operator, parts, [(x.dtype, x.shape)])


@recipe("QLinearGlobalAveragePool")
def qlinear_pool(m: Maker, operator: str) -> None:
    x = whole(m, 4, 4)
    last = m.below(0, 1)
    shape = (x.shape[0], 1, 1, x.shape[3]) if last else (*x.shape[:2], 1, 1)
    parts = [x, *parameters(m, x.dtype), *parameters(m, x.dtype)]
    m.emit_microsoft(operator, parts, [(x.dtype, shape)], channels_last=last)


@recipe("QLinearConcat")
def qlinear_concat(m: Maker, operator: str) -> None:
    x = whole(m)
    axis = m.below(0, x.rank - 1)
    pieces = [x, *(m.fresh(x.dtype, x.shape, "wild") for _ in range(m.below(0, 2)))]
    parts = [p for v in pieces for p in (v, *parameters(m, x.dtype))]
    shape = [n * len(pieces) if i == axis else n for i, n in enumerate(x.shape)]
    results = [(x.dtype, shape)]
    m.emit_microsoft(operator, [*parameters(m, x.dtype), *parts], results, axis=axis)


@recipe("QGemm")
def qgemm(m: Maker, operator: str) -> None:
    x = whole(m, 2, 2)
    left, right, columns = m.below(0, 1), m.below(0, 1), m.one(1, 2, 4)
    rows, inner = x.shape[::-1] if left else x.shape
    w = m.known(m.array(I8, (columns, inner) if right else (inner, columns), "wild"))
    bias = m.known(m.array(I32, (columns,))) if m.flip() else None
    parts = [x, *parameters(m, x.dtype), w, *parameters(m, I8), bias]
    flags = {"transA": left, "transB": right, "alpha": 1.0}
    if m.flip(0.3):
        m.emit_microsoft(operator, parts, [(F32, (rows, columns))], **flags)
    else:
        results = [(x.dtype, (rows, columns))]
        m.emit_microsoft(operator, [*parts, *parameters(m, x.dtype)], results, **flags)


@recipe("com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear")
def microsoft_quantize(m: Maker, operator: str) -> None:
    name = operator.rpartition(".")[2]
    if name == "QuantizeLinear":
        x, to = m.pick([F32]), m.one(U8, I8)
    else:
        x, to = whole(m), F32
    integers = to if name == "QuantizeLinear" else x.dtype
    m.emit_microsoft(name, [x, *parameters(m, integers)], [(to, x.shape)])


@recipe("FusedConv")
def fused_conv(m: Maker, operator: str) -> None:
    x = m.pick([F32], (4, 4), lambda v: v.size > 0)
    kernel = [m.below(1, min(3, n)) for n in x.shape[2:]]
    outer = m.one(1, 2, 3)
    w = m.fresh(F32, (outer, x.shape[1], *kernel), weight=1)
    bias = m.fresh(F32, (outer,), weight=1) if m.flip() else None
    space = [n - k + 1 for n, k in zip(x.shape[2:], kernel, strict=True)]
    shape = (x.shape[0], outer, *space)
    more = m.fresh(F32, shape) if m.flip(0.3) else None
    name = m.one("Relu", "Sigmoid", "Tanh")
    if not all(space):
        raise Discarded("the window is larger than the image")
    results = [(F32, shape)]
    m.emit_microsoft(operator, [x, w, bias, more], results, kernel_shape=kernel, activation=name)


@recipe("QLinearLeakyRelu", "QLinearSoftmax")
def qlinear_activation(m: Maker, operator: str) -> None:
    x = whole(m)
    flags: dict[str, Any] = {"alpha": m.number(0.01, 0.5)}
    if operator == "QLinearSoftmax":
        flags = {"axis": m.below(0, x.rank - 1), "opset": m.one(12, 13)}
    parts = [x, *parameters(m, x.dtype), *parameters(m, x.dtype)]
    m.emit_microsoft(operator, parts, [(x.dtype, x.shape)], **flags)


@recipe("QLinearAveragePool")
def qlinear_average(m: Maker, operator: str) -> None:
    x = whole(m, 4, 4)
    kernel = [m.below(1, min(3, n)) for n in x.shape[2:]]
    strides = [m.one(1, 2) for _ in kernel]
    sized = zip(x.shape[2:], kernel, strides, strict=True)
    shape = (*x.shape[:2], *((n - k) // s + 1 for n, k, s in sized))
    parts = [x, *parameters(m, x.dtype), *parameters(m, x.dtype)]
    m.emit_microsoft(
        operator, parts, [(x.dtype, shape)], kernel_shape=kernel, strides=strides
    )  # fmt: skip


@recipe("QLinearWhere")
def qlinear_where(m: Maker, operator: str) -> None:
    x = whole(m)
    condition = m.fresh(np.dtype("?"), m.broadcastable(x.shape, longer=False))
    y = m.fresh(x.dtype, x.shape, "wild")
    parts = [p for v in (x, y) for p in (v, *parameters(m, x.dtype))]
    results = [(x.dtype, x.shape)]
    m.emit_microsoft(operator, [condition, *parts, *parameters(m, x.dtype)], results)


@recipe("DynamicQuantizeMatMul", "MatMulIntegerToFloat")
def integer_to_float(m: Maker, operator: str) -> None:
    dynamic = operator[0] == "D"
    x = m.fresh(F32, (m.one(1, 2, 3), m.one(1, 3, 5))) if dynamic else whole(m, 2, 2)
    columns = m.one(1, 2, 3)
    w = m.known(m.array(m.one(I8, U8), (x.shape[1], columns), "wild"))
    shape = (columns,) if m.flip() else ()
    scale, zero = parameters(m, w.dtype, shape)
    bias = m.known(m.array(F32, (columns,))) if m.flip() else None
    results = [(F32, (x.shape[0], columns))]
    if dynamic:
        m.emit_microsoft(operator, [x, w, scale, zero, bias], results)
        return
    x_scale, x_zero = parameters(m, x.dtype)
    m.emit_microsoft(operator, [x, w, x_scale, scale, x_zero, zero, bias], results)


@recipe("MatMulNBits")
def few_bits(m: Maker, operator: str) -> None:
    depth, columns, block = m.one(8, 16, 20, 33), m.one(1, 3, 4), m.one(16, 32)
    bits = m.one(4, 4, 8)
    blocks = -(-depth // block)
    x = m.fresh(F32, (m.one(1, 2), depth))
    w = m.known(m.array(U8, (columns, blocks, block * bits // 8), "wild"))
    scales = m.known(m.array(F32, (columns * blocks,), "positive"))
    packed = -(-blocks * bits // 8)
    zeros = m.known(m.array(U8, (columns * packed,), "wild")) if m.flip() else None
    flags = {"K": depth, "N": columns, "bits": bits, "block_size": block}
    m.emit_microsoft(operator, [x, w, scales, zeros], [(F32, (x.shape[0], columns))], **flags)
