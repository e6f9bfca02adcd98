"""Arithmetic and comparison."""

from __future__ import annotations

from kcompiler.graph.operators.elementwise import Binary, Unary


class Add(Binary):
    """`x + y`; integers wrap."""

    function = "add"


class Sub(Binary):
    """`x - y`; integers wrap."""

    function = "sub"


class Mul(Binary):
    """`x * y`; integers wrap."""

    function = "mul"


class Div(Binary):
    """`x / y`; integers truncate toward zero."""

    function = "div"


class Mod(Binary):
    """`x` modulo y, with the sign of y (Python's %)."""

    function = "mod"


class Fmod(Binary):
    """`x` modulo y, with the sign of x (C's fmod)."""

    function = "fmod"


class Pow(Binary):
    """`x` to the power y."""

    function = "pow"


class Max(Binary):
    """The larger of x and y; NaN wins."""

    function = "max"


class Min(Binary):
    """The smaller of x and y; NaN wins."""

    function = "min"


class Neg(Unary):
    """-x."""

    function = "neg"


class Abs(Unary):
    """|x|."""

    function = "abs"


class Sign(Unary):
    """-1, 0 or 1."""

    function = "sign"


class Floor(Unary):
    """The largest integer not above x."""

    function = "floor"


class Ceil(Unary):
    """The smallest integer not below x."""

    function = "ceil"


class Round(Unary):
    """The nearest integer, halves to even."""

    function = "round"
