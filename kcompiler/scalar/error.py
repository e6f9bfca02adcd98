"""How absolute errors go through scalar functions.

Each function takes the exact operands (float64) and bounds on their absolute errors, and returns a
bound on how far the exact function can move. Rounding of the function itself is not in here
(`kcompiler.graph.bounds` adds it). Every result is a bound, not a first-order estimate; inf means
that nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kcompiler.graph.node import Array

Values = Sequence[Array]
ErrorRule = Callable[[Values, Values], Array]


def distance(a: Array, b: Array) -> Array:
    """|a - b|, 0 for equal infinities, inf where it is unknown."""
    apart = np.abs(np.subtract(a, b))
    return np.where(a == b, 0.0, np.where(np.isnan(apart), np.inf, apart))


def product(a: Array, b: Array) -> Array:
    """|a| * |b| where 0 * inf is 0: an exact operand adds no error, however large the other is."""
    return np.where((a == 0) | (b == 0), 0.0, np.abs(a) * np.abs(b))


def exact(values: Values, errors: Values) -> Array:
    """For functions of integers and bit patterns: no error in, none out; else nothing is known."""
    return np.where(_any(errors, values), np.inf, 0.0)


def predicate(values: Values, errors: Values) -> Array:
    """For functions of truth values: off by at most 1 when an operand may be wrong."""
    return np.where(_any(errors, values), 1.0, 0.0)


def never(values: Values, errors: Values) -> Array:
    """For isnan and isinf: a finite error does not change them."""
    return np.where(np.isinf(errors[0]), 1.0, 0.0) + 0.0 * np.zeros(np.shape(values[0]))


def summed(values: Values, errors: Values) -> Array:
    """For add and sub."""
    return np.broadcast_to(errors[0] + errors[1], _shape(values))


def largest(values: Values, errors: Values) -> Array:
    """For max and min, which are 1-Lipschitz in the largest error."""
    return np.broadcast_to(np.maximum(errors[0], errors[1]), _shape(values))


def multiplied(values: Values, errors: Values) -> Array:
    """For mul: |x| ey + |y| ex + ex ey."""
    (x, y), (ex, ey) = values, errors
    return product(x, ey) + product(y, ex) + product(ex, ey)


def divided(values: Values, errors: Values) -> Array:
    """For div: (ex + |x/y| ey) / (|y| - ey), unknown when the divisor may be 0."""
    (x, y), (ex, ey) = values, errors
    room = np.abs(y) - ey
    moved = (ex + product(x / y, ey)) / room
    clean = (ex == 0) & (ey == 0)
    return np.where(clean, 0.0, np.where((room > 0) & ~np.isnan(moved), moved, np.inf))


def inverted(values: Values, errors: Values) -> Array:
    """For reciprocal."""
    return divided((np.ones(()), values[0]), (np.zeros(()), errors[0]))


def remainder(values: Values, errors: Values) -> Array:
    """For mod and fmod: linear while the quotient stays the same, else off by up to the divisor."""
    (x, y), (ex, ey) = values, errors
    corners = [(x + i * ex) / (y + j * ey) for i in (-1, 1) for j in (-1, 1)]
    whole = np.isfinite(y) & (np.abs(y) > ey)
    steady = whole & _equal(np.floor, corners) & _equal(np.ceil, corners)
    moved = np.where(steady, ex + product(np.ceil(np.abs(corners[0])), ey), np.inf)
    jump = np.where(whole, 2 * (np.abs(y) + ey), np.inf)
    return np.where((ex == 0) & (ey == 0), 0.0, np.minimum(moved, jump))


def _equal(function: Callable[[Array], Array], points: Values) -> Array:
    first = function(points[0])
    return np.asarray(np.logical_and.reduce([function(p) == first for p in points]))


def raised(values: Values, errors: Values) -> Array:
    """For pow: monotone in each operand while the base is positive; then the corners bound it."""
    (x, y), (ex, ey) = values, errors
    corners = [np.power(x + i * ex, y + j * ey) for i in (-1, 1) for j in (-1, 1)]
    crosses = np.abs(x) <= ex
    corners.append(np.where(crosses, np.power(np.zeros_like(x), y), corners[0]))
    moved = np.maximum.reduce([distance(c, np.power(x, y)) for c in corners])
    integral = (ey == 0) & (y == np.rint(y)) & ((y >= 0) | ~crosses)
    clean = (ex == 0) & (ey == 0)
    return np.where(clean, 0.0, np.where((x - ex > 0) | integral, moved, np.inf))


def compared(values: Values, errors: Values) -> Array:
    """For equal, less, less_equal: unknown (1) when the operands may meet."""
    (x, y), (ex, ey) = values, errors
    unsure = (ex + ey > 0) & ~(distance(x, y) > ex + ey)
    return np.where(unsure, 1.0, 0.0)


def chosen(values: Values, errors: Values) -> Array:
    """For where: the chosen operand's error, or that of either when the condition may be wrong."""
    (condition, x, y), (unsure, ex, ey) = values, errors
    either = distance(x, y) + np.maximum(ex, ey)
    return np.where(unsure > 0, either, np.where(condition != 0, ex, ey))


def monotone(
    function: Callable[[Array], Array], low: float = -np.inf, high: float = np.inf
) -> ErrorRule:
    """A function that is monotone on [low, high] and undefined elsewhere: look at both ends."""

    def rule(values: Values, errors: Values) -> Array:
        (x,), (e,) = values, errors
        middle = function(x)
        moved = np.maximum(distance(function(x - e), middle), distance(function(x + e), middle))
        inside = (x - e >= low) & (x + e <= high)
        return np.where(e == 0, 0.0, np.where(inside, moved, np.inf))

    return rule


def lipschitz(constant: float, cap: float = np.inf) -> ErrorRule:
    """A function whose slope stays within `constant` and whose range is no longer than `cap`."""

    def rule(values: Values, errors: Values) -> Array:
        return np.broadcast_to(np.minimum(constant * errors[0], cap), np.shape(values[0]))

    return rule


def tangent(values: Values, errors: Values) -> Array:
    """For tan: monotone between its poles, unknown across one."""
    (x,), (e,) = values, errors
    same = np.floor((x - e) / np.pi + 0.5) == np.floor((x + e) / np.pi + 0.5)
    return np.where(e == 0, 0.0, np.where(same, monotone(np.tan)(values, errors), np.inf))


def _any(errors: Values, values: Values) -> Array:
    wrong = np.zeros(_shape(values), np.bool_)
    for error in errors:
        wrong = wrong | (np.asarray(error) > 0)
    return wrong


def _shape(values: Values) -> tuple[int, ...]:
    return np.broadcast_shapes(*(np.shape(v) for v in values))
