"""What the scalar functions compute, on arrays of the compute type."""

from __future__ import annotations

import math

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import is_float
from kcompiler.scalar.erf import erfc


def div(x: Array, y: Array) -> Array:
    """`x / y`; integers truncate toward zero, and division by zero gives 0."""
    if is_float(x.dtype):
        return np.asarray(x / y)
    quotient = np.floor_divide(x, y)
    inexact = quotient * y != x
    return np.asarray(np.where(y == 0, 0, quotient + (inexact & ((x < 0) != (y < 0)))), x.dtype)


def power(x: Array, y: Array) -> Array:
    """`x` to the y; an integer to a negative power truncates toward zero."""
    if is_float(x.dtype):
        root = y == 0.5
        if not np.any(root):
            return np.asarray(np.power(x, y))
        # Where y is one number, numpy takes the square root, which is another for -inf and -0.
        found = np.power(np.where(root & np.isneginf(x), np.inf, x), y)
        return np.asarray(np.where(root, np.abs(found), found), x.dtype)
    magnitude = np.power(x, np.maximum(y, 0))
    sign = np.where(y % 2 == 0, 1, x)
    small = np.where(np.abs(x) == 1, sign, 0)
    return np.asarray(np.where(y < 0, small, magnitude), x.dtype)


def where(condition: Array, x: Array, y: Array) -> Array:
    """`x` where the condition holds, else y."""
    return np.where(condition, x, y)


def reciprocal(x: Array) -> Array:
    """1 / x."""
    return np.asarray(1 / x)


def rsqrt(x: Array) -> Array:
    """1 / sqrt(x)."""
    return np.asarray(1 / np.sqrt(x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, np.zeros((), x.dtype))


def hard_swish(x: Array) -> Array:
    """`x * clip(x / 6 + 1/2, 0, 1)`."""
    return np.asarray(x * np.clip(x * (1 / 6) + 0.5, 0, 1))


def silu(x: Array) -> Array:
    """`x * sigmoid(x)`."""
    return np.asarray(x * sigmoid(x))


def gelu(x: Array) -> Array:
    """`x * P(a standard normal is below x)`, by erfc: it does not cancel for negative x."""
    return np.asarray(0.5 * x * erfc(x * -math.sqrt(0.5)))


def gelu_tanh(x: Array) -> Array:
    """The tanh approximation of gelu; (1 + tanh u) / 2 is sigmoid(2u)."""
    return np.asarray(x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x)))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.logaddexp(x, np.zeros((), x.dtype))


def softsign(x: Array) -> Array:
    """`x / (1 + |x|)`."""
    return np.asarray(x / (1 + np.abs(x)))


def mish(x: Array) -> Array:
    """`x * tanh(softplus(x))`."""
    return np.asarray(x * np.tanh(softplus(x)))
