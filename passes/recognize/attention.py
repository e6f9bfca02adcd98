"""Attention that exporters write out: two contractions around a softmax.

Scales may stand before the product, after it or on both operands, masks may be added or chosen by a
condition, keys may come transposed, and batch dimensions may be regrouped on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kcompiler.graph.build import broadcast, reshape, scalar, transpose
from kcompiler.graph.node import Op
from kcompiler.graph.operators import (
    Add,
    Attention,
    Broadcast,
    Contract,
    Mul,
    Reshape,
    Softmax,
    Where,
)
from kcompiler.graph.types import BOOL, F32
from kcompiler.kernel.views import MOVEMENTS
from kcompiler.pattern import Found, node, splat
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, tensor

# Below this, exp() of a masked logit is 0 beside any other: a choice is as good as a sum.
MASKED = -1e4


class NotAttention(Exception):
    """Why a contraction is not the end of an attention."""


@dataclass(frozen=True)
class Logits:
    """What stands between the product of queries and keys and the softmax.

    `shape` is where masks were added, if they were; `scale` is the factor on the product.
    """

    product: Contract
    scale: float = 1.0
    masks: tuple[Op, ...] = ()
    shape: tuple[int, ...] = ()
    inner: tuple[Op, ...] = ()


@dataclass(frozen=True)
class Parts:
    """An attention taken apart: the two contractions, the softmax, and which operand is which."""

    out: Contract
    probabilities_first: bool
    softmax: Softmax
    logits: Logits
    inner: tuple[Op, ...]


def _need(holds: bool, reason: str) -> None:
    if not holds:
        raise NotAttention(reason)


def parts_of(out: Op) -> Parts:
    """The parts of the attention that ends with a contraction; raises `NotAttention`."""
    if not isinstance(out, Contract):
        raise NotAttention("it ends with no contraction")
    for first, operand in ((True, out.x), (False, out.y)):
        path = [operand.x, operand] if isinstance(operand, Reshape) else [operand]
        softmax = path[0]
        if isinstance(softmax, Softmax):
            _need(softmax.axis == softmax.type.rank - 1, "the softmax is not over the last axis")
            _need(softmax.shape[-2:] == operand.shape[-2:], "a reshape regroups the softmax")
            logits = _logits(softmax.x)
            parts = Parts(out, first, softmax, logits, (*path, *logits.inner))
            _check_letters(parts)
            return parts
    raise NotAttention("no operand is a softmax")


def _logits(op: Op) -> Logits:
    """The product under the operators that scale, mask and reshape it."""
    match op:
        case Contract():
            return Logits(op, inner=(op,))
        case Reshape(x=x):
            under = _logits(x)
            _need(x.shape[-2:] == op.shape[-2:], "a reshape regroups the logits")
            return replace(under, inner=(*under.inner, op))
        case Mul(x=x, y=y):
            factor, rest = (x, y) if splat(x) is not None else (y, x)
            number = splat(factor)
            if number is None:
                raise NotAttention("the logits are multiplied by a tensor")
            under = _logits(rest)
            masks = tuple(Mul(m, factor) for m in under.masks)
            scaled = replace(under, scale=under.scale * number, masks=masks)
            return replace(scaled, inner=(*under.inner, op))
        case Add(x=x, y=y):
            left = _leads_to_product(x)
            return _masked(_logits(x if left else y), y if left else x, op)
        case Where(cond=cond, x=x, y=y):
            left = _leads_to_product(x)
            chosen = splat(y if left else x)
            if chosen is None or chosen > MASKED:
                raise NotAttention("the logits are replaced by something that is not very negative")
            low, zero = scalar(op, chosen), scalar(op, 0)
            mask = Where(cond, zero, low) if left else Where(cond, low, zero)
            return _masked(_logits(x if left else y), mask, op)
    raise NotAttention(f"the logits come from {op!r}")


def _leads_to_product(op: Op) -> bool:
    while isinstance(op, Reshape | Mul | Add | Where):
        if isinstance(op, Reshape):
            op = op.x
        else:
            return any(_leads_to_product(o) for o in op.operands)
    return isinstance(op, Contract)


def _masked(under: Logits, mask: Op, op: Op) -> Logits:
    _need(under.shape in {(), op.shape}, "masks are added to logits of different shapes")
    _need(np.broadcast_shapes(mask.shape, op.shape) == op.shape, "the mask broadcasts the logits")
    _need(under.product.type.size == op.type.size, "the mask broadcasts the logits")
    return replace(under, masks=(*under.masks, mask), shape=op.shape, inner=(*under.inner, op))


def _check_letters(parts: Parts) -> None:
    """Whether the letters are those of softmax(q kᵀ) v."""
    p, v, result = _out_letters(parts)
    batch, rows, columns = set(p[:-2]), p[-2], p[-1]
    depth = set(v) - batch - {columns}
    _need(columns in v and columns not in result, "the second product is not over the softmax")
    _need(rows not in v and batch <= set(result), "queries or batches are summed over")
    _need(len(depth) == 1 and depth <= set(result), "the values have more than one depth")
    _need(set(result) == {*batch, rows, *depth}, "the result lacks a dimension")
    q, k, logits = _product_letters(parts.logits.product)
    _need(len(logits) >= 2, "the logits are no matrices")
    inner = (set(q) & set(k)) - set(logits)
    _need(logits[-1] in k and logits[-1] not in q, "queries and keys share a position")
    _need(logits[-2] not in k, "queries and keys share a position")
    _need(len(inner) == 1, "queries and keys meet in more or less than one depth")
    _need(set(q) | set(k) == {*logits, *inner}, "a dimension of queries or keys is summed alone")


def _out_letters(parts: Parts) -> tuple[str, str, str]:
    """The letters of the probabilities, the values and the result."""
    x, y, result = parts.out.letters
    return (x, y, result) if parts.probabilities_first else (y, x, result)


def _product_letters(product: Contract) -> tuple[str, str, str]:
    """The letters of queries, keys and logits; queries have the logits' last dimension but one."""
    x, y, logits = product.letters
    return (x, y, logits) if logits[-2:-1] in x else (y, x, logits)


