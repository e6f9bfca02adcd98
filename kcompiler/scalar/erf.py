"""The error function and its complement, vectorized.

Rational Chebyshev approximations of W. J. Cody, "Rational Chebyshev approximations for the error
function", Mathematics of Computation 23 (1969), with the coefficients of his public CALERF. numpy
has no erf, and SciPy would be a heavy dependency for one function.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kcompiler.graph.node import Array

# Numerators and denominators, highest power first, as np.polyval would take them.
# fmt: off
_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
     6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
     1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
     3.43936767414372164e3, 1.23033935480374942e3),
)
_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)
# fmt: on
_SMALL_END = 0.46875
_MIDDLE_END = 4.0
_BLOCK = 1 << 14  # elements worked on at a time, so that the temporaries stay in the cache


def erf(x: Array) -> Array:
    """2/sqrt(pi) times the integral of exp(-t²) from 0 to x."""
    return _blocked(x, _erf_block)


def erfc(x: Array) -> Array:
    """1 - erf(x), exact to a few ulp also where it is tiny."""
    return _blocked(x, _erfc_block)


def _erf_block(x: Array) -> Array:
    beyond = np.copysign(1 - _erfc_positive(np.abs(x)), x)
    return np.where(np.abs(x) <= _SMALL_END, _erf_near_zero(x), beyond)


def _erfc_block(x: Array) -> Array:
    tail = _erfc_positive(np.abs(x))
    beyond = np.where(x < 0, 2 - tail, tail)
    return np.where(np.abs(x) <= _SMALL_END, 1 - _erf_near_zero(x), beyond)


def _erf_near_zero(x: Array) -> Array:
    inside = np.clip(x, -_SMALL_END, _SMALL_END)
    return inside * _ratio(_SMALL, inside * inside)


def _erfc_positive(y: Array) -> Array:
    """Erfc for y > `_SMALL_END`; finite nonsense below."""
    factor = _ratio(_MIDDLE, np.minimum(y, _MIDDLE_END))
    large = y > _MIDDLE_END
    if large.any():
        far = y[large]
        inverse = 1 / (far * far)
        factor[large] = (1 / math.sqrt(math.pi) - inverse * _ratio(_LARGE, inverse)) / far
    # exp(-y²) by a split of y that squares exactly: the rounding of y² would be amplified by y².
    near = np.minimum(y, 30)
    coarse = np.trunc(near * 16) / 16
    tail = np.exp(-coarse * coarse) * np.exp(-(near - coarse) * (near + coarse))
    return np.where(np.isnan(y), y, tail * factor)


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    top, bottom = (_horner(c, x) for c in coefficients)
    return top / bottom


def _horner(coefficients: tuple[float, ...], x: Array) -> Array:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total


def _blocked(x: Array, function: Any) -> Array:
    flat = np.ravel(x)
    result = np.empty_like(flat)
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _BLOCK):
            result[start : start + _BLOCK] = function(flat[start : start + _BLOCK])
    return result.reshape(np.shape(x))
