"""Values with a bound on their absolute error, and arithmetic on them.

A `Bounded` stands for every result that a correct implementation may arrive at: `value` is exact up
to float64, and each result is within `error` of it. The arithmetic here adds what rounding may add,
in whatever order sums are taken (N. J. Higham, "Accuracy and Stability of Numerical Algorithms",
2nd ed., SIAM 2002, section 3.1: n roundings make a relative error of at most n u / (1 - n u)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import (
    BOOL,
    F32,
    F64,
    TensorType,
    compute_dtype,
    integer_range,
    is_float,
)
from kcompiler.scalar import FUNCTIONS, ScalarFunction, apply, convert
from kcompiler.scalar.error import distance

_SLACK = 2.0**-50  # relative: what float64 rounding may take away from a bound while it is computed


@dataclass(frozen=True)
class Bounded:
    """`value` and a bound on the absolute error, of equal shape; floats are float64 here.

    `dtype` is the element type of the tensor. Integers and truth values keep their own type; an
    error of 1 on a truth value means that it is unknown.
    """

    value: Array
    error: Array
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of value and error."""
        return tuple(self.value.shape)

    @property
    def is_exact(self) -> bool:
        """Whether every element is known exactly."""
        return not self.error.any()

    def contains(self, result: Array) -> Array:
        """Whether each element of a result is within the bound; NaN equals NaN."""
        found = result.astype(F64 if is_float(self.dtype) else result.dtype)
        known = self.value
        if not is_float(self.dtype):
            return np.asarray((found == known) | (_apart(found, known) <= self.error))
        same = (found == known) | (np.isnan(found) & np.isnan(known)) | np.isinf(self.error)
        with np.errstate(all="ignore"):
            return np.asarray(same | (np.abs(found - known) <= self.error))


def _apart(a: Array, b: Array) -> Array:
    return np.asarray(np.abs(a.astype(F64) - b.astype(F64)))


def exact(value: Array, dtype: np.dtype[Any] | None = None) -> Bounded:
    """A value without error; floats become float64."""
    kind = value.dtype if dtype is None else dtype
    wide = value.astype(F64) if is_float(kind) else value
    return Bounded(wide, zeros(value.shape), kind)


def bounded(value: Array, error: Array, dtype: np.dtype[Any]) -> Bounded:
    """A value with an error that broadcasts to it; where that is NaN, nothing is known."""
    known = np.where(np.isnan(error), np.inf, error)
    return Bounded(value, np.broadcast_to(known, value.shape), dtype)


def zeros(shape: tuple[int, ...]) -> Array:
    """No error, without memory for it."""
    return np.broadcast_to(np.zeros(()), shape)


def epsilon(dtype: np.dtype[Any]) -> float:
    """Distance from 1 to the next value of a float type, plus that of our own float64."""
    own = float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
    return own + float(np.finfo(np.float64).eps)


def gamma(roundings: int, dtype: np.dtype[Any]) -> float:
    """The relative error that roundings in a type may add up to; inf when all is lost."""
    lost = roundings * epsilon(dtype) / 2
    return lost / (1 - lost) if lost < 1 else np.inf


def rounded(x: Bounded, dtype: np.dtype[Any]) -> Bounded:
    """`x` stored in a float type: half an ulp more, infinite where it surely overflows."""
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    top, tiny = float(info.max), float(info.smallest_subnormal)
    saturates = not np.isinf(convert(np.array(np.inf), dtype).astype(F64))
    value = np.clip(x.value, -top, top) if saturates else x.value
    with np.errstate(all="ignore"):
        stored = convert(value, dtype).astype(F64)
        size = np.abs(value) + x.error
        half = np.maximum(size * epsilon(dtype) / 2, tiny / 2)
        error = np.where((x.error == 0) & _same(stored, value), 0.0, x.error + half)
        if not saturates:  # surely infinite, or perhaps
            limit = top * (1 + float(info.eps) / 4)
            over = np.abs(value) - x.error > limit
            value = np.where(over, np.copysign(np.inf, value), value)
            error = np.where(over, 0.0, np.where(size > top, np.inf, error))
    return bounded(value, error, dtype)


def _same(a: Array, b: Array) -> Array:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def elementwise(name: str, result: TensorType, *operands: Bounded) -> Bounded:
    """A scalar function of bounded values, in the compute type of `result`, stored in its type."""
    if name == "cast":
        return _cast(operands[0], result.dtype)
    function = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        wide = [x.value.astype(F64) for x in operands]
        moved = function.error(wide, [x.error for x in operands])
    if not is_float(operands[-1].dtype):
        return _of_integers(name, result, operands, moved)
    with np.errstate(all="ignore"):
        value = np.asarray(function.compute(*(x.value for x in operands)))
        if function.predicate or function.ulps == 0:  # it picks or tests: nothing is rounded
            return bounded(np.broadcast_to(value, result.shape), moved, result.dtype)
        kind = compute_dtype(result.dtype)
        size = _magnitude(function, wide[0], value) + moved
        # An infinite or undefined result is so in every implementation: it has no ulps.
        extra = np.where(np.isfinite(value), (function.ulps - 0.5) * epsilon(kind) * size, 0)
        computed = rounded(bounded(value, moved + extra, kind), kind)
    return computed if kind == result.dtype else rounded(computed, result.dtype)


