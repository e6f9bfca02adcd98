"""Factors go into weights: batch norms, scales and normalized images cost nothing at run time."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Add, Contract, Conv, Mul, Reduce, Window
from kcompiler.graph.types import F32, compute_dtype, is_float
from kcompiler.pattern import Any, Const, Pattern, node, one_of
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, tensor, weight

X = Any("x")
WEIGHTED = one_of(
    node(Conv, X, Const("w"), name="linear"),
    node(Contract, X, Const("w"), name="linear"),
    node(Contract, Const("w"), X, name="linear"),
)


class FactorIntoWeights(Rule):
    """A factor a channel, as of a batch norm, goes into the weights of the operator before it."""

    pattern: ClassVar[Pattern] = node(Mul, WEIGHTED, Const("c"))
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match.root.type != match["linear"].type:
            return "the factor broadcasts the result"
        if not _has_room(match["w"]):
            return "weights of 8 bits have no room for a factor"
        factor = _for_result(match)
        if factor is None:
            return "the factor is not one of the weights' own channels"
        scaled = _scaled(match, factor)
        return None if np.isfinite(scaled.value.astype(F32)).all() else "a weight overflows"

    def build(self, match: Match) -> Op:
        factor = _for_result(match)
        if factor is None:
            raise TypeError("checked before")
        return _with_weights(match, _scaled(match, factor))

    def example(self, rng: np.random.Generator) -> Op:
        x, w, y = tensor("x", 2, 4, 5), weight(rng, 6, 2, 3), tensor("y", 2, 3, 4)
        conv = Conv(x, w, (1,), (1,), (1,), (1,), 2, F32)
        dense = Contract(y, weight(rng, 4, 7), "bij,jk->bki", F32)
        swapped = Contract(weight(rng, 4, 7), y, "jk,bij->bik", F32)
        return (
            Mul(conv, weight(rng, 6, 1)),
            Mul(number(0.3), conv),
            Mul(dense, weight(rng, 1, 7, 1)),
            Mul(weight(rng, 7), swapped),
        )[rng.integers(4)]


class FactorBeforeWeights(Rule):
    """A factor an input channel goes into the weights of the operator after it; padding stays 0."""

    pattern: ClassVar[Pattern] = one_of(
        node(Conv, node(Mul, X, Const("c"), name="scaled"), Const("w"), name="linear"),
        node(Contract, node(Mul, X, Const("c"), name="scaled"), Const("w"), name="linear"),
        node(Contract, Const("w"), node(Mul, X, Const("c"), name="scaled"), name="linear"),
    )
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match["x"].type != match["scaled"].type:
            return "the factor broadcasts the input"
        if isinstance(match["x"], Reduce | Window):
            return "the factor of a mean keeps it in the range of narrow types"
        if not _has_room(match["w"]):
            return "weights of 8 bits have no room for a factor"
        factor = _for_operand(match)
        if factor is None:
            return "the factor is not one of channels that the weights have"
        scaled = _scaled(match, factor)
        return None if np.isfinite(scaled.value.astype(F32)).all() else "a weight overflows"

    def build(self, match: Match) -> Op:
        factor = _for_operand(match)
        if factor is None:
            raise TypeError("checked before")
        return _with_weights(match, _scaled(match, factor))

    def example(self, rng: np.random.Generator) -> Op:
        x, y = tensor("x", 2, 4, 5), tensor("y", 2, 3, 4)
        scaled = Mul(x, weight(rng, 4, 1))
        return (
            Conv(scaled, weight(rng, 6, 2, 3), (1,), (1,), (1,), (1,), 2, F32),
            Conv(Mul(number(0.5), x), weight(rng, 6, 4, 3), (1,), (1,), (1,), (1,), 1, F32),
            Contract(Mul(y, weight(rng, 4)), weight(rng, 4, 7), "bij,jk->bki", F32),
        )[rng.integers(3)]


class FactorPastBias(Rule):
    """(conv(x) + b) * c is conv(x) * c + b * c, so that the factor reaches the weights."""

    pattern: ClassVar[Pattern] = node(Mul, node(Add, WEIGHTED, Const("b"), name="sum"), Const("c"))
    exclusive = True

    def check(self, match: Match) -> str | None:
        if match.root.type != match["linear"].type:
            return "the factor broadcasts the result"
        if not is_float(match.root.dtype) or match["linear"].dtype.itemsize < F32.itemsize:
            return "this would round differently"
        return None if _for_result(match) is not None else "the factor is not the weights' own"

    def build(self, match: Match) -> Op:
        b, c = match.node(Constant, "b").value, match.node(Constant, "c").value
        return Add(Mul(match["linear"], match["c"]), Constant(np.asarray(b * c)))

    def example(self, rng: np.random.Generator) -> Op:
        conv = Conv(tensor("x", 2, 4, 5), weight(rng, 6, 4, 3), (1,), (1,), (1,), (1,), 1, F32)
        return Mul(weight(rng, 6, 1), Add(weight(rng, 1, 6, 1), conv))


def _has_room(w: Op) -> bool:
    """Whether weights times a factor are as exact as before: integers and 8-bit floats are not."""
    return is_float(w.dtype) and w.dtype.itemsize > 1


def _for_result(match: Match) -> Array | None:
    """The factor of the result, shaped to multiply the weights, or None if they lack its axes."""
    linear, c = match["linear"], match.node(Constant, "c").value
    if c.ndim > linear.type.rank:
        return None
    c = c.reshape((1,) * (linear.type.rank - c.ndim) + c.shape)
    if isinstance(linear, Conv):
        only_channels = c.size == c.shape[1]
        return c.reshape((-1,) + (1,) * (linear.w.type.rank - 1)) if only_channels else None
    if not isinstance(linear, Contract):
        return None
    return _by_letters(c, linear.letters[2], _weight_letters(match, linear))


def _for_operand(match: Match) -> Array | None:
    """The factor of the input, shaped to multiply the weights, or None if they lack its axes."""
    linear, c, rank = match["linear"], match.node(Constant, "c").value, match["x"].type.rank
    if c.ndim > rank:
        return None
    c = c.reshape((1,) * (rank - c.ndim) + c.shape)
    if isinstance(linear, Conv):
        if c.size != c.shape[1]:
            return None
        return _by_groups(c.reshape(-1), linear)
    if not isinstance(linear, Contract):
        return None
    own = linear.letters[0] if linear.y is match["w"] else linear.letters[1]
    return _by_letters(c, own, _weight_letters(match, linear))


def _by_groups(c: Array, conv: Conv) -> Array:
    """A factor an input channel, for w[M, C/groups, *K]: filter m reads those of its group."""
    ones = (1,) * (conv.w.type.rank - 2)
    if c.size == 1:
        return c.reshape((1, 1, *ones))
    groups = c.reshape(conv.groups, -1)
    return np.repeat(groups, conv.w.shape[0] // conv.groups, 0).reshape((*conv.w.shape[:2], *ones))


def _weight_letters(match: Match, linear: Contract) -> str:
    return linear.letters[1] if linear.y is match["w"] else linear.letters[0]


def _by_letters(c: Array, have: str, want: str) -> Array | None:
    """An array with dimensions `have`, laid out for dimensions `want`; None if one lacks."""
    used = [letter for letter, extent in zip(have, c.shape, strict=True) if extent != 1]
    if not set(used) <= set(want):
        return None
    kept = c.reshape([extent for extent in c.shape if extent != 1])
    order = sorted(range(len(used)), key=lambda i: want.index(used[i]))
    extents = dict(zip(used, kept.shape, strict=True))
    return kept.transpose(order).reshape([extents.get(letter, 1) for letter in want])


def _scaled(match: Match, factor: Array) -> Constant:
    w = match.node(Constant, "w").value
    wide = compute_dtype(w.dtype)
    with np.errstate(all="ignore"):
        return constant(w.astype(wide) * factor.astype(wide), w.dtype)


def _with_weights(match: Match, w: Constant) -> Op:
    """The linear operator on `x`, with other weights."""
    linear = match["linear"]
    left = isinstance(linear, Contract) and linear.y is not match["w"]
    return linear.with_operands((w, match["x"]) if left else (match["x"], w))


RULES: tuple[Rule, ...] = (FactorIntoWeights(), FactorBeforeWeights(), FactorPastBias())
