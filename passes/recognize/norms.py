"""Normalizations that exporters write out: layer norm, RMS norm, softmax."""

from __future__ import annotations

import math

import numpy as np

from kcompiler.graph.build import mean
from kcompiler.graph.node import Op
from kcompiler.graph.operators import (
    Add,
    Div,
    Exp,
    LayerNorm,
    Mul,
    Reciprocal,
    Reduce,
    Relu,
    RmsNorm,
    Rsqrt,
    Softmax,
    Sqrt,
    Sub,
)
from kcompiler.pattern import Any, Const, Node, Number, Pattern, chain, node, one_of, splat
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, tensor, weight

X = Any("x")


def _reduce(x: Pattern, function: str, name: str) -> Node:
    return node(Reduce, x, name=name, where=lambda op: op.attributes["function"] == function)


def _mean_of(x: Pattern, name: str) -> Node:
    return node(Mul, _reduce(x, "sum", name), Number(name=f"by_{name}"))


def _no_mean(match: Match, name: str) -> str | None:
    """Why a sum times a number is not a mean."""
    total = match.node(Reduce, name)
    count = math.prod(total.x.shape[a] for a in total.axes)
    by = splat(match[f"by_{name}"])
    if by is None or not math.isclose(by * count, 1, rel_tol=1e-3):
        return f"the sum of {count} elements is multiplied by {by}"
    return None


def _normalized(x: Pattern) -> Pattern:
    """X / sqrt(mean(x²) + epsilon), where x is bound to "c"."""
    c = Any("c")
    power = node(Add, _mean_of(node(Mul, c, c), "power"), Number(name="epsilon"))
    return one_of(node(Mul, x, node(Rsqrt, power)), node(Div, x, node(Sqrt, power)))


class LayerNormWritten(Rule):
    """(x - mean) / sqrt(variance + epsilon) is a layer norm."""

    pattern = _normalized(node(Sub, X, _mean_of(X, "sum"), name="c"))
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match.node(Reduce, "sum").axes != match.node(Reduce, "power").axes:
            return "mean and variance are over different axes"
        return _no_mean(match, "sum") or _no_mean(match, "power")

    def build(self, match: Match) -> Op:
        axes = match.node(Reduce, "sum").axes
        return LayerNorm(match["x"], None, None, axes, splat(match["epsilon"]) or 0.0)

    def example(self, rng: np.random.Generator) -> Op:
        x, axes = tensor("x", 2, 3, 8), ((2,), (1, 2))[rng.integers(2)]
        c = Sub(x, mean(x, axes))
        power = Add(mean(Mul(c, c), axes), number(1e-5))
        return Mul(Rsqrt(power), c) if rng.integers(2) else Div(c, Sqrt(power))


class LayerNormOfSquares(Rule):
    """A layer norm with the variance max(mean(x²) - mean(x)², 0); its scale may come early."""

    _centred = node(Sub, X, node(Mul, _reduce(X, "sum", "sum"), Number(name="by_sum"), name="mean"))
    _mean = Any("mean")
    _squares = node(Sub, _mean_of(node(Mul, X, X), "power"), node(Mul, _mean, _mean))
    _root = node(Rsqrt, node(Add, one_of(node(Relu, _squares), _squares), Number(name="epsilon")))
    pattern = one_of(chain(Mul, _centred, _root, Const("scale")), chain(Mul, _centred, _root))
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match.node(Reduce, "sum").axes != match.node(Reduce, "power").axes:
            return "mean and variance are over different axes"
        if match["x"].type != match.root.type:
            return "the scale broadcasts x"
        return _no_mean(match, "sum") or _no_mean(match, "power")

    def build(self, match: Match) -> Op:
        axes, scale = match.node(Reduce, "sum").axes, match.bindings.get("scale")
        return LayerNorm(match["x"], scale, None, axes, splat(match["epsilon"]) or 0.0)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 2, 3, 8)
        middle = mean(x, (2,))
        variance: Op = Sub(mean(Mul(x, x), (2,)), Mul(middle, middle))
        variance = Relu(variance) if rng.integers(2) else variance
        root: Op = Rsqrt(Add(variance, number(1e-3)))
        root = Mul(root, weight(rng, 8)) if rng.integers(2) else root
        return Mul(Sub(x, middle), root)


class RmsNormWritten(Rule):
    """x / sqrt(mean(x²) + epsilon) is an RMS norm."""

    pattern = _normalized(Any("c"))
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match["c"].type != match.root.type:
            return "x broadcasts"
        return _no_mean(match, "power")

    def build(self, match: Match) -> Op:
        axes = match.node(Reduce, "power").axes
        return RmsNorm(match["c"], None, axes, splat(match["epsilon"]) or 0.0)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 2, 3, 8)
        power = Add(number(1e-6), mean(Mul(x, x), (2,)))
        return Mul(x, Rsqrt(power)) if rng.integers(2) else Div(x, Sqrt(power))