def _magnitude(function: ScalarFunction, x: Array, result: Array) -> Array:
    match function.relative:
        case "result":
            return np.asarray(np.abs(result))
        case "operand":
            return np.asarray(np.abs(x))
        case "unit":
            return np.ones(result.shape)


# Where an error of integers goes through as it does for real numbers, unless the result may wrap.
_SMOOTH = frozenset({"add", "sub", "mul", "max", "min", "neg", "abs", "relu", "sign", "where"})


def _of_integers(
    name: str, result: TensorType, operands: Sequence[Bounded], moved: Array
) -> Bounded:
    value = apply(name, result.dtype, *(x.value for x in operands))
    if all(x.is_exact for x in operands):
        return exact(value)
    if FUNCTIONS[name].predicate:
        return bounded(value, moved, result.dtype)
    return within_range(value, moved if name in _SMOOTH else np.full(value.shape, np.inf))


def within_range(value: Array, error: Array) -> Bounded:
    """An integer with an error; unknown where it may wrap."""
    low, high = (0, 1) if value.dtype == BOOL else integer_range(value.dtype)
    wide = value.astype(F64)
    wraps = (wide - error < low) | (wide + error > high)
    return bounded(value, np.where((error > 0) & wraps, np.inf, error), value.dtype)


def _cast(x: Bounded, dtype: np.dtype[Any]) -> Bounded:
    if dtype == BOOL:
        unsure = (x.error > 0) & (np.abs(x.value.astype(F64)) <= x.error)
        return bounded(convert(x.value, BOOL), unsure.astype(F64), BOOL)
    if is_float(dtype):
        wide = Bounded(x.value.astype(F64), x.error, dtype)
        holds_all = is_float(x.dtype) and dtype in {F32, F64} and x.dtype.itemsize < dtype.itemsize
        return wide if holds_all or x.dtype == dtype else rounded(wide, dtype)
    value = convert(x.value, dtype)
    if not is_float(x.dtype):
        same = value.astype(F64) == x.value.astype(F64)
        return within_range(value, np.where(same | (x.error == 0), x.error, np.inf))
    ends = [convert(x.value + sign * x.error, dtype) for sign in (-1, 1)]
    moved = np.maximum.reduce([_apart(value, end) for end in ends])
    return bounded(value, np.where(np.isnan(x.value) & (x.error > 0), np.inf, moved), dtype)


def contraction(
    form: Callable[[Array, Array], Array],
    length: int,
    x: Bounded,
    y: Bounded,
    acc: np.dtype[Any],
) -> Bounded:
    """A sum of `length` products, bilinear in x and y (`form` in float64), in type `acc`."""
    with np.errstate(all="ignore"):
        value = form(x.value.astype(F64), y.value.astype(F64))
        sizes = [np.abs(v.value.astype(F64)) for v in (x, y)]
        total = form(sizes[0] + x.error, sizes[1] + y.error)
        if x.is_exact and y.is_exact:
            moved = zeros(value.shape)
        else:
            slack = _SLACK * (length + 2) if is_float(acc) else 0  # small integers are exact
            moved = total - form(*sizes) + slack * total
        return _summed(value, moved, total, length + 2, acc)


def summation(
    form: Callable[[Array], Array], length: int, x: Bounded, acc: np.dtype[Any]
) -> Bounded:
    """A sum of `length` values, linear in x (`form` in float64), in type `acc`."""
    with np.errstate(all="ignore"):
        wide = x.value.astype(F64)
        total = form(np.abs(wide) + x.error)
        moved = zeros(total.shape) if x.is_exact else form(x.error) * (1 + _SLACK * length)
        return _summed(form(wide), moved, total, max(length - 1, 0), acc)


def _summed(
    value: Array, moved: Array, total: Array, roundings: int, acc: np.dtype[Any]
) -> Bounded:
    if not is_float(acc):
        return within_range(np.rint(value).astype(acc), np.ceil(moved))
    info = ml_dtypes.finfo(acc)  # type: ignore[no-untyped-call]
    error = moved + gamma(roundings, acc) * total + roundings * float(info.smallest_subnormal)
    return bounded(value, np.where(total > float(info.max), np.inf, error), acc)


def inverse_root(power: Bounded, epsilon_: float, kind: np.dtype[Any]) -> Bounded:
    """1 / sqrt(power + epsilon) of a mean of squares, which no rounding makes negative."""
    shift = rounded(Bounded(np.array(epsilon_), np.zeros(()), kind), kind)
    total = elementwise("add", TensorType(kind, power.shape), power, shift)
    with np.errstate(all="ignore"):
        value = 1 / np.sqrt(total.value)
        lowest = np.maximum(total.value - total.error, epsilon_ - shift.error)
        above = distance(1 / np.sqrt(lowest), value)
        below = distance(1 / np.sqrt(total.value + total.error), value)
        moved = np.where(total.error > 0, np.maximum(above, below), 0)
        error = moved + 8 * epsilon(kind) * (np.abs(value) + moved)
    return bounded(value, error, kind)
