"""Transcendental functions and activations, of floats."""

from __future__ import annotations

from kcompiler.graph.operators.elementwise import Unary


class Exp(Unary):
    """e to the x."""

    function = "exp"


class Log(Unary):
    """The natural logarithm."""

    function = "log"


class Sqrt(Unary):
    """The square root."""

    function = "sqrt"


class Reciprocal(Unary):
    """1 / x."""

    function = "reciprocal"


class Rsqrt(Unary):
    """1 / sqrt(x)."""

    function = "rsqrt"


class Sin(Unary):
    """The sine, of radians."""

    function = "sin"


class Cos(Unary):
    """The cosine, of radians."""

    function = "cos"


class Tan(Unary):
    """The tangent, of radians."""

    function = "tan"


class Asin(Unary):
    """The inverse sine."""

    function = "asin"


class Acos(Unary):
    """The inverse cosine."""

    function = "acos"


class Atan(Unary):
    """The inverse tangent."""

    function = "atan"


class Sinh(Unary):
    """The hyperbolic sine."""

    function = "sinh"


class Cosh(Unary):
    """The hyperbolic cosine."""

    function = "cosh"


class Asinh(Unary):
    """The inverse hyperbolic sine."""

    function = "asinh"


class Acosh(Unary):
    """The inverse hyperbolic cosine."""

    function = "acosh"


class Atanh(Unary):
    """The inverse hyperbolic tangent."""

    function = "atanh"


class Erf(Unary):
    """The error function."""

    function = "erf"


class Tanh(Unary):
    """The hyperbolic tangent."""

    function = "tanh"


class Sigmoid(Unary):
    """1 / (1 + exp(-x))."""

    function = "sigmoid"


class Relu(Unary):
    """max(x, 0)."""

    function = "relu"


class HardSwish(Unary):
    """`x * clip(x / 6 + 1/2, 0, 1)`."""

    function = "hard_swish"


class Silu(Unary):
    """`x * sigmoid(x)`."""

    function = "silu"


class Gelu(Unary):
    """`x * (1 + erf(x / sqrt 2)) / 2`."""

    function = "gelu"


class GeluTanh(Unary):
    """Gelu with its error function approximated by tanh."""

    function = "gelu_tanh"


class Softplus(Unary):
    """log(1 + exp(x))."""

    function = "softplus"


class Softsign(Unary):
    """`x / (1 + |x|)`."""

    function = "softsign"


class Mish(Unary):
    """`x * tanh(softplus(x))`."""

    function = "mish"