def arranged(op: Op, letters: str, batch: str, extents: dict[str, int], matrix: str) -> Op:
    """A tensor as [*batch, *matrix]: transposed, and repeated along batch letters that it lacks."""
    order = [c for c in batch + matrix if c in letters]
    moved = transpose(op, [letters.index(c) for c in order])
    spread = reshape(moved, [extents[c] if c in letters else 1 for c in batch + matrix])
    return broadcast(spread, [extents[c] for c in batch + matrix])


def _consumed(out: Op) -> tuple[Op, ...] | str:
    try:
        return parts_of(out).inner
    except NotAttention as reason:
        return str(reason)


class AttentionWritten(Rule):
    """softmax(scale * q kᵀ + mask) v is an attention."""

    pattern = Found((Contract,), _consumed)
    exclusive = True

    def build(self, match: Match) -> Op:
        parts = parts_of(match.root)
        product, out = parts.logits.product, parts.out
        wide = parts.logits.shape[:-2] or product.shape[:-2]
        q, k, logits = _product_letters(product)
        left = logits[-2] in product.letters[0]
        queries, keys = (product.x, product.y) if left else (product.y, product.x)
        (depth,) = (set(q) & set(k)) - set(logits)
        extents, batch = product.extents, logits[:-2]
        queries = arranged(queries, q, batch, extents, logits[-2] + depth)
        keys = arranged(keys, k, batch, extents, logits[-1] + depth)
        p, v, result = _out_letters(parts)
        (column,) = set(v) - set(p)
        values = out.y if parts.probabilities_first else out.x
        values = arranged(values, v, p[:-2], out.extents, p[-1] + column)
        q_, k_, v_ = (reshape(x, (*wide, *x.shape[-2:])) for x in (queries, keys, values))
        attention = Attention(q_, k_, v_, _mask(parts.logits), parts.logits.scale)
        order = p[:-1] + column
        full = reshape(attention, [out.extents[c] for c in order])
        return transpose(full, [order.index(c) for c in result])

    def example(self, rng: np.random.Generator) -> Op:
        return _example(rng)


def _mask(logits: Logits) -> Op | None:
    """All masks as one sum."""
    total: Op | None = None
    for mask in logits.masks:
        total = mask if total is None else Add(total, mask)
    return total


def _example(rng: np.random.Generator) -> Op:
    q, v = tensor("q", 2, 3, 4, 5), tensor("v", 2, 3, 6, 7)
    if rng.integers(2):
        logits: Op = Contract(q, tensor("k", 2, 3, 5, 6), "abqd,abdk->abqk", F32)
    else:
        flat = Contract(reshape(q, (6, 4, 5)), tensor("k", 6, 6, 5), "bqd,bkd->bqk", F32)
        logits = Reshape(flat, (2, 3, 4, 6))
    if rng.integers(2):
        logits = Mul(logits, number(0.3))
    if rng.integers(2):
        logits = Add(tensor("m", *((6,), (4, 6), (2, 1, 1, 6))[rng.integers(3)]), logits)
    elif rng.integers(2):
        # Half of each row stays, so that no row is masked as a whole.
        cond = Broadcast(
            reshape(Where(tensor("c", 4, 3, dtype=BOOL), *_switch()), (4, 3, 1)), (4, 3, 2)
        )
        logits = Where(Reshape(cond, (4, 6)), logits, number(-3e38))
    weights = Softmax(logits, 3)
    if rng.integers(2):
        return Contract(weights, v, "abqk,abkd->aqbd", F32)
    flat_weights, flat_v = Reshape(weights, (6, 4, 6)), tensor("v", 6, 6, 7)
    return Contract(flat_v, flat_weights, "bkd,bqk->bqd", F32)


