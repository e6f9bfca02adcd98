"""Scalar functions: operands become the type to compute in, the result becomes its own once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import Form, exports, form, form_of
from kcompiler.graph.operators import Cast, Elementwise, Where
from kcompiler.graph.types import (
    BOOL,
    F64,
    I32,
    bit_width,
    compute_dtype,
    integer_range,
    is_float,
    is_integer,
)
from kcompiler.scalar import working_dtype

_SAME = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "max": "Max", "min": "Min", "pow": "Pow",
    "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round",
    "and": "And", "or": "Or", "xor": "Xor", "not": "Not", "equal": "Equal", "less": "Less",
    "less_equal": "LessOrEqual", "isnan": "IsNaN", "isinf": "IsInf", "where": "Where",
    "bitand": "BitwiseAnd", "bitor": "BitwiseOr", "bitxor": "BitwiseXor", "bitnot": "BitwiseNot",
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "sin": "Sin",
    "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh",
    "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "erf": "Erf",
    "tanh": "Tanh", "sigmoid": "Sigmoid",
}  # fmt: skip


def _same(name: str) -> Form:
    return lambda net, *xs: net(name, *xs)


for _function, _name in _SAME.items():
    form(_function)(_same(_name))


@exports(Elementwise)
def elementwise(net: Net, op: Elementwise, *xs: str) -> str:
    """A scalar function in the type that it computes in."""
    wide = [net.cast(x, working_dtype(net.dtypes[x])) for x in xs]
    return net.cast(form_of(op)(net, *wide), op.dtype)


@exports(Where)
def where(net: Net, _op: Where, cond: str, x: str, y: str) -> str:
    """A choice needs no wider type."""
    return net("Where", cond, x, y)


@form("relu")
def relu(net: Net, x: str) -> str:
    """ONNX has Relu for few types, and says nothing about NaN."""
    return net("Max", x, net.number(0, x))


def _is_float(net: Net, x: str) -> bool:
    return is_float(net.dtypes[x])


@form("div")
def div(net: Net, x: str, y: str) -> str:
    """Integers divided by 0 give 0; the processor stops there, and where -1 overflows."""
    if _is_float(net, x) or _divides(net, y):
        return net("Div", x, y)
    zero, one, minus = (net.number(n, y) for n in (0, 1, _minus_one(net, y)))
    never, turned = net("Equal", y, zero), net("Equal", y, minus)
    safe = net("Where", net("Or", never, turned), one, y)
    quotient = net("Where", turned, net("Neg", x), net("Div", x, safe))
    return net("Where", never, zero, quotient)


def _minus_one(net: Net, y: str) -> int:
    """-1, or 0 for types that have none: it is taken care of already."""
    return -1 if integer_range(net.dtypes[y])[0] < 0 else 0


def _divides(net: Net, y: str) -> bool:
    """Whether a divisor is known to be harmless."""
    value = net.values.get(y)
    return value is not None and bool(((value != 0) & (value != -1)).all())


@form("mod")
def mod(net: Net, x: str, y: str) -> str:
    """ONNX has the sign of the divisor for integers only."""
    if not _is_float(net, x):
        return _integer_mod(net, x, y, fmod=0)
    zero, rest = net.number(0, x), net("Mod", x, y, fmod=1)
    turned = net("Xor", net("Less", rest, zero), net("Less", y, zero))
    other = net("And", turned, net("Not", net("Equal", rest, zero)))
    return net("Where", other, net("Add", rest, y), rest)


@form("fmod")
def fmod(net: Net, x: str, y: str) -> str:
    """C's fmod."""
    return net("Mod", x, y, fmod=1) if _is_float(net, x) else _integer_mod(net, x, y, fmod=1)


def _integer_mod(net: Net, x: str, y: str, fmod: int) -> str:
    """Modulo 0 is 0 and so is modulo -1, as it is modulo 1."""
    if not _divides(net, y):
        odd = net("Equal", y, net.number(0, y))
        odd = net("Or", odd, net("Equal", y, net.number(_minus_one(net, y), y)))
        y = net("Where", odd, net.number(1, y), y)
    return net("Mod", x, y, fmod=fmod)


@form("shl")
def shl(net: Net, x: str, y: str) -> str:
    """ONNX shifts unsigned integers; the bits of signed ones shift alike."""
    return _shift(net, x, y, "LEFT")


