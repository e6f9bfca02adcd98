"""Cases of quantized tensors: rounding, saturation, zero points, integer products between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from kcompiler.conformance.cases.case import Case, Sizes, case
from kcompiler.conformance.values import DType, generator, numbers, small
from kcompiler.graph import operators as ops
from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Op
from kcompiler.graph.types import F32, F64, I32, parse_dtype
from kcompiler.scalar import convert

I8, U8 = np.dtype(np.int8), np.dtype(np.uint8)
QDQ = tuple[float, int]
"""Scale and zero point."""


def cases(sizes: Sizes) -> Iterator[Case]:
    """All of this topic."""
    for dtype, zero in ((I8, 0), (I8, -7), (U8, 128), (U8, 3)):
        yield from _single(dtype, zero, sizes)
        yield from _layers(dtype, zero, sizes)
        yield from _elementwise(dtype, zero)
        yield from _requantized(dtype, zero)
        near = (small(I32, (9, 5), "halves") + zero).astype(dtype)
        make = partial(_halved, zero, small(I8, (5, 7), "halves"))
        yield case(make, near, what=f"linear {dtype} zero {zero} halves")
    for name in ("f8e4m3fn", "f8e5m2"):
        yield from _eights(parse_dtype(name), sizes)
    yield case(_in_doubles, numbers(I8, (7, 11), "wide"), what="computed in f64")


def _quantize(scale: float | Array, zero: int, dtype: DType, x: Op) -> Op:
    return ops.Quantize(x, constant(scale, F32), constant(zero, dtype))


def _dequantize(scale: float | Array, zero: int, x: Op) -> Op:
    return ops.Dequantize(x, constant(scale, F32), constant(zero, x.dtype))


def _single(dtype: DType, zero: int, sizes: Sizes) -> Iterator[Case]:
    """Halves are rounded to even, what is too large saturates; per tensor and per channel."""
    halves = (np.arange(-600, 600) / 2).astype(np.float32).reshape(8, 150)
    what = f"{dtype} zero {zero}"
    yield case(partial(_quantize, 1.0, zero, dtype), halves, what=f"{what} halves")
    x = numbers(F32, (3, sizes.lanes + 1), "q", scale=40)
    yield case(partial(_quantize, 0.37, zero, dtype), x, what=f"{what} per tensor")
    scales = (0.1 + generator("scales").random((5, 1, 1))).astype(np.float32)
    channels = numbers(F32, (2, 5, 3, 7), "q", scale=50)
    yield case(partial(_quantize, scales, zero, dtype), channels, what=f"{what} per channel")
    every = np.arange(256).astype(dtype).reshape(2, 128)
    yield case(partial(_dequantize, 0.125, zero), every, what=f"{what} per tensor")
    table = numbers(dtype, (2, 5, 3, 7), "d")
    yield case(partial(_dequantize, scales, zero), table, what=f"{what} per channel")


def _eights(dtype: DType, sizes: Sizes) -> Iterator[Case]:
    """8-bit floats: halves between them, saturation, all of them as numbers, and their products."""
    every = np.arange(256).astype(np.uint8).view(dtype).reshape(2, 128)
    known = np.sort(every[np.isfinite(every.astype(np.float32))].astype(np.float32))
    halves = np.append((known[1:] + known[:-1]) / 2, [1e6, -1e6]).astype(np.float32)
    for scale in (1.0, 0.37):
        x = halves * np.float32(scale)
        yield case(partial(_quantize, scale, 0, dtype), x, what=f"{dtype} halves of {scale}")
    yield case(partial(_dequantize, 0.125, 0), every, what=f"{dtype} every number")
    n = sizes.rows
    for m, k, p in ((3, 2 * n + 3, 5), (n + 1, n - 1, n + 3)):
        make = partial(_product, numbers(dtype, (k, p), "w"))
        yield case(make, numbers(dtype, (m, k), "x"), what=f"{dtype} product")


def _product(w: Array, x: Op) -> Op:
    scales = 0.01 + 0.01 * generator("eights", w.shape).random(w.shape[1])
    weights = ops.Dequantize(constant(w, w.dtype), constant(scales, F32), constant(0, w.dtype))
    return ops.Contract(_dequantize(0.5, 0, x), weights, "ij,jk->ik", F32)


def _layers(dtype: DType, zero: int, sizes: Sizes) -> Iterator[Case]:
    """Convolutions and products between integers, with bias; the scale makes some saturate."""
    n = sizes.rows
    for number, (shape, weights, stride, pad, groups) in enumerate(
        (
            ((1, 3, 11, 9), (5, 3, 3, 3), 1, 1, 1),
            ((1, 8, 9, 13), (8, 1, 3, 3), 2, 1, 8),
            ((2, n + 1, 3, 5), (7, n + 1, 1, 1), 1, 0, 1),
            ((1, 4, 15, 7), (n + 2, 4, 3, 3), 2, 1, 1),
        )
    ):
        w, bias = numbers(I8, weights, "w"), _bias(weights[0])
        make = partial(_conv, zero, (stride, pad, groups), w, bias)
        yield case(make, numbers(dtype, shape, "x"), what=f"conv {dtype} zero {zero} #{number}")
    for m, k, p in ((1, 17, 5), (n + 1, n - 1, n + 3), (7, 300, 10)):
        make = partial(_linear, zero, numbers(I8, (k, p), "w"), _bias(p))
        yield case(make, numbers(dtype, (m, k), "x"), what=f"linear {dtype} zero {zero}")


def _bias(channels: int) -> Array:
    return numbers(I32, (channels,), "bias") // (1 << 18)


def _weights(w: Array) -> tuple[Op, Array]:
    """The numbers of weights with a scale a channel of dimension 0, and these scales."""
    scales = (0.002 + 0.01 * generator("w", w.shape).random(w.shape[0])).astype(np.float32)
    shape = (-1, *[1] * (w.ndim - 1))
    return ops.Dequantize(constant(w, I8), constant(scales.reshape(shape), F32), constant(0, I8)), (
        scales
    )


def _biased(total: Op, bias: Array, scales: Array) -> Op:
    """With a bias in the scale of the products; channels are dimension 1."""
    shape = (-1, *[1] * (total.type.rank - 2))
    steps = constant((scales * np.float32(0.05)).reshape(shape), F32)
    whole = constant(bias.reshape(shape), I32)
    return ops.Add(total, ops.Dequantize(whole, steps, constant(0, I32)))


def _conv(zero: int, how: tuple[int, int, int], w: Array, bias: Array, x: Op) -> Op:
    stride, pad, groups = how
    weights, scales = _weights(w)
    numbers_ = _dequantize(0.05, zero, x)
    pads = (pad, pad)
    total = ops.Conv(numbers_, weights, (stride, stride), pads, pads, (1, 1), groups, F32)
    return _quantize(0.21, zero, x.dtype, _biased(total, bias, scales))


def layer(zero: int, x: Op) -> Op:
    """A padded convolution of integers by seeded weights."""
    channels = x.shape[1]
    w = numbers(I8, (channels + 1, channels, 3, 3), "layer")
    return _conv(zero, (1, 1, 1), w, _bias(channels + 1), x)


def layers(zero: int, x: Op) -> Op:
    """Two convolutions with a residual sum and a pool: integers from kernel to kernel."""
    scale, channels = 0.21, x.shape[1]
    w = numbers(I8, (channels, channels, 3, 3), "layers")
    first = _conv(zero, (1, 1, 1), w, _bias(channels), x)
    second = _conv(zero, (1, 1, 1), w, _bias(channels), first)
    total = ops.Add(_dequantize(scale, zero, second), _dequantize(0.05, zero, x))
    return _quantize(0.2, zero, x.dtype, _pool(total))


def curve(zero: int, x: Op) -> Op:
    """A function of one byte."""
    return _between(zero, ops.Sigmoid, x)


def dense(zero: int, x: Op, columns: int = 24) -> Op:
    """A product with a long sum."""
    w = numbers(I8, (x.shape[1], columns), "dense")
    return _linear(zero, w, _bias(columns), x)


def _linear(zero: int, w: Array, bias: Array, x: Op) -> Op:
    columns, scales = _weights(np.ascontiguousarray(w.T))
    numbers_ = _dequantize(0.05, zero, x)
    total = ops.Contract(numbers_, columns, "ik,jk->ij", F32)
    return _quantize(0.21, zero, x.dtype, _biased(total, bias, scales))


def _halved(zero: int, w: Array, x: Op) -> Op:
    """Half of a sum of whole numbers: a product whose results lie between two integers."""
    weights = _dequantize(1.0, 0, constant(w, I8))
    total = ops.Contract(_dequantize(0.5, zero, x), weights, "ik,kj->ij", F32)
    return _quantize(1.0, zero, x.dtype, total)


def _elementwise(dtype: DType, zero: int) -> Iterator[Case]:
    """Sums, products, functions and pools of numbers, between integers of different scales."""
    x, y = numbers(dtype, (2, 6, 9, 7), "x"), numbers(dtype, (2, 6, 9, 7), "y")
    two: dict[str, Callable[[Op, Op], Op]] = {"add": ops.Add, "mul": ops.Mul, "max": ops.Max}
    for name, binary in two.items():
        yield case(partial(_between, zero, binary), x, y, what=f"{name} {dtype} zero {zero}")
    one: dict[str, Callable[[Op], Op]] = {
        "relu": ops.Relu,
        "sigmoid": ops.Sigmoid,
        "hard_swish": ops.HardSwish,
        "max pool": _pool,
        "mean": lambda v: ops.Mul(ops.Reduce(v, "sum", (2, 3)), constant(1 / 63, F32)),
        "transpose": lambda v: ops.Transpose(v, (0, 2, 3, 1)),
    }
    for name, unary in one.items():
        yield case(partial(_between, zero, unary), x, what=f"{name} {dtype} zero {zero}")


def _between(zero: int, make: Callable[..., Op], *xs: Op) -> Op:
    scales = (0.05, 0.031)
    given = [_dequantize(scales[i], zero, x) for i, x in enumerate(xs)]
    return _quantize(0.043, zero, xs[0].dtype, make(*given))


def _pool(x: Op) -> Op:
    pads = (1, 1)
    return ops.Window(x, "max", (3, 3), (2, 2), pads, pads, (1, 1))


def _in_doubles(x: Op) -> Op:
    """Integers between kernels, a type that few chips have inside of one."""
    return ops.Cast(ops.Mul(ops.Cast(x, F64), constant(0.3, F64)), I8)


def _requantized(dtype: DType, zero: int) -> Iterator[Case]:
    """Integers of one scale as those of another: where only factor and zero point count."""
    every = np.arange(256).astype(dtype).reshape(4, 64)
    for factor in (0.5, 1.0, 0.731, 3.0):
        make = partial(_rescaled, zero, factor)
        yield case(make, every, what=f"requantize {dtype} zero {zero} by {factor}")


def _rescaled(zero: int, factor: float, x: Op) -> Op:
    other = convert(np.array(zero + 5), x.dtype)
    return ops.Quantize(
        _dequantize(0.25 * factor, zero, x), constant(0.25, F32), constant(other, x.dtype)
    )
