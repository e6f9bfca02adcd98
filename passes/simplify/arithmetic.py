"""Algebra: neutral elements, constants brought together, cheaper operators of equal value."""

from __future__ import annotations

import numpy as np

from kcompiler.graph.build import broadcast, cast, constant
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import (
    Add,
    Cast,
    Div,
    Max,
    Min,
    Mul,
    Neg,
    Not,
    Pow,
    Reciprocal,
    Relu,
    Rsqrt,
    Sqrt,
    Sub,
    Where,
)
from kcompiler.graph.types import BOOL, F32, I32, is_float
from kcompiler.pattern import Any, Const, Number, node, one_of, splat
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, tensor, weight

X = Any("x")


class Neutral(Rule):
    """x+0, x-0, x*1, x/1, x to the power 1, max(x, -inf) and min(x, inf) are x."""

    pattern = one_of(
        node(Add, X, Number(0)),
        node(Sub, X, Number(0)),
        node(Mul, X, Number(1)),
        node(Div, X, Number(1)),
        node(Pow, X, Number(1)),
        node(Max, X, Number(-np.inf)),
        node(Min, X, Number(np.inf)),
    )
    exact = True

    def check(self, match: Match) -> str | None:
        return None if match["x"].type == match.root.type else "the constant broadcasts x"

    def build(self, match: Match) -> Op:
        return match["x"]

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        if rng.integers(2):
            return Max(number(-np.inf), x) if rng.integers(2) else Min(x, number(np.inf))
        kind, value = [(Add, 0), (Sub, 0), (Mul, 1), (Div, 1), (Pow, 1)][rng.integers(5)]
        return kind(x, constant(np.full((1, 4), value), x.dtype))


class SubtractConstant(Rule):
    """x - c is x + (-c)."""

    pattern = node(Sub, X, Const("c"))
    exact = True

    def build(self, match: Match) -> Op:
        c = match.node(Constant, "c")
        return Add(match["x"], Constant(np.negative(c.value)))

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4, dtype=(F32, I32)[rng.integers(2)])
        return Sub(x, weight(rng, 4, dtype=x.dtype))


class DivideByConstant(Rule):
    """x / c is x * (1/c), for wide floats, and for narrow ones when 1/c is exact.

    One number is divided as it is: there is nothing to gain, and a scale that ONNX defines as range
    / 255 is not off by a rounding, which moves values that lie between two integers.
    """

    pattern = node(Div, X, Const("c"))

    def check(self, match: Match) -> str | None:
        c = match.node(Constant, "c")
        if not is_float(c.dtype):
            return "integer division truncates"
        if match.root.type.size == 1:
            return "one number gains nothing"
        inverse = _reciprocal(c)
        if not np.isfinite(inverse.astype(F32)).all() or not inverse.all():
            return "the reciprocal is out of range"
        power = np.abs(np.frexp(c.value.astype(np.float64))[0]) == 0.5
        if c.dtype.itemsize < F32.itemsize and not power.all():
            return "the reciprocal is not exact in a narrow type"
        return None

    def build(self, match: Match) -> Op:
        return Mul(match["x"], Constant(_reciprocal(match.node(Constant, "c"))))

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        return Div(x, constant(rng.uniform(1, 2, (3, 1)), x.dtype))


def _reciprocal(c: Constant) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    with np.errstate(all="ignore"):
        return (1 / c.value.astype(np.float64)).astype(c.dtype)


class MergeConstants(Rule):
    """(x + a) + b is x + (a + b); so for products, maxima and minima."""

    pattern = one_of(*(node(k, node(k, X, Const("a")), Const("b")) for k in (Add, Mul, Max, Min)))
    # x + 3 beside x may be part of a hard swish: x must not be taken apart for it.
    exclusive = True

    def check(self, match: Match) -> str | None:
        a, b = match["a"], match["b"]
        merged = _merged(match)
        if is_float(merged.dtype) and not np.isfinite(merged.value.astype(F32)).all():
            return "the merged constant overflows"
        if merged.type.size > max(a.type.size, b.type.size):
            return "the merged constant is larger than both"
        return None

    def build(self, match: Match) -> Op:
        return match.root.with_operands((match["x"], _merged(match)))

    def example(self, rng: np.random.Generator) -> Op:
        kind = (Add, Mul, Max, Min)[rng.integers(4)]
        x = tensor("x", 3, 4, dtype=(F32, I32)[rng.integers(2)])
        return kind(weight(rng, dtype=x.dtype), kind(x, weight(rng, 4, dtype=x.dtype)))


def _merged(match: Match) -> Constant:
    pair = match.root.with_operands((match["a"], match["b"]))
    return Constant(pair.evaluate(match.node(Constant, "a").value, match.node(Constant, "b").value))


class FactorOutwards(Rule):
    """x * (y * c) is (x * y) * c for a number c, which then meets other numbers and weights."""

    pattern = node(Mul, X, node(Mul, Any("y"), Number(name="c"), name="inner"))
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match["y"].type != match.root.type or splat(match["x"]) is not None:
            return "the factor would be applied to more elements"
        if match.root.dtype.itemsize < F32.itemsize and is_float(match.root.dtype):
            return "the product without the factor might overflow"
        return None

    def build(self, match: Match) -> Op:
        return Mul(Mul(match["x"], match["y"]), match["c"])

    def example(self, rng: np.random.Generator) -> Op:
        x, y = tensor("x", 4), tensor("y", 3, 4)
        return (
            Mul(x, Mul(y, number(rng.uniform()))) if rng.integers(2) else Mul(Mul(number(3), y), x)
        )


