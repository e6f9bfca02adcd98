"""Scalar functions: their values, and how errors go through them."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph.node import Array
from kcompiler.graph.types import BF16, BOOL, F16, F32, F64, I32, I64, is_float
from kcompiler.scalar import FUNCTIONS, ScalarFunction, apply, convert
from kcompiler.scalar.erf import erf, erfc

REAL = [f.name for f in FUNCTIONS.values() if f.domain in {"float", "number", "any"}]
SEEDS = st.integers(0, 2**32 - 1)


def _grid() -> Array:
    rng = np.random.default_rng(0)
    parts = (rng.uniform(-1, 1, 500), rng.uniform(-7, 7, 500), 10.0 ** rng.uniform(-300, 0, 100))
    return np.concatenate([*parts, [0.0, 0.46875, -0.46875, 4.0, -4.0, 26.0]])


def test_erf_is_that_of_the_c_library() -> None:
    x = _grid()
    for ours, theirs in ((erf, math.erf), (erfc, math.erfc)):
        expected = np.array([theirs(v) for v in x])
        np.testing.assert_allclose(ours(x), expected, rtol=1e-15, atol=0)
        narrow = x.astype(np.float32)
        expected = np.array([theirs(v) for v in narrow.astype(float)])
        normal = np.abs(expected) > 1e-37  # below, float32 has few bits left
        np.testing.assert_allclose(ours(narrow)[normal], expected[normal], rtol=4 * 2.0**-23)


@pytest.mark.parametrize("exponent", [0.0, 0.5, -0.5, 1.0, 2.0, 3.0, np.inf, -np.inf, np.nan])
def test_power_is_that_of_the_c_library(exponent: float) -> None:
    """Whether the exponent is one number, a repeated one or many: numpy tells them apart."""
    x = np.array([0.0, -0.0, 1.0, -1.0, 0.25, 4.0, 1e4, -1e4, np.inf, -np.inf, np.nan])
    x = x[~((x == 0) & (exponent < 0)) & ~(np.isfinite(x) & (x < 0) & (abs(exponent) == 0.5))]
    expected = [math.pow(v, exponent) for v in x]  # the others raise there
    one = np.array(exponent)
    for y in (one, one[None], np.broadcast_to(one, x.shape), np.full(x.shape, exponent)):
        found = apply("pow", F64, x, y)
        np.testing.assert_array_equal(found, expected)
        assert (np.signbit(found) == np.signbit(expected))[~np.isnan(found)].all()


def test_erf_at_the_ends() -> None:
    ends = np.array([0.0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(erf(ends), [0, 1, -1, np.nan])
    np.testing.assert_array_equal(erfc(ends), [1, 0, 2, np.nan])
    assert np.signbit(erf(np.array([-0.0]))).all()


@pytest.mark.parametrize("name", REAL)
@given(seed=SEEDS, scale=st.integers(-3, 5), spread=st.integers(-12, 1))
def test_errors_are_bounds(name: str, seed: int, scale: int, spread: int) -> None:
    """Whatever the operands within their errors, the exact function moves no farther."""
    function = FUNCTIONS[name]
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(64) * 2.0**scale for _ in range(function.arity)]
    errors = [np.abs(v) * 2.0**spread * rng.integers(0, 2, 64) for v in values]
    moved = [
        v + e * rng.choice([-1, 1, rng.uniform(-1, 1)], 64)
        for v, e in zip(values, errors, strict=True)
    ]
    if function.name == "where":
        values[0] = moved[0] = np.asarray(rng.random(64) < 0.5, F64)
        errors[0] = np.zeros(64)
    with np.errstate(all="ignore"):
        exact, found = (_number(function.compute(*v)) for v in (values, moved))
        bound = function.error(values, errors)
        inside = (exact == found) | (np.abs(exact - found) <= bound + 1e-13 * (1 + np.abs(exact)))
    unknown = np.isinf(bound)
    assert (inside | unknown | (np.isnan(exact) & np.isnan(found))).all()
    assert not unknown[np.logical_and.reduce([e == 0 for e in errors])].any()


def _number(x: Array) -> Array:
    return x.astype(F64)


@pytest.mark.parametrize("name", ["hard_swish", "silu", "gelu", "gelu_tanh", "mish"])
def test_slopes_are_steep_enough_and_not_steeper(name: str) -> None:
    x = np.linspace(-8, 8, 400_001)
    with np.errstate(over="ignore"):
        steepest = np.abs(np.diff(FUNCTIONS[name].compute(x)) / np.diff(x)).max()
    declared = FUNCTIONS[name].error([np.zeros(1)], [np.ones(1)])[0]
    assert steepest <= declared <= 1.01 * steepest + 1e-9


@pytest.mark.parametrize("name", ["add", "mul", "max", "where", "exp", "less"])
def test_an_unknown_condition_or_operand_matters(name: str) -> None:
    """The planted fault of a rule that ignores its errors would pass the law for exact operands."""
    function = FUNCTIONS[name]
    values = [np.ones(1), np.full(1, 1.5), np.full(1, 4.0)][: function.arity]
    errors = [np.full(1, 0.75)] * function.arity
    assert (function.error(values, errors) > 0).all()


def test_integers_wrap_and_truncate() -> None:
    i8 = np.dtype(np.int8)
    x = np.array([127, -128, 7, -7, -7, 5], i8)
    y = np.array([1, -1, 2, 2, -2, 0], i8)
    assert apply("add", i8, x, y).tolist() == [-128, 127, 9, -5, -9, 5]
    assert apply("div", i8, x[2:], y[2:]).tolist() == [3, -3, 3, 0]
    assert apply("mod", i8, x[2:5], y[2:5]).tolist() == [1, 1, -1]
    assert apply("fmod", i8, x[2:5], y[2:5]).tolist() == [1, -1, -1]
    assert apply("pow", i8, x[2:4], np.array([-1, -1], i8)).tolist() == [0, 0]


def test_narrow_integers_wrap_too() -> None:
    i4 = np.dtype(ml_dtypes.int4)
    x = np.array([7, -8, 3], np.int8).astype(i4)
    total = apply("add", i4, x, np.ones(3, np.int8).astype(i4))
    assert total.dtype == i4
    assert total.astype(int).tolist() == [-8, -7, 4]


@pytest.mark.parametrize("x", [F16, BF16, F32, F64])
@pytest.mark.parametrize("y", [F16, BF16, F32, F64])
@given(seed=SEEDS)
def test_floats_round_to_nearest(x: np.dtype, y: np.dtype, seed: int) -> None:
    """No float of the target type is nearer than the one that was chosen."""
    rng = np.random.default_rng(seed)
    source = (rng.standard_normal(50) * 2.0 ** rng.integers(-3, 3, 50)).astype(x)
    rounded = convert(source, y)
    error = np.abs(rounded.astype(F64) - source.astype(F64))
    for direction in (-np.inf, np.inf):
        neighbour = _next(rounded, direction)
        assert (error <= np.abs(neighbour.astype(F64) - source.astype(F64))).all()


def _next(x: Array, direction: float) -> Array:
    return np.asarray(np.nextafter(x, np.array(direction, x.dtype)))


def test_halves_round_to_even() -> None:
    between = np.array([1 + 2**-11, 1 + 3 * 2**-11], np.float32)  # half-way between float16 numbers
    assert convert(between, F16).astype(float).tolist() == [1.0, 1 + 2**-9]
    assert apply("round", F32, np.array([0.5, 1.5, 2.5, -0.5], np.float32)).tolist() == [0, 2, 2, 0]


def test_casts_to_integers_truncate_and_saturate() -> None:
    x = np.array([1.9, -1.9, 300, -300, np.nan, np.inf, -np.inf], np.float32)
    assert convert(x, np.dtype(np.int8)).tolist() == [1, -1, 127, -128, 0, 127, -128]
    assert convert(x, np.dtype(np.uint8)).tolist() == [1, 0, 255, 0, 0, 255, 0]
    assert convert(x, I64).tolist()[-2:] == [2**63 - 1, -(2**63)]
    assert convert(x, np.dtype(np.uint64)).tolist()[-2:] == [2**64 - 1, 0]
    assert convert(x, np.dtype(ml_dtypes.int4)).astype(int).tolist() == [1, -1, 7, -8, 0, 7, -8]
    assert convert(x, BOOL).all()


def test_casts_between_integers_keep_the_low_bits() -> None:
    x = np.array([300, -1, 8, -9], np.int32)
    assert convert(x, np.dtype(np.int8)).tolist() == [44, -1, 8, -9]
    assert convert(x, np.dtype(ml_dtypes.int4)).astype(int).tolist() == [-4, -1, -8, 7]
    assert convert(x, np.dtype(ml_dtypes.uint4)).astype(int).tolist() == [12, 15, 8, 7]


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"])
def test_eight_bit_floats_saturate_as_onnx_says(name: str) -> None:
    """As the table of ONNX Cast for `saturate` says: also infinity becomes the largest number."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    x = np.array([1e6, -1e6, np.inf, -np.inf, 0.75], np.float32)
    assert convert(x, dtype).astype(float).tolist() == [largest, -largest, largest, -largest, 0.75]
    assert np.isnan(convert(np.array([np.nan], np.float32), dtype).astype(float)).all()


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda f: str(f.name))
def test_the_table_keeps_types(function: ScalarFunction) -> None:
    kinds = {"float": F32, "number": F32, "any": F32, "integer": I32, "bool": BOOL}
    values = [np.ones((2, 3), kinds[function.domain])] * function.arity
    if function.name == "where":
        values[0] = np.ones((2, 3), BOOL)
    with np.errstate(divide="ignore"):
        result = function.compute(*values)
    assert result.shape == (2, 3)
    assert result.dtype == (BOOL if function.predicate else kinds[function.domain])
    assert function.doc
    assert not (function.ulps and not is_float(kinds[function.domain]))


@pytest.mark.parametrize("y", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_wide_numbers_round_once(y: str) -> None:
    """Half-way up to float32's last bit: rounding twice would take the even neighbour."""
    dtype = np.dtype(getattr(ml_dtypes, y))
    step = float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
    above, below = 1 + step / 2 + 2.0**-40, 1 + 1.5 * step - 2.0**-40
    assert convert(np.array([above, below, -above]), dtype).astype(float).tolist() == [
        1 + step,
        1 + step,
        -1 - step,
    ]


def test_wide_integers_round_once() -> None:
    x = np.array([2**31 + 2**23 + 1], np.int64)  # float32 sees the half-way point itself
    assert float(convert(x, BF16)[0]) == 2**31 + 2**24
