"""Seeded numbers: ordinary ones, and those at the ends of an element type."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import BOOL, F64, integer_range, is_float
from kcompiler.scalar import convert

DType = np.dtype[Any]


def generator(*words: object) -> np.random.Generator:
    """A generator that depends on nothing but the words."""
    return np.random.default_rng(zlib.crc32(" ".join(map(str, words)).encode()))


def numbers(dtype: DType, shape: Sequence[int], *seed: object, scale: float = 1.0) -> Array:
    """Normal floats times `scale`, integers of the whole range (of 64-bit ones, of 32 bits)."""
    rng = generator("numbers", dtype, tuple(shape), *seed)
    if dtype == BOOL:
        return np.asarray(rng.random(shape) < 0.5)
    if is_float(dtype):
        return convert(np.asarray(rng.standard_normal(shape) * scale), dtype)
    low, high = integer_range(dtype)
    low, high = max(low, -(1 << 31)), min(high, (1 << 31) - 1)
    return np.asarray(rng.integers(low, high, shape, endpoint=True)).astype(dtype)


def small(dtype: DType, shape: Sequence[int], *seed: object, most: int = 3) -> Array:
    """Whole numbers up to `most`, of any element type: sums and products of them are exact."""
    rng = generator("small", dtype, tuple(shape), *seed)
    low = 0 if dtype == BOOL or dtype.kind == "u" else -most
    return convert(np.asarray(rng.integers(low, most, shape, endpoint=True)), dtype)


def positive(dtype: DType, shape: Sequence[int], *seed: object) -> Array:
    """Floats in [1/4, 4], integers in 1..7."""
    rng = generator("positive", dtype, tuple(shape), *seed)
    if is_float(dtype):
        return convert(np.asarray(2.0 ** rng.uniform(-2, 2, shape)), dtype)
    return np.asarray(rng.integers(1, 8, shape)).astype(dtype)


def extremes(dtype: DType, shape: Sequence[int], *seed: object) -> Array:
    """Numbers of which about half are the ends and the special values of their type."""
    rng = generator("extremes", dtype, tuple(shape), *seed)
    if dtype == BOOL:
        return numbers(dtype, shape, *seed)
    special = np.asarray(rng.choice(_special(dtype), shape))
    ordinary = numbers(dtype, shape, *seed)
    return np.asarray(np.where(rng.random(shape) < 0.5, special, ordinary)).astype(dtype)


def _special(dtype: DType) -> Array:
    if not is_float(dtype):
        low, high = integer_range(dtype)
        found = [low, low + 1, -1, 0, 1, high - 1, high]
        return np.array([v for v in found if v >= low], dtype)
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    ends = [float(info.max), float(info.tiny), float(info.smallest_subnormal), 0.5, 1.5, 2.5, 127.5]
    both = np.array([*ends, *(-x for x in ends), 0.0, -0.0, np.inf, -np.inf, np.nan], F64)
    return convert(both, dtype)