class SmallPower(Rule):
    """x to the power 2, 3, 1/2, -1/2 or -1 has an operator of its own (for x > 0 and finite)."""

    pattern = node(Pow, X, Number(name="n", where=lambda n: n in {2, 3, 0.5, -0.5, -1}))

    def check(self, match: Match) -> str | None:
        if match["x"].type != match.root.type:
            return "the exponent broadcasts x"
        integral = splat(match["n"]) in {2, 3}
        return None if integral or is_float(match.root.dtype) else "roots are for floats"

    def build(self, match: Match) -> Op:
        x = match["x"]
        match splat(match["n"]):
            case 2:
                return Mul(x, x)
            case 3:
                return Mul(Mul(x, x), x)
            case 0.5:
                return Sqrt(x)
            case -0.5:
                return Rsqrt(x)
        return Reciprocal(x)

    def example(self, rng: np.random.Generator) -> Op:
        return Pow(tensor("x", 3, 4), number((2, 3, 0.5, -0.5, -1)[rng.integers(5)]))


class ReciprocalRoot(Rule):
    """1 / sqrt(x) is rsqrt(x)."""

    pattern = one_of(
        node(Reciprocal, node(Sqrt, X)),
        node(Div, Number(1, "one"), node(Sqrt, X)),
        node(Sqrt, node(Reciprocal, X)),
    )
    exclusive = True

    def check(self, match: Match) -> str | None:
        return None if match["x"].type == match.root.type else "the numerator broadcasts x"

    def build(self, match: Match) -> Op:
        return Rsqrt(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        root = Sqrt(tensor("x", 3, 4))
        other = Sqrt(Reciprocal(tensor("x", 3, 4)))
        return (Reciprocal(root), Div(number(1), root), other)[rng.integers(3)]


class DivideByRoot(Rule):
    """y / sqrt(x) is y * rsqrt(x)."""

    pattern = node(Div, Any("y"), node(Sqrt, X))
    exclusive = True

    def build(self, match: Match) -> Op:
        return Mul(match["y"], Rsqrt(match["x"]))

    def example(self, rng: np.random.Generator) -> Op:
        return Div(tensor("y", 3, 4), Sqrt(tensor("x", 3, int(rng.integers(1, 3)) * 3 - 2)))


class OneOver(Rule):
    """1 / x is the reciprocal of x."""

    pattern = node(Div, Number(1, "one"), X)

    def check(self, match: Match) -> str | None:
        if not is_float(match.root.dtype):
            return "integer division truncates"
        return None if match["x"].type == match.root.type else "the numerator broadcasts x"

    def build(self, match: Match) -> Op:
        return Reciprocal(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        return Div(number(1), tensor("x", int(rng.integers(1, 4)), 4))


class MaxZero(Rule):
    """max(x, 0) is relu(x), and relu(relu(x)) too."""

    pattern = one_of(node(Max, X, Number(0)), node(Relu, node(Relu, X)))
    exact = True

    def check(self, match: Match) -> str | None:
        return None if match["x"].type == match.root.type else "the zero broadcasts x"

    def build(self, match: Match) -> Op:
        return Relu(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        return Max(number(0), x) if rng.integers(2) else Relu(Relu(x))


class Negations(Rule):
    """-(-x) and not not x are x; x + (-y) is x - y; x - (-y) is x + y."""

    pattern = one_of(
        node(Neg, node(Neg, X)),
        node(Not, node(Not, X)),
        node(Add, X, node(Neg, Any("y"))),
        node(Sub, X, node(Neg, Any("y"))),
    )
    exact = True

    def build(self, match: Match) -> Op:
        match match.root:
            case Add():
                return Sub(match["x"], match["y"])
            case Sub():
                return Add(match["x"], match["y"])
        return match["x"]

    def example(self, rng: np.random.Generator) -> Op:
        x, y = tensor("x", 3, 4), tensor("y", 4)
        truth = Not(Not(tensor("t", 4, dtype=BOOL)))
        return (Neg(Neg(x)), truth, Add(Neg(y), x), Sub(x, Neg(y)))[rng.integers(4)]


class NoCast(Rule):
    """A cast to the type that a tensor has, or through a wider type, does nothing by itself."""

    pattern = one_of(node(Cast, node(Cast, X, name="inner")), node(Cast, X))
    exact = True

    def check(self, match: Match) -> str | None:
        x = match["x"]
        if "inner" not in match:
            return None if x.dtype == match.root.dtype else "the type changes"
        wide = np.can_cast(x.dtype, match["inner"].dtype, "safe")
        return None if wide and x.dtype != BOOL else "the inner cast rounds"

    def build(self, match: Match) -> Op:
        return cast(match["x"], match.root.dtype)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        inner = Cast(x, np.dtype(np.float64)) if rng.integers(2) else x
        return Cast(inner, (F32, I32)[rng.integers(2)] if inner is not x else F32)


class KnownChoice(Rule):
    """Where with a condition that is constant and all alike is one of its branches."""

    pattern = node(Where, Number(name="cond"), X, Any("y"))
    exact = True

    def build(self, match: Match) -> Op:
        chosen = match["x"] if splat(match["cond"]) else match["y"]
        return broadcast(chosen, match.root.shape)

    def example(self, rng: np.random.Generator) -> Op:
        cond = constant(np.full((2, 1), rng.integers(2)), BOOL)
        return Where(cond, tensor("x", 3), tensor("y", 2, 3))


RULES: tuple[Rule, ...] = (
    Neutral(),
    SubtractConstant(),
    DivideByConstant(),
    MergeConstants(),
    FactorOutwards(),
    SmallPower(),
    ReciprocalRoot(),
    DivideByRoot(),
    OneOver(),
    MaxZero(),
    Negations(),
    NoCast(),
    KnownChoice(),
)
