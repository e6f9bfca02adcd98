"""Contractions, windows and reductions as nests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompiler.graph.matmul import accumulator
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators.contraction import Contract, Conv
from kcompiler.graph.operators.movement import Reshape
from kcompiler.graph.operators.reduction import ArgReduce, Reduce, Window
from kcompiler.graph.types import BOOL, I32, is_float
from kcompiler.kernel.emitter import cast
from kcompiler.kernel.expr import Apply, Const, Expr, Load
from kcompiler.kernel.loops import At, Index, Loops, Place, Scope, Unsupported
from kcompiler.kernel.lowering import Lowering, Value
from kcompiler.kernel.nest import Affine
from kcompiler.scalar import lowest


def product(x: Load, y: Load, acc: np.dtype[Any]) -> Expr:
    """The term of a contraction, in the type that it accumulates in."""
    return Apply(acc, "mul", (Load(acc, x.read), Load(acc, y.read)))


def contract(low: Lowering, op: Contract) -> Place:
    """A sum of products over letters, left in the accumulator's type."""
    x, y, result = op.letters
    extents = op.extents
    summed = {c: extents[c] for c in x + y if c not in result}
    acc = accumulator(op.x.dtype, op.y.dtype)

    def body(scope: Scope, at: At) -> Expr:
        left = low.read(op.x, scope, tuple(at[c] for c in x))
        return product(left, low.read(op.y, scope, tuple(at[c] for c in y)), acc)

    return low.emit(op, Loops.over({c: extents[c] for c in result}, summed), "sum", body)


def windows(op: Conv | Window, at: At) -> Index:
    """Where each position of a window lies in the operand; outside it is padding."""
    moves = enumerate(zip(op.strides, op.dilations, op.pads_low, strict=True))
    return tuple(
        at[f"y{d}"].scaled(s).plus(at[f"k{d}"].scaled(k)).plus(Affine((), -low))
        for d, (s, k, low) in moves
    )


def numbered(letter: str, extents: Sequence[int]) -> dict[str, int]:
    """Names of dimensions: letter and number -> extent."""
    return {f"{letter}{d}": extent for d, extent in enumerate(extents)}


def conv(low: Lowering, op: Conv) -> Place:
    """A convolution, left in the accumulator's type; groups are a dimension of their own."""
    (n, c, *space), (m, _, *kernel) = op.x.shape, op.w.shape
    g = op.groups
    x = Reshape(op.x, (n, g, c // g, *space)).with_origin(op.origin)
    w = Reshape(op.w, (g, m // g, c // g, *kernel)).with_origin(op.origin)
    low.kept += [x, w]
    acc = accumulator(op.x.dtype, op.w.dtype)
    fill = (
        0 if any((*op.pads_low, *op.pads_high)) else None
    )  # so that a Pad under it is read through
    outer = {"n": n, "g": g, "m": m // g, **numbered("y", op.shape[2:])}
    taps = numbered("k", kernel)

    def body(scope: Scope, at: At) -> Expr:
        left = low.read(x, scope, (at["n"], at["g"], at["c"], *windows(op, at)), fill)
        index = (at["g"], at["m"], at["c"], *(at[k] for k in taps))
        return product(left, low.read(w, scope, index), acc)

    place = low.emit(op, Loops.over(outer, {"c": c // g, **taps}), "sum", body)
    batch, group, channel, *rest = place.factors
    return Place(place.operand, (batch, group + channel, *rest))


def window(low: Lowering, op: Window) -> Place:
    """A sliding sum or maximum."""
    n, c = op.x.shape[:2]
    outer = {"n": n, "m": c, **numbered("y", op.shape[2:])}
    below = lowest(op.dtype) if op.function == "max" else 0
    fill = below if any((*op.pads_low, *op.pads_high)) else None

    def body(scope: Scope, at: At) -> Expr:
        return low.read(op.x, scope, (at["n"], at["m"], *windows(op, at)), fill)

    return low.emit(op, Loops.over(outer, numbered("k", op.window)), op.function, body)


def over(op: Op, axes: Sequence[int]) -> tuple[Loops, tuple[str, ...]]:
    """Loops that reduce some axes of a tensor, and the names of all its dimensions in order."""
    names = tuple(f"r{d}" if d in axes else f"i{d}" for d in range(len(op.shape)))
    sized = dict(zip(names, op.shape, strict=True))
    kept = {n: e for n, e in sized.items() if n[0] == "i"}
    return Loops.over(kept, {n: e for n, e in sized.items() if n[0] == "r"}), names


def keeping(place: Place, axes: Sequence[int]) -> Place:
    """A stored reduction, with its reduced axes as dimensions of extent 1."""
    factors = iter(place.factors)
    rank = len(place.factors) + len(axes)
    return Place(place.operand, tuple(() if d in axes else next(factors) for d in range(rank)))


def reduce(low: Lowering, op: Reduce) -> Place:
    """A reduction of any expression over axes."""
    loops, names = over(op.x, op.axes)

    def body(scope: Scope, at: At) -> Expr:
        return low.expr(op.x, scope, tuple(at[n] for n in names))

    return keeping(low.emit(op, loops, op.function, body), op.axes)


def arg_reduce(low: Lowering, op: ArgReduce) -> Value:
    """The first (or last) position of the extreme value: the smallest of all that hold it."""
    low.settle(op.x)
    extent = op.x.shape[op.axis]
    loops, names = over(op.x, (op.axis,))
    counter = Constant(np.arange(extent, dtype=I32))
    low.kept.append(counter)

    def value(scope: Scope, at: At) -> Expr:
        return low.expr(op.x, scope, tuple(at[n] for n in names))

    best = keeping(low.emit(op, loops, op.function, value), (op.axis,))

    def position(scope: Scope, at: At) -> Expr:
        here = value(scope, at)
        wanted = low.access(op, best, scope, tuple(at.get(n, Affine()) for n in names))
        number = low.read(counter, scope, (at[names[op.axis]],))
        nowhere = Const(I32, -1 if op.last else extent)
        found = Apply(BOOL, "equal", (here, wanted))
        if is_float(op.x.dtype):  # NaN is the extreme value where there is one, and equals nothing
            found = Apply(BOOL, "or", (found, Apply(BOOL, "isnan", (here,))))
        return Apply(I32, "where", (found, number, nowhere))

    place = low.emit(op, loops, "max" if op.last else "min", position)
    kept = keeping(place, (op.axis,))
    return lambda scope, index: cast(low.access(op, kept, scope, index), op.dtype)


def unsupported(low: Lowering, op: Op) -> Value:
    """Operators whose elements depend on each other in order."""
    del low
    raise Unsupported(op, "its elements depend on each other in order: no loop nest computes it")
