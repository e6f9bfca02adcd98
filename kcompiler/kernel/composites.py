"""Softmax, normalizations and attention as nests over locals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kcompiler.graph.matmul import accumulator
from kcompiler.graph.node import Op
from kcompiler.graph.operators.composite import Attention, LayerNorm, RmsNorm, Softmax
from kcompiler.kernel.anchors import keeping, over, product
from kcompiler.kernel.expr import Apply, Const, Expr, Load
from kcompiler.kernel.loops import At, Index, Loops, Place, Scope
from kcompiler.kernel.lowering import Lazy, Lowering, aligned
from kcompiler.scalar import working_dtype


def call(function: str, *arguments: Expr) -> Expr:
    """A function of expressions of one type."""
    return Apply(arguments[0].dtype, function, arguments)


def softmax(low: Lowering, op: Softmax) -> Lazy:
    """Maximum, exponentials, their sum; the quotient is computed where it is read."""
    low.settle(op.x)
    axes = (op.axis,)
    loops, names = over(op, axes)
    every = Loops.over(dict(zip(names, op.shape, strict=True)))

    def logits(scope: Scope, at: At) -> Expr:
        return low.expr(op.x, scope, tuple(at[n] for n in names))

    top = keeping(low.emit(op, loops, "max", logits), axes)

    def power(scope: Scope, at: At) -> Expr:
        most = low.access(op, top, scope, tuple(at[n] for n in names))
        return call("exp", call("sub", logits(scope, at), most))

    powers = low.emit(op, every, "none", power)

    def value(scope: Scope, at: At) -> Expr:
        return low.access(op, powers, scope, tuple(at[n] for n in names))

    total = keeping(low.emit(op, loops, "sum", value), axes)
    return lambda scope, index: call(
        "div", low.access(op, powers, scope, index), low.access(op, total, scope, index)
    )


def moment(low: Lowering, op: Op, axes: Sequence[int], of: Lazy, epsilon: float | None) -> Place:
    """The mean over axes of values at an index; with epsilon, 1 / sqrt(mean + epsilon) instead."""
    loops, names = over(op, axes)
    dtype = working_dtype(op.dtype)
    count = Const(dtype, float(math.prod(op.shape[a] for a in axes)))

    def body(scope: Scope, at: At) -> Expr:
        return of(scope, tuple(at[n] for n in names))

    def result(scope: Scope, at: At, acc: Expr) -> Expr:
        del scope, at
        mean = call("div", acc, count)
        if epsilon is None:
            return mean
        return call("rsqrt", call("add", mean, Const(dtype, epsilon)))

    return keeping(low.emit(op, loops, "sum", body, result=result), axes)


def affine(
    low: Lowering, op: LayerNorm | RmsNorm, normal: Expr, scope: Scope, index: Index
) -> Expr:
    """A normalized value times scale plus bias, where there are any."""
    bias = op.bias if isinstance(op, LayerNorm) else None
    if op.scale is not None:
        scale = low.expr(op.scale, scope, aligned(index, op.scale.shape))
        normal = call("mul", normal, scale)
    if bias is not None:
        normal = call("add", normal, low.expr(bias, scope, aligned(index, bias.shape)))
    return normal


def layer_norm(low: Lowering, op: LayerNorm) -> Lazy:
    """Mean, then the mean of squared differences; the rest is computed where it is read."""
    low.settle(op.x)
    mean = moment(low, op, op.axes, lambda s, i: low.expr(op.x, s, i), None)

    def centred(scope: Scope, index: Index) -> Expr:
        return call("sub", low.expr(op.x, scope, index), low.access(op, mean, scope, index))

    def squared(scope: Scope, index: Index) -> Expr:
        return call("mul", centred(scope, index), centred(scope, index))

    factor = moment(low, op, op.axes, squared, op.epsilon)

    def value(scope: Scope, index: Index) -> Expr:
        normal = call("mul", centred(scope, index), low.access(op, factor, scope, index))
        return affine(low, op, normal, scope, index)

    return value


def rms_norm(low: Lowering, op: RmsNorm) -> Lazy:
    """The mean of squares; the rest is computed where it is read."""
    low.settle(op.x)

    def squared(scope: Scope, index: Index) -> Expr:
        x = low.expr(op.x, scope, index)
        return call("mul", x, x)

    factor = moment(low, op, op.axes, squared, op.epsilon)

    def value(scope: Scope, index: Index) -> Expr:
        x = low.expr(op.x, scope, index)
        normal = call("mul", x, low.access(op, factor, scope, index))
        return affine(low, op, normal, scope, index)

    return value


def attention(low: Lowering, op: Attention) -> Lazy:
    """Scores, maximum, exponentials, their sum, the weighted sum; the quotient where it is read."""
    return _Attention(low, op).lower()


class _Attention:
    """The steps of attention; dimensions: b0… (batch), i (queries), j (keys), d and e (depths)."""

    def __init__(self, low: Lowering, op: Attention) -> None:
        self.low = low
        self.op = op
        self.batch = tuple(f"b{d}" for d in range(len(op.shape) - 2))
        self.rows = dict(zip(self.batch, op.shape, strict=False)) | {"i": op.shape[-2]}
        self.keys = {"j": op.k.shape[-2]}
        self.acc = accumulator(op.q.dtype, op.k.dtype)

    def lower(self) -> Lazy:
        low, op = self.low, self.op
        table = Loops.over({**self.rows, **self.keys})
        along = Loops.over(self.rows, self.keys)
        inner = Loops.over({**self.rows, **self.keys}, {"d": op.q.shape[-1]})
        self.scores = low.emit(op, inner, "sum", self.score)
        self.top = low.emit(op, along, "max", self.logit)
        # The weighted sum is matrix work: its operands have the element type of the tensors.
        self.powers = low.emit(op, table, "none", self.power, dtype=op.v.dtype)
        total = low.emit(op, along, "sum", self.weight)
        wide = Loops.over({**self.rows, "e": op.v.shape[-1]}, self.keys)
        summed = low.emit(op, wide, "sum", self.weighted)
        return lambda scope, index: call(
            "div", low.access(op, summed, scope, index), low.access(op, total, scope, index[:-1])
        )

    def at(self, at: At, *names: str) -> Index:
        """The position along the batch dimensions and some others."""
        return tuple(at[n] for n in (*self.batch, *names))

    def score(self, scope: Scope, at: At) -> Expr:
        q = self.low.read(self.op.q, scope, self.at(at, "i", "d"))
        return product(q, self.low.read(self.op.k, scope, self.at(at, "j", "d")), self.acc)

    def logit(self, scope: Scope, at: At) -> Expr:
        index = self.at(at, "i", "j")
        found: Expr = self.low.access(self.op, self.scores, scope, index)
        if self.op.scale != 1:
            found = call("mul", found, Const(self.acc, self.op.scale))
        mask = self.op.mask
        if mask is None:
            return found
        return call("add", found, self.low.expr(mask, scope, aligned(index, mask.shape)))

    def power(self, scope: Scope, at: At) -> Expr:
        most = self.low.access(self.op, self.top, scope, self.at(at, "i"))
        return call("exp", call("sub", self.logit(scope, at), most))

    def weight(self, scope: Scope, at: At) -> Load:
        return self.low.access(self.op, self.powers, scope, self.at(at, "i", "j"))

    def weighted(self, scope: Scope, at: At) -> Expr:
        v = self.low.read(self.op.v, scope, self.at(at, "j", "e"))
        return product(self.weight(scope, at), v, self.acc)
