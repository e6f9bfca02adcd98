"""Conversion between element types, with one meaning everywhere."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import (
    BOOL,
    F16,
    F32,
    F64,
    I32,
    bit_width,
    compute_dtype,
    integer_range,
    is_float,
    is_integer,
)

# Formats whose overflow saturates, as ONNX Cast does by default (opset 19, `saturate`).
_SATURATING = (
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float4_e2m1fn",
)
_NATIVE = frozenset({F16, F32, F64})


def convert(x: Array, dtype: np.dtype[Any]) -> Array:
    """`x` as another element type; the same array where nothing changes.

    Float to float rounds half to even; 8-bit and 4-bit floats saturate. Float to integer truncates
    toward zero and saturates, NaN gives 0 (ONNX leaves both open). Integer to integer keeps the low
    bits. To bool is `x != 0`.
    """
    if x.dtype == dtype:
        return x
    with np.errstate(all="ignore"):
        if dtype == BOOL:
            return np.asarray(x.astype(compute_dtype(x.dtype)) != 0)
        if is_float(x.dtype) and is_integer(dtype):
            return _to_integer(x, dtype)
        if is_integer(dtype):
            return _narrow(x, dtype)
        if dtype.name in _SATURATING:
            return _saturated(x, dtype)
        return _to_float(x, dtype)


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that numpy computes in: `compute_dtype`, and int32 for integers below a byte."""
    return I32 if is_integer(dtype) and bit_width(dtype) < 8 else compute_dtype(dtype)


def lowest(dtype: np.dtype[Any]) -> float | int:
    """What no value is below: -inf, or the smallest integer."""
    return -np.inf if is_float(dtype) else integer_range(dtype)[0]


def highest(dtype: np.dtype[Any]) -> float | int:
    """What no value is above: inf, or the largest integer."""
    return np.inf if is_float(dtype) else integer_range(dtype)[1]


def _to_integer(x: Array, dtype: np.dtype[Any]) -> Array:
    smallest, largest = integer_range(dtype)
    wide = x.astype(compute_dtype(x.dtype))
    whole = np.nan_to_num(np.trunc(wide), nan=0.0, posinf=np.inf, neginf=-np.inf)
    # The largest integer may be no float: compare with the power of two above it instead.
    low, high = whole <= float(smallest), whole >= float(largest)
    middle = np.uint64 if dtype == np.uint64 else np.int64
    inside = np.where(low | high, 0, whole).astype(middle)
    ends = np.array([smallest, largest], middle)
    return np.where(low, ends[0], np.where(high, ends[1], inside)).astype(dtype)


def _narrow(x: Array, dtype: np.dtype[Any]) -> Array:
    bits = bit_width(dtype)
    if bits >= 8:
        return x.astype(dtype)
    kept = x.astype(np.int64) & ((1 << bits) - 1)
    if dtype.name[0] == "i":
        kept = kept - ((kept >> (bits - 1)) << bits)  # the top bit is the sign
    return kept.astype(np.int8).astype(dtype)


def _saturated(x: Array, dtype: np.dtype[Any]) -> Array:
    largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    return np.asarray(np.clip(_to_odd(x), -largest, largest).astype(dtype))


def _to_float(x: Array, dtype: np.dtype[Any]) -> Array:
    if dtype not in _NATIVE:
        return _to_odd(x).astype(dtype)
    native = x.dtype in _NATIVE or not is_float(x.dtype)
    return x.astype(dtype) if native else x.astype(F32).astype(dtype)


def _to_odd(x: Array) -> Array:
    """`x` in float32; what is not exact becomes the neighbour whose last bit is 1.

    ml_dtypes convert through float32. Rounding to nearest twice may miss the nearest number; after
    rounding to odd the second rounding sees on which side of a half-way point `x` is.
    """
    narrow = np.asarray(x.astype(F32, copy=False))
    if x.dtype.itemsize < F32.itemsize or x.dtype == F32:
        return narrow
    exact = x.astype(F64)
    even = (narrow.view(np.uint32) & 1) == 0
    toward = np.where(exact > narrow, np.inf, -np.inf).astype(F32)
    wrong = even & (narrow != exact) & np.isfinite(narrow)
    return np.where(wrong, np.nextafter(narrow, toward), narrow)
