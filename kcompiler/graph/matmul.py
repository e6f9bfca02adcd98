"""Matrix products in numpy, exact for integers and by BLAS wherever that is possible."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import F32, F64, I32, I64, integer_range, is_float, is_integer

_EXACT_F64 = 1 << 53
_EXACT_F32 = 1 << 24


def accumulator(x: np.dtype[Any], y: np.dtype[Any]) -> np.dtype[Any]:
    """The type that sums of products of two element types are kept in.

    Floats accumulate in float32, in float64 if one operand is float64; integers in int32, 64-bit
    ones in their own type. Raises `ValueError` for other pairs.
    """
    if is_float(x) and is_float(y):
        return F64 if F64 in {x, y} else F32
    if is_integer(x) and is_integer(y):
        wide = max(x.itemsize, y.itemsize)
        if wide < I64.itemsize:
            return I32
        return x if x == y else I64
    raise ValueError(f"no products of {x} and {y}: both must be floats or both integers")


def matmul(x: Array, y: Array) -> Array:
    """`x @ y` (batch dimensions broadcast) in the accumulator type; integer sums wrap.

    Integer products go through BLAS in the float type, and in slices of K, that keep them exact.
    """
    acc = accumulator(x.dtype, y.dtype)
    if is_float(acc):
        return np.asarray(np.matmul(_as(x, acc), _as(y, acc)))
    largest = _magnitude(x.dtype) * _magnitude(y.dtype)
    if largest * 512 <= _EXACT_F32:
        return _sliced(x, y, F32, _EXACT_F32 // largest)
    if largest * 512 <= _EXACT_F64:
        return _sliced(x, y, F64, _EXACT_F64 // largest)
    return np.asarray(np.matmul(_as(x, acc), _as(y, acc)))


def _sliced(x: Array, y: Array, dtype: np.dtype[Any], length: int) -> Array:
    xf, yf = _as(x, dtype), _as(y, dtype)
    total = np.matmul(xf[..., :length], yf[..., :length, :]).astype(np.int64)
    for start in range(length, x.shape[-1], length):
        stop = start + length
        total += np.matmul(xf[..., start:stop], yf[..., start:stop, :]).astype(np.int64)
    return np.asarray(total.astype(I32))


def _magnitude(dtype: np.dtype[Any]) -> int:
    low, high = integer_range(dtype)
    return max(-low, high)


def _as(x: Array, dtype: np.dtype[Any]) -> Array:
    return x if x.dtype == dtype else x.astype(dtype)
