"""Cases of softmax, norms and attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from kcompiler.conformance.cases.case import Case, Sizes, case
from kcompiler.conformance.values import DType, numbers
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Op
from kcompiler.graph.types import BF16, F16, F32
from kcompiler.scalar import convert


def cases(sizes: Sizes) -> Iterator[Case]:
    """All of this topic."""
    for dtype in (F32, F16, BF16):
        yield from _softmax(dtype, sizes)
        yield from _norms(dtype, sizes)
        yield from _attention(dtype)


def _softmax(dtype: DType, sizes: Sizes) -> Iterator[Case]:
    for shape, axis in (((1,), 0), ((5, sizes.lanes + 1), 1), ((7, 3, 5), 0), ((3, 67, 2), 1)):
        yield case(partial(_soft, axis), numbers(dtype, shape, scale=3))
    far = numbers(dtype, (4, 33), "far", scale=80)
    yield case(partial(_soft, 1), far, what="far apart")
    masked = np.where(far > 0, far, convert(np.array(-np.inf), dtype))
    masked[:, 0] = 1
    yield case(partial(_soft, 1), masked, what="masked")


def _soft(axis: int, x: Op) -> Op:
    return ops.Softmax(x, axis)


def _norms(dtype: DType, sizes: Sizes) -> Iterator[Case]:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((1, 1), (1,)), ((3, sizes.lanes - 1), (1,)), ((2, 5, 131), (2,)), ((2, 3, 5, 7), (2, 3)),
    ]  # fmt: skip
    for shape, axes in shapes:
        row = shape[axes[0] :]
        x, scale, bias = (numbers(dtype, s, i) for i, s in enumerate((shape, row, row)))
        yield case(partial(_layer, axes), x, scale, bias, constant=(1, 2), what="affine")
        yield case(partial(_layer, axes), x)
        yield case(partial(_rms, axes), x, scale, constant=(1,), what="scaled")
        yield case(partial(_rms, axes), x)


def _layer(axes: tuple[int, ...], x: Op, scale: Op | None = None, bias: Op | None = None) -> Op:
    return ops.LayerNorm(x, scale, bias, axes, 1e-5)


def _rms(axes: tuple[int, ...], x: Op, scale: Op | None = None) -> Op:
    return ops.RmsNorm(x, scale, axes, 1e-3)


def _attention(dtype: DType) -> Iterator[Case]:
    for batch, queries, keys, depth, width in (
        ((), 1, 1, 1, 1),
        ((2,), 7, 13, 5, 3),
        ((1, 3), 17, 17, 16, 16),
    ):
        q = numbers(dtype, (*batch, queries, depth), "q")
        k = numbers(dtype, (*batch, keys, depth), "k")
        v = numbers(dtype, (*batch, keys, width), "v")
        make = partial(_attend, 1 / math.sqrt(depth))
        yield case(make, q, k, v)
        yield case(make, q, k, v, _mask(dtype, queries, keys), what="masked")


def _mask(dtype: DType, queries: int, keys: int) -> Array:
    """What a decoder sees: nothing that comes later."""
    late = np.arange(keys)[None, :] > np.arange(queries)[:, None]
    return convert(np.where(late, -1e4, 0.0), dtype)


def _attend(scale: float, q: Op, k: Op, v: Op, mask: Op | None = None) -> Op:
    return ops.Attention(q, k, v, mask, scale)
