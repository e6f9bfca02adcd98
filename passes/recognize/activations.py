"""Activations that exporters write out: GELU, SiLU, hard-swish, mish, softplus, sigmoid."""

from __future__ import annotations

import math

import numpy as np

from kcompiler.graph.build import scalar
from kcompiler.graph.node import Op
from kcompiler.graph.operators import (
    Abs,
    Add,
    Div,
    Erf,
    Exp,
    Gelu,
    GeluTanh,
    HardSwish,
    Log,
    Max,
    Min,
    Mish,
    Mul,
    Neg,
    Reciprocal,
    Relu,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Tanh,
)
from kcompiler.pattern import Any, Number, Pattern, chain, close, node, one_of, splat
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, tensor

X = Any("x")
ROOT_HALF = math.sqrt(0.5)
ROOT_2_BY_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def _gated(gate: Pattern) -> Pattern:
    """X * gate(x), and perhaps a number "k" among the factors."""
    return one_of(chain(Mul, X, gate, Number(name="k")), chain(Mul, X, gate))


def _times(x: Op, factor: float, match: Match) -> Op:
    """X times a factor and the number "k" of the match; x itself when they cancel."""
    k = splat(match["k"]) if "k" in match else None
    total = factor * (1.0 if k is None else k)
    return x if close(total, 1, x) else Mul(x, scalar(x, total))


class GeluErf(Rule):
    """x * (1 + erf(x / sqrt(2))) is 2 * gelu(x); the usual factor 1/2 cancels with the 2.

    The factor is not part of the pattern, because it may have gone into weights already.
    """

    pattern = _gated(node(Add, node(Erf, node(Mul, X, Number(ROOT_HALF))), Number(1)))
    exclusive = True

    def build(self, match: Match) -> Op:
        return _times(Gelu(match["x"]), 2, match)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        gate = Add(number(1), Erf(Mul(x, number(ROOT_HALF))))
        half = Mul(number(0.5), gate)
        return (Mul(x, gate), Mul(gate, x), Mul(x, half), Mul(Mul(x, number(0.5)), gate))[
            rng.integers(4)
        ]


class GeluWithTanh(Rule):
    """x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x³))) is 2 * gelu(x) in its tanh form."""

    _cubic = node(Add, X, chain(Mul, Number(CUBIC), X, X, X))
    _factored = node(Add, chain(Mul, Number(CUBIC), X, X), Number(1))
    _inner = one_of(
        node(Mul, _cubic, Number(ROOT_2_BY_PI)), chain(Mul, X, Number(ROOT_2_BY_PI), _factored)
    )
    pattern = _gated(node(Add, node(Tanh, _inner), Number(1)))
    exclusive = True

    def build(self, match: Match) -> Op:
        return _times(GeluTanh(match["x"]), 2, match)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        root, cubic = number(ROOT_2_BY_PI), number(CUBIC)
        inner = (
            Mul(root, Add(x, Mul(Mul(Mul(x, x), x), cubic))),
            Mul(Add(Mul(cubic, Mul(x, Mul(x, x))), x), root),
            Mul(Mul(x, root), Add(number(1), Mul(Mul(x, cubic), x))),
        )[rng.integers(3)]
        gate = Add(Tanh(inner), number(1))
        return Mul(x, gate) if rng.integers(2) else Mul(Mul(gate, number(0.5)), x)


class HardSwishClipped(Rule):
    """x * clip(x + 3, 0, 6) is 6 * hard_swish(x); the usual factor 1/6 cancels with the 6."""

    pattern = _gated(
        one_of(
            node(Min, node(Relu, node(Add, X, Number(3))), Number(6)),
            node(Relu, node(Min, node(Add, X, Number(3)), Number(6))),
            node(Min, node(Max, node(Add, X, Number(3)), Number(0)), Number(6)),
        ),
    )
    exclusive = True

    def build(self, match: Match) -> Op:
        return _times(HardSwish(match["x"]), 6, match)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        moved, six, zero = Add(x, number(3)), number(6), number(0)
        gates = Min(Relu(moved), six), Relu(Min(six, moved)), Min(Max(zero, moved), six)
        gate = gates[rng.integers(3)]
        return Mul(gate, x) if rng.integers(2) else Mul(number(1 / 6), Mul(gate, x))


class HardSwishGated(Rule):
    """x * clip(x / 6 + 1/2, 0, 1), a product with a hard sigmoid, is hard_swish(x)."""

    _gate = node(Add, node(Mul, X, Number(1 / 6)), Number(0.5))
    pattern = node(
        Mul,
        X,
        one_of(
            node(Min, node(Relu, _gate), Number(1)),
            node(Relu, node(Min, _gate, Number(1))),
            node(Min, node(Max, _gate, Number(0)), Number(1)),
            node(Max, node(Min, _gate, Number(1)), Number(0)),
        ),
    )
    exclusive = True

    def build(self, match: Match) -> Op:
        return HardSwish(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        line, one, zero = Add(Mul(x, number(1 / 6)), number(0.5)), number(1), number(0)
        gates = Min(Relu(line), one), Relu(Min(one, line)), Max(zero, Min(one, line))
        return Mul(x, gates[rng.integers(3)])


class LogisticSigmoid(Rule):
    """1 / (1 + exp(-x)) is sigmoid(x)."""

    pattern = node(Reciprocal, node(Add, node(Exp, node(Neg, X)), Number(1)))
    exclusive = True

    def build(self, match: Match) -> Op:
        return Sigmoid(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        power = Exp(Neg(tensor("x", 3, 4)))
        one = number(1)
        return Reciprocal(Add(one, power) if rng.integers(2) else Add(power, one))


class SigmoidGate(Rule):
    """x * sigmoid(x) and x / (1 + exp(-x)) are silu(x)."""

    pattern = one_of(
        node(Mul, X, node(Sigmoid, X)),
        node(Div, X, node(Add, node(Exp, node(Neg, X)), Number(1))),
    )
    exclusive = True

    def build(self, match: Match) -> Op:
        return Silu(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        divided = Div(x, Add(Exp(Neg(x)), number(1)))
        return (Mul(x, Sigmoid(x)), Mul(Sigmoid(x), x), divided)[rng.integers(3)]


class LogOfExp(Rule):
    """log(1 + exp(x)) is softplus(x), which does not overflow."""

    pattern = node(Log, node(Add, node(Exp, X), Number(1)))
    exclusive = True

    def build(self, match: Match) -> Op:
        return Softplus(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        power = Exp(tensor("x", 3, 4))
        return Log(Add(power, number(1)) if rng.integers(2) else Add(number(1), power))


class MishGate(Rule):
    """x * tanh(softplus(x)) is mish(x)."""

    pattern = node(Mul, X, node(Tanh, node(Softplus, X)))
    exclusive = True

    def build(self, match: Match) -> Op:
        return Mish(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        gate = Tanh(Softplus(x))
        return Mul(x, gate) if rng.integers(2) else Mul(gate, x)


class SoftsignQuotient(Rule):
    """x / (1 + |x|) is softsign(x)."""

    pattern = node(Div, X, node(Add, node(Abs, X), Number(1)))
    exclusive = True

    def build(self, match: Match) -> Op:
        return Softsign(match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 3, 4)
        return Div(x, Add(Abs(x), number(1)) if rng.integers(2) else Add(number(1), Abs(x)))


RULES: tuple[Rule, ...] = (
    GeluErf(),
    GeluWithTanh(),
    HardSwishClipped(),
    HardSwishGated(),
    LogisticSigmoid(),
    SigmoidGate(),
    LogOfExp(),
    MishGate(),
    SoftsignQuotient(),
)