class RmsNormOfCentred(Rule):
    """An RMS norm of x - mean(x) is a layer norm of x."""

    pattern = node(RmsNorm, node(Sub, X, _mean_of(X, "sum")), name="norm")
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match.node(Reduce, "sum").axes != match.node(RmsNorm, "norm").axes:
            return "mean and norm are over different axes"
        return _no_mean(match, "sum")

    def build(self, match: Match) -> Op:
        norm = match.node(RmsNorm, "norm")
        return LayerNorm(match["x"], None, None, norm.axes, norm.epsilon)

    def example(self, rng: np.random.Generator) -> Op:
        del rng
        x = tensor("x", 2, 3, 8)
        return RmsNorm(Sub(x, mean(x, (2,))), None, (2,), 1e-5)


class NormScale(Rule):
    """A factor after a norm without one is its scale."""

    pattern = node(Mul, node((LayerNorm, RmsNorm), X, name="norm"), Const("c"))
    exclusive = True

    def check(self, match: Match) -> str | None:
        return None if match.root.type == match["norm"].type else "the factor broadcasts x"

    def build(self, match: Match) -> Op:
        norm, x, c = match["norm"], match["x"], match["c"]
        if isinstance(norm, LayerNorm):
            return LayerNorm(x, c, None, norm.axes, norm.epsilon)
        rms = match.node(RmsNorm, "norm")
        return RmsNorm(x, c, rms.axes, rms.epsilon)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 2, 3, 8)
        norm = (
            RmsNorm(x, None, (2,), 1e-5)
            if rng.integers(2)
            else LayerNorm(x, None, None, (1,), 1e-5)
        )
        return Mul(weight(rng, 3, 1) if rng.integers(2) else weight(rng, 8), norm)


class NormBias(Rule):
    """A constant added to a layer norm without a bias is its bias."""

    pattern = node(Add, node(LayerNorm, name="norm"), Const("c"))
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match.node(LayerNorm, "norm").bias is not None:
            return "the norm has a bias"
        return None if match.root.type == match["norm"].type else "the constant broadcasts x"

    def build(self, match: Match) -> Op:
        norm = match.node(LayerNorm, "norm")
        return LayerNorm(norm.x, norm.scale, match["c"], norm.axes, norm.epsilon)

    def example(self, rng: np.random.Generator) -> Op:
        scale = weight(rng, 8) if rng.integers(2) else None
        norm = LayerNorm(tensor("x", 2, 3, 8), scale, None, (2,), 1e-5)
        return Add(weight(rng, 8), norm)


class SoftmaxWritten(Rule):
    """exp(x) over its sum is a softmax, with or without the maximum taken off first."""

    _power = node(Exp, one_of(node(Sub, X, _reduce(X, "max", "max")), X), name="power")
    _sum = _reduce(Any("power"), "sum", "sum")
    pattern = one_of(node(Div, _power, _sum), node(Mul, _power, node(Reciprocal, _sum)))
    exclusive = True

    def check(self, match: Match) -> str | None:
        axes = match.node(Reduce, "sum").axes
        if len(axes) != 1:
            return f"the sum is over {len(axes)} axes"
        if "max" in match and match.node(Reduce, "max").axes != axes:
            return "maximum and sum are over different axes"
        return None

    def build(self, match: Match) -> Op:
        return Softmax(match["x"], match.node(Reduce, "sum").axes[0])

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 2, 3, 4)
        power = Exp(Sub(x, Reduce(x, "max", (1,))) if rng.integers(2) else x)
        total = Reduce(power, "sum", (1,))
        return Div(power, total) if rng.integers(2) else Mul(Reciprocal(total), power)


class SoftmaxShifted(Rule):
    """A softmax does not change when the maximum along its axis is taken off."""

    pattern = node(Softmax, node(Sub, X, _reduce(X, "max", "max")), name="softmax")
    exclusive = True

    def check(self, match: Match) -> str | None:
        axis = match.node(Softmax, "softmax").axis
        return None if match.node(Reduce, "max").axes == (axis,) else "the axes differ"

    def build(self, match: Match) -> Op:
        return Softmax(match["x"], match.node(Softmax, "softmax").axis)

    def example(self, rng: np.random.Generator) -> Op:
        del rng
        x = tensor("x", 2, 3, 4)
        return Softmax(Sub(x, Reduce(x, "max", (1,))), 1)


RULES: tuple[Rule, ...] = (
    LayerNormWritten(),
    LayerNormOfSquares(),
    RmsNormWritten(),
    RmsNormOfCentred(),
    NormScale(),
    NormBias(),
    SoftmaxWritten(),
    SoftmaxShifted(),
)