@form("shr")
def shr(net: Net, x: str, y: str) -> str:
    """A negative number keeps its sign: its complement is shifted, and complemented again."""
    if net.dtypes[x].kind == "u":
        return _shift(net, x, y, "RIGHT")
    negative = net("Less", x, net.number(0, x))
    bits = net("Where", negative, net("BitwiseNot", x), x)
    shifted = _shift(net, bits, y, "RIGHT")
    return net("Where", negative, net("BitwiseNot", shifted), shifted)


def _shift(net: Net, x: str, y: str, direction: str) -> str:
    dtype = net.dtypes[x]
    bits = np.dtype(f"u{dtype.itemsize}")
    shifted = net("BitShift", net.cast(x, bits), net.cast(y, bits), direction=direction)
    return net.cast(shifted, dtype)


@form("rsqrt")
def rsqrt(net: Net, x: str) -> str:
    """1 / sqrt(x)."""
    return net("Reciprocal", net("Sqrt", x))


@form("softplus")
def softplus(net: Net, x: str) -> str:
    """`max(x, 0) + log1p(exp(-|x|))`, which does not overflow."""
    return net("Add", relu(net, x), _log1p(net, net("Exp", net("Neg", net("Abs", x)))))


def _log1p(net: Net, x: str) -> str:
    """Kahan's `log(u) x / (u - 1)` for u = 1 + x, where the rounding of u cancels."""
    one = net.number(1, x)
    u = net("Add", one, x)
    exact = net("Div", net("Mul", net("Log", u), x), net("Sub", u, one))
    return net("Where", net("Equal", u, one), x, exact)


@form("softsign")
def softsign(net: Net, x: str) -> str:
    """`x / (1 + |x|)`."""
    return net("Div", x, net("Add", net("Abs", x), net.number(1, x)))


@form("hard_swish")
def hard_swish(net: Net, x: str) -> str:
    """`x * clip(x / 6 + 1/2, 0, 1)`."""
    slope = net("Add", net("Mul", x, net.number(1 / 6, x)), net.number(0.5, x))
    return net("Mul", x, net("Clip", slope, net.number(0, x), net.number(1, x)))


@form("silu")
def silu(net: Net, x: str) -> str:
    """`x * sigmoid(x)`."""
    return net("Mul", x, net("Sigmoid", x))


@form("gelu")
def gelu(net: Net, x: str) -> str:
    """`x * (1 + erf(x / sqrt 2)) / 2`."""
    half = net("Mul", x, net.number(0.5, x))
    bell = net("Erf", net("Mul", x, net.number(math.sqrt(0.5), x)))
    return net("Mul", half, net("Add", bell, net.number(1, x)))


@form("gelu_tanh")
def gelu_tanh(net: Net, x: str) -> str:
    """(1 + tanh u) / 2 is sigmoid(2u)."""
    cube = net("Mul", net("Mul", net("Mul", x, x), x), net.number(0.044715, x))
    twice = net("Mul", net("Add", x, cube), net.number(math.sqrt(8 / math.pi), x))
    return net("Mul", x, net("Sigmoid", twice))


@form("mish")
def mish(net: Net, x: str) -> str:
    """`x * tanh(softplus(x))`."""
    return net("Mul", x, net("Tanh", softplus(net, x)))


@exports(Cast)
def cast(net: Net, op: Cast, x: str) -> str:
    """Another element type; where ONNX leaves the result open, it is made what the graph says."""
    return convert(net, x, op.dtype)


def convert(net: Net, x: str, dtype: np.dtype[Any]) -> str:
    """`kcompiler.scalar.convert` in ONNX."""
    source = net.dtypes[x]
    if dtype == BOOL:
        return net.cast(net.cast(x, compute_dtype(source)), BOOL)
    if is_float(source) and is_integer(dtype):
        return _to_integer(net, net.cast(x, F64), dtype)
    if is_integer(dtype) and bit_width(dtype) < 8:
        return net.cast(net.cast(x, I32), dtype)
    return net.cast(x, dtype)


def _to_integer(net: Net, x: str, dtype: np.dtype[Any]) -> str:
    """Truncated and saturated; NaN gives 0. `x` is float64, which has most bounds exactly."""
    low, high = integer_range(dtype)
    top = float(high) if int(float(high)) == high else math.nextafter(float(high), 0)
    whole = net("Where", net("IsNaN", x), net.number(0, x), x)
    inside = net("Clip", whole, net.number(low, x), net.number(top, x))
    narrow = bit_width(dtype) < 8
    result = net.cast(net.cast(inside, I32) if narrow else inside, dtype)
    if top == high:
        return result
    above = net("LessOrEqual", net.number(float(high), x), whole)
    return net("Where", above, net.constant(np.array(high, dtype)), result)
