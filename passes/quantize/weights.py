"""Weights as 8-bit integers or floats, symmetric, with one scale for each channel of the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Dequantize
from kcompiler.graph.types import F32
from kcompiler.passes.quantize.formats import INT8, Format
from kcompiler.scalar import convert

_FINER = 256  # bits of a bias that a channel of zeros need not have
_NOTHING = 1e-30  # weights and scales below it are none: float32 has no room for their products


@dataclass(frozen=True)
class Weights:
    """Narrow numbers and the scales of their channels, which broadcast to them."""

    values: Array
    scale: Array

    @property
    def near(self) -> Array:
        """The numbers that the integers stand for."""
        return np.asarray(self.values.astype(np.float32) * self.scale)

    def node(self) -> Op:
        """The weights in the graph."""
        zero = constant(0, self.values.dtype)
        return Dequantize(Constant(self.values), constant(self.scale, F32), zero)


def quantize_weights(
    w: Array,
    kept: tuple[int, ...],
    importance: Array | None = None,
    least: Array | float = 0.0,
    kind: Format = INT8,
) -> Weights:
    """The weights with a scale for each index of the dimensions `kept`.

    Each scale is the one with the least squared error of its channel, weighted by `importance`
    (mean square of the data that a weight multiplies; broadcasts to `w`). None is below `least`,
    which broadcasts to the scales; those of channels of zeros are far above it, for the bias alone
    needs them.
    """
    summed = tuple(d for d in range(w.ndim) if d not in kept)
    size = np.abs(w).max(summed, keepdims=True, initial=0).astype(np.float64)
    largest = kind.largest
    least = np.where(np.less(least, _NOTHING), 0, least)
    empty = np.where(np.equal(least, 0), 1, least * _FINER) * largest
    size = np.where(size < _NOTHING, empty, size)
    weight = np.ones((1,) * w.ndim) if importance is None else importance
    best, error = np.ones_like(size), np.full_like(size, np.inf)
    for share in kind.shares:
        step = size * share / largest
        lost = np.sum(weight * (kind.nearest(w / step) * step - w) ** 2, summed, keepdims=True)
        better = lost < error
        best, error = np.where(better, share, best), np.minimum(lost, error)
    scale = np.asarray(np.maximum(size * best / largest, least), np.float32)
    return Weights(convert(kind.nearest(w / scale), kind.dtype), scale)
