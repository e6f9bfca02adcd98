"""Weights as 8-bit integers, symmetric, with one scale for each channel of the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Dequantize
from kcompiler.graph.types import F32
from kcompiler.passes.quantize.scheme import I8

LARGEST = 127
_FINER = 256  # bits of a bias that a channel of zeros need not have
_NOTHING = 1e-30  # weights and scales below it are none: float32 has no room for their products
_SHRINK = np.linspace(1.0, 0.6, 33)  # what of the largest weight a scale may cover


@dataclass(frozen=True)
class Weights:
    """Integers and the scales of their channels, which broadcast to them."""

    values: Array
    scale: Array

    @property
    def near(self) -> Array:
        """The numbers that the integers stand for."""
        return np.asarray(self.values.astype(np.float32) * self.scale)

    def node(self) -> Op:
        """The weights in the graph."""
        return Dequantize(Constant(self.values), constant(self.scale, F32), constant(0, I8))


def quantize_weights(
    w: Array,
    kept: tuple[int, ...],
    importance: Array | None = None,
    least: Array | float = 0.0,
) -> Weights:
    """The weights with a scale for each index of the dimensions `kept`.

    Each scale is the one with the least squared error of its channel, weighted by `importance`
    (mean square of the data that a weight multiplies; broadcasts to `w`). None is below `least`,
    which broadcasts to the scales; those of channels of zeros are far above it, for the bias alone
    needs them.
    """
    summed = tuple(d for d in range(w.ndim) if d not in kept)
    size = np.abs(w).max(summed, keepdims=True, initial=0).astype(np.float64)
    least = np.where(np.less(least, _NOTHING), 0, least)
    empty = np.where(np.equal(least, 0), 1, least * _FINER) * LARGEST
    size = np.where(size < _NOTHING, empty, size)
    weight = np.ones((1,) * w.ndim) if importance is None else importance
    best, error = np.ones_like(size), np.full_like(size, np.inf)
    for share in _SHRINK:
        lost = np.sum(weight * (_near(w, size * share / LARGEST) - w) ** 2, summed, keepdims=True)
        better = lost < error
        best, error = np.where(better, share, best), np.minimum(lost, error)
    scale = np.asarray(np.maximum(size * best / LARGEST, least), np.float32)
    values = np.clip(np.rint(w / scale), -LARGEST, LARGEST).astype(I8)
    return Weights(values, scale)


def _near(w: Array, scale: Array) -> Array:
    return np.asarray(np.clip(np.rint(w / scale), -LARGEST, LARGEST) * scale)