def _switch() -> tuple[Op, Op]:
    return tensor("on", 4, 3, dtype=BOOL), tensor("off", 4, 3, dtype=BOOL)


class GroupedHeads(Rule):
    """Queries that share keys and values read them by a stride of 0 and not from a copy.

    A reshape that joins the repeated dimension with the heads would need the copy; regrouping the
    queries instead costs nothing.
    """

    pattern = node(Attention, name="attention")
    exact = True

    def check(self, match: Match) -> str | None:
        attention = match.node(Attention, "attention")
        batch = _repeated(attention.k)
        if batch is None or batch != _repeated(attention.v):
            return "keys and values are not repeated in the same way"
        if attention.mask is not None and _regrouped(attention.mask, attention, batch) is None:
            return "the mask cannot be regrouped"
        return None

    def build(self, match: Match) -> Op:
        old = match.node(Attention, "attention")
        k, v, batch = old.k, old.v, _repeated(old.k)
        if not isinstance(k, Reshape) or not isinstance(v, Reshape) or batch is None:
            raise TypeError("checked before")
        q = reshape(old.q, (*batch, *old.q.shape[-2:]))
        mask = None if old.mask is None else _regrouped(old.mask, old, batch)
        return reshape(Attention(q, k.x, v.x, mask, old.scale), old.shape)

    def example(self, rng: np.random.Generator) -> Op:
        k, v = (
            Reshape(Broadcast(tensor(n, 2, 3, 1, 5, 4), (2, 3, 2, 5, 4)), (2, 6, 5, 4))
            for n in "kv"
        )
        q = tensor("q", 2, 6, 7, 4)
        mask = (None, tensor("m", 5), tensor("m", 1, 1, 7, 5), tensor("m", 2, 6, 7, 1))
        return Attention(q, k, v, mask[rng.integers(4)], 0.5)


def _repeated(op: Op) -> tuple[int, ...] | None:
    """The batch dimensions of a broadcast before a reshape joins them, or None."""
    if not isinstance(op, Reshape) or not isinstance(op.x, Broadcast):
        return None
    return op.x.shape[:-2] if op.x.shape[-2:] == op.shape[-2:] else None


def _regrouped(mask: Op, attention: Attention, batch: Sequence[int]) -> Op | None:
    """The mask for other batch dimensions of the same number; None if it has some of them only."""
    own = mask.shape[:-2]
    if math.prod(own) == 1:
        return reshape(mask, mask.shape[-2:])
    if own == attention.q.shape[:-2]:
        return reshape(mask, (*batch, *mask.shape[-2:]))
    return None


class FactorIntoAttention(Rule):
    """A factor on queries or keys, under reshapes and the like, is a factor of the scale."""

    pattern = Found((Attention,), lambda op: _factor_path(op) or "no factor on queries or keys")
    exclusive = True

    def build(self, match: Match) -> Op:
        old = match.node(Attention, "root")
        *moves, product = _factor_path(old)
        x, number_ = _factored(product)
        for move in reversed(moves):
            x = move.with_operands([x])
        of_query = (moves or [product])[0] is old.q
        q, k = (x, old.k) if of_query else (old.q, x)
        return Attention(q, k, old.v, old.mask, old.scale * number_)

    def example(self, rng: np.random.Generator) -> Op:
        q, k, v = tensor("q", 2, 12), tensor("k", 2, 3, 4), tensor("v", 2, 3, 4)
        if rng.integers(2):
            return Attention(Reshape(Mul(number(0.5), q), (2, 3, 4)), k, v, None, 0.5)
        return Attention(v, Mul(k, number(0.5)), v, None, 1.0)


def _factor_path(op: Op) -> tuple[Op, ...]:
    """The movements from queries or keys down to a product with a number, and that product."""
    if not isinstance(op, Attention) or op.q is op.k:
        return ()
    for operand in (op.q, op.k):
        path, here = list[Op](), operand
        while isinstance(here, MOVEMENTS):
            path.append(here)
            here = here.operands[0]
        if isinstance(here, Mul) and any(splat(o) is not None for o in here.operands):
            return (*path, here)
    return ()


def _factored(product: Op) -> tuple[Op, float]:
    """A product with a number: the other operand, and the number."""
    for factor, rest in (product.operands, product.operands[::-1]):
        value = splat(factor)
        if value is not None and rest.type == product.type:
            return rest, value
    raise TypeError(f"no product with a number: {product!r}")


RULES: tuple[Rule, ...] = (AttentionWritten(), GroupedHeads(), FactorIntoAttention())
