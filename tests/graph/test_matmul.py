"""Matrix products: integers are exact through every path, whatever the length of the sums."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from kcompiler.graph.matmul import accumulator, matmul
from kcompiler.graph.types import BF16, BOOL, F16, F32, F64, I32, I64, integer_range

NAMES = ["int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", "int64"]


def _dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


@pytest.mark.parametrize("x", NAMES)
@pytest.mark.parametrize("y", NAMES)
@pytest.mark.parametrize("length", [1, 511, 513, 3000])
def test_integer_products_are_exact(x: str, y: str, length: int) -> None:
    """At the extreme values, where a sum in a float that is too short would round."""
    rng = np.random.default_rng(0)
    types = _dtype(x), _dtype(y)
    shapes = (2, length), (length, 2)
    values = [
        np.array(integer_range(t), np.int64)[rng.integers(0, 2, s)] + (rng.random(s) < 0.1)
        for t, s in zip(types, shapes, strict=True)
    ]
    narrow = [
        (v.astype(np.int8) if t.itemsize == 1 else v).astype(t)
        for v, t in zip(values, types, strict=True)
    ]
    wide = [v.astype(np.int64) for v in narrow]
    expected = np.einsum("ik,kj->ij", *wide).astype(accumulator(*types))  # wraps as we do
    result = matmul(*narrow)
    assert result.dtype == accumulator(*types)
    np.testing.assert_array_equal(result, expected)


def test_a_product_in_float32_alone_would_be_wrong() -> None:
    """The planted fault: without slices, the sum of 3000 extreme products rounds."""
    x, y = np.full((1, 3001), -128, np.int8), np.full((3001, 1), 127, np.int8)
    x[0, 0], y[0, 0] = 1, 1
    naive = np.matmul(x.astype(np.float32), y.astype(np.float32))
    assert int(naive[0, 0]) != int(matmul(x, y)[0, 0]) == 3000 * -128 * 127 + 1


def test_accumulators() -> None:
    assert accumulator(F16, BF16) == F32
    assert accumulator(F32, F64) == F64
    assert accumulator(_dtype("int8"), _dtype("uint8")) == I32
    assert accumulator(I32, I64) == I64
    for pair in ((F32, I32), (BOOL, BOOL)):
        with pytest.raises(ValueError, match="no products of"):
            accumulator(*pair)
