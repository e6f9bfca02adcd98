"""Scalar functions: the one meaning of every element-wise computation, at every level.

`FUNCTIONS` names them; graph operators, scalar expressions of kernels and vector instructions all
refer to this table. `apply` is the evaluation rule: widen to the compute type, compute, round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.scalar import compute, error
from kcompiler.scalar.convert import convert, highest, lowest, working_dtype
from kcompiler.scalar.erf import erf

__all__ = ["FUNCTIONS", "ScalarFunction", "apply", "convert", "highest", "lowest", "working_dtype"]

Domain = Literal["number", "signed", "float", "integer", "bool", "any"]
Relative = Literal["result", "operand", "unit"]


@dataclass(frozen=True)
class ScalarFunction:
    """A function of `arity` scalars.

    `compute` takes arrays of the compute type and returns the same type, or bool for a predicate.
    `error` bounds how far the exact result moves when operands are off by given absolute errors.
    `ulps` bounds the rounding error of a correct implementation, in units in the last place of the
    magnitude that `relative` names: the result; the first operand for functions x * g(x), whose
    published formulas cancel for negative x; or 1 for sigmoid, which chips and libraries make from
    tanh. `domain` is the kind of element types that it takes.
    """

    name: str
    arity: int
    compute: Callable[..., Array]
    error: error.ErrorRule
    doc: str
    domain: Domain = "float"
    predicate: bool = False
    ulps: float = 0.0
    relative: Relative = "result"


def apply(name: str, dtype: np.dtype[Any], *values: Array) -> Array:
    """A function of `FUNCTIONS`, or ``cast``, of arrays; the result is rounded once, to `dtype`."""
    if name == "cast":
        return convert(np.asarray(values[0]), dtype)
    widened = [convert(np.asarray(v), working_dtype(np.asarray(v).dtype)) for v in values]
    with np.errstate(all="ignore"):
        return convert(np.asarray(FUNCTIONS[name].compute(*widened)), dtype)


def _table(*functions: ScalarFunction) -> dict[str, ScalarFunction]:
    return {f.name: f for f in functions}


def _transcendental(
    name: str, function: Callable[[Array], Array], doc: str, rule: error.ErrorRule | None = None
) -> ScalarFunction:
    return ScalarFunction(name, 1, function, rule or error.monotone(function), doc, ulps=4)


def _exact(
    name: str, function: Callable[[Array], Array], doc: str, domain: Domain
) -> ScalarFunction:
    return ScalarFunction(name, 1, function, error.monotone(function), doc, domain)


def _gated(name: str, function: Callable[[Array], Array], slope: float, doc: str) -> ScalarFunction:
    rule = error.lipschitz(slope)
    return ScalarFunction(name, 1, function, rule, doc, ulps=4, relative="operand")


def _bits(name: str, arity: int, function: Callable[..., Array], doc: str) -> ScalarFunction:
    return ScalarFunction(name, arity, function, error.exact, doc, "integer")


def _logic(name: str, arity: int, function: Callable[..., Array], doc: str) -> ScalarFunction:
    return ScalarFunction(name, arity, function, error.predicate, doc, "bool", predicate=True)


def _relation(
    name: str, function: Callable[..., Array], doc: str, domain: Domain
) -> ScalarFunction:
    return ScalarFunction(name, 2, function, error.compared, doc, domain, predicate=True)


_ARITHMETIC = _table(
    ScalarFunction("add", 2, np.add, error.summed, "x + y", "number", ulps=0.5),
    ScalarFunction("sub", 2, np.subtract, error.summed, "x - y", "number", ulps=0.5),
    ScalarFunction("mul", 2, np.multiply, error.multiplied, "x * y", "number", ulps=0.5),
    ScalarFunction(
        "div", 2, compute.div, error.divided, "x / y; integers truncate", "number", ulps=4
    ),
    ScalarFunction("mod", 2, np.mod, error.remainder, "x mod y, of y's sign", "number", ulps=1),
    ScalarFunction(
        "fmod", 2, np.fmod, error.remainder, "x mod y, of x's sign (C's fmod)", "number", ulps=1
    ),
    ScalarFunction("pow", 2, compute.power, error.raised, "x to the y", "number", ulps=16),
    ScalarFunction("max", 2, np.maximum, error.largest, "the larger of x and y", "number"),
    ScalarFunction("min", 2, np.minimum, error.largest, "the smaller of x and y", "number"),
    ScalarFunction("neg", 1, np.negative, error.lipschitz(1), "-x", "number"),
    ScalarFunction("abs", 1, np.abs, error.lipschitz(1), "|x|", "number"),
    _exact("sign", np.sign, "-1, 0 or 1", "number"),
    _exact("relu", compute.relu, "max(x, 0)", "number"),
    _exact("floor", np.floor, "the largest integer not above x", "float"),
    _exact("ceil", np.ceil, "the smallest integer not below x", "float"),
    _exact("round", np.rint, "the nearest integer, halves to even", "float"),
)

_LOGIC = _table(
    _logic("and", 2, np.logical_and, "x and y"),
    _logic("or", 2, np.logical_or, "x or y"),
    _logic("xor", 2, np.logical_xor, "x or y, not both"),
    _logic("not", 1, np.logical_not, "not x"),
    _bits("bitand", 2, np.bitwise_and, "bits of x and y"),
    _bits("bitor", 2, np.bitwise_or, "bits of x or y"),
    _bits("bitxor", 2, np.bitwise_xor, "bits of x or y, not both"),
    _bits("bitnot", 1, np.invert, "bits not in x"),
    _bits("shl", 2, np.left_shift, "x shifted left by y bits"),
    _bits("shr", 2, np.right_shift, "x shifted right by y bits; signed types keep their sign"),
    _relation("equal", np.equal, "x = y", "any"),
    _relation("less", np.less, "x < y", "number"),
    _relation("less_equal", np.less_equal, "x <= y", "number"),
    ScalarFunction("where", 3, compute.where, error.chosen, "x where cond holds, else y", "any"),
    ScalarFunction("isnan", 1, np.isnan, error.never, "x is not a number", predicate=True),
    ScalarFunction("isinf", 1, np.isinf, error.never, "x is infinite", predicate=True),
)

_TRANSCENDENTAL = _table(
    _transcendental("exp", np.exp, "e to the x"),
    _transcendental("log", np.log, "natural logarithm", error.monotone(np.log, low=0)),
    _transcendental("sqrt", np.sqrt, "square root", error.monotone(np.sqrt, low=0)),
    _transcendental("reciprocal", compute.reciprocal, "1 / x", error.inverted),
    _transcendental("rsqrt", compute.rsqrt, "1 / sqrt(x)", error.monotone(compute.rsqrt, low=0)),
    _transcendental("sin", np.sin, "sine of radians", error.lipschitz(1, cap=2)),
    _transcendental("cos", np.cos, "cosine of radians", error.lipschitz(1, cap=2)),
    _transcendental("tan", np.tan, "tangent of radians", error.tangent),
    _transcendental("asin", np.arcsin, "inverse sine", error.monotone(np.arcsin, -1, 1)),
    _transcendental("acos", np.arccos, "inverse cosine", error.monotone(np.arccos, -1, 1)),
    _transcendental("atan", np.arctan, "inverse tangent"),
    _transcendental("sinh", np.sinh, "hyperbolic sine"),
    # Not monotone, but convex: the farther end moves at least as far as the minimum at 0.
    _transcendental("cosh", np.cosh, "hyperbolic cosine"),
    _transcendental("asinh", np.arcsinh, "inverse hyperbolic sine"),
    _transcendental(
        "acosh", np.arccosh, "inverse hyperbolic cosine", error.monotone(np.arccosh, low=1)
    ),
    _transcendental(
        "atanh", np.arctanh, "inverse hyperbolic tangent", error.monotone(np.arctanh, -1, 1)
    ),
    _transcendental("erf", erf, "the error function"),
    _transcendental("tanh", np.tanh, "hyperbolic tangent"),
    ScalarFunction(
        "sigmoid",
        1,
        compute.sigmoid,
        error.monotone(compute.sigmoid),
        "1 / (1 + exp(-x))",
        ulps=2,
        relative="unit",
    ),
    _transcendental("softplus", compute.softplus, "log(1 + exp(x))"),
    _transcendental("softsign", compute.softsign, "x / (1 + |x|)"),
    # Slopes: the extreme of each derivative, rounded up; a property test looks for a steeper one.
    _gated("hard_swish", compute.hard_swish, 1.5, "x * clip(x / 6 + 1/2, 0, 1)"),
    _gated("silu", compute.silu, 1.1, "x * sigmoid(x)"),
    _gated("gelu", compute.gelu, 1.13, "x * (1 + erf(x / sqrt 2)) / 2"),
    _gated("gelu_tanh", compute.gelu_tanh, 1.13, "gelu with erf approximated by tanh"),
    _gated("mish", compute.mish, 1.09, "x * tanh(softplus(x))"),
)

FUNCTIONS: dict[str, ScalarFunction] = _ARITHMETIC | _LOGIC | _TRANSCENDENTAL
