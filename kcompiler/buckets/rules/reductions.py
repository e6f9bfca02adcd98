"""Softmax, normalizations, reductions, windows, scans."""

from __future__ import annotations

import math
from dataclasses import replace

from kcompiler.buckets.known import Known, Place, Scene, UnsafeError, built, refuse_padding, rule
from kcompiler.buckets.layout import describe, padded, static
from kcompiler.buckets.spans import ANY, FINITE, ZERO, Span, join, repeated, span, typed
from kcompiler.graph.operators import (
    ArgReduce,
    CumSum,
    LayerNorm,
    Reduce,
    RmsNorm,
    Softmax,
    TopKIndices,
    TopKValues,
    Window,
)


@rule(Softmax)
def softmax(op: Softmax, _: Scene, x: Known) -> Known:
    """A softmax along a padded axis needs padding that is masked, -inf or at most -10000."""
    return softmax_span(x, op.axis)


def softmax_span(x: Known, axis: int) -> Known:
    """The softmax of what is known; raises `UnsafeError` where padding takes part."""
    for place in x.places(axis):
        if not x.at(place).masked:
            found = x.at(place)
            why = f"it is {found.lo:g} to {found.hi:g}"
            raise UnsafeError(f"the padding of {describe(x.axes[axis])} is not masked: {why}")
    unit = span(0.0, 1.0)

    def at(place: Place | None) -> Span:
        if place is not None and place[0] == axis:
            return ZERO
        line = x.at(place)
        whole = line.finite or (line.below and line.seen and not line.odd)
        if place is not None and padded(x.axes[axis]):
            # The line goes on in the corner, which may hide keys but not spoil the sum.
            corner = x.corner or ANY
            whole = whole and not corner.odd
        return unit if whole else ANY

    lines = [at(p) for p in x.pads if p[0] != axis]
    others = sum(a != axis for a in x.padded_axes)
    good = all(s.finite for s in lines)
    if others > 1 or not padded(x.axes[axis]):  # lines that are in the padding of two axes
        good = good and x.corner is not None and x.corner.finite
    return built(x.axes, at, unit if good else ANY)


@rule(LayerNorm, RmsNorm)
def normalize(op: LayerNorm | RmsNorm, _: Scene, x: Known, *rest: Known) -> Known:
    """A normalization along a padded axis takes the padding into its mean."""
    for axis in op.axes:
        refuse_padding(x, axis, "an axis that it normalizes")
    for known in rest:
        for axis in known.padded_axes:
            refuse_padding(known, axis, "an axis of its scale")
    steady = op.epsilon > 0 and all(k.core.finite for k in rest)

    def normal(s: Span) -> Span:
        return FINITE if s.finite and steady else ANY

    return replace(x.mapped(normal), core=FINITE if x.core.finite else ANY)


@rule(Reduce)
def reduce_(op: Reduce, _: Scene, x: Known) -> Known:
    """A reduction along a padded axis needs padding that changes nothing: 0 in a sum, for one."""
    for axis in op.axes:
        for place in x.places(axis):
            _check_neutral(op, x, x.at(place), axis)
    if sum(padded(x.axes[a]) for a in op.axes) > 1:
        _check_neutral(op, x, x.corner or ANY, op.axes[0])
    count = math.prod(op.x.shape[a] for a in op.axes)
    axes = [static(1) if a in op.axes else layout for a, layout in enumerate(x.axes)]
    along = any(padded(x.axes[a]) for a in op.axes)

    def at(place: Place | None) -> Span:
        line = x.at(place)
        if along and place is not None:
            line = join(line, x.corner or ANY)
        if along and place is None:
            line = join(line, *(x.at(p) for a in op.axes for p in x.places(a)))
        return typed(_reduced(op, line, count), op.dtype)

    return built(axes, at, typed(_reduced(op, x.everywhere, count), op.dtype))


def _reduced(op: Reduce, line: Span, count: int) -> Span:
    if op.function == "sum":
        return repeated(line, count)
    if op.function == "prod":
        return FINITE if line.finite else ANY
    return line if line.finite else ANY


def _check_neutral(op: Reduce, x: Known, line: Span, axis: int) -> None:
    core = x.core
    neutral = {
        "sum": line.zero,
        "prod": line.point == 1,
        "max": not line.odd and (line.hi <= core.lo) and not core.below,
        "min": line.finite and line.lo >= core.hi,
    }[op.function]
    if not neutral:
        where = describe(x.axes[axis])
        raise UnsafeError(
            f"the padding of {where} is {line.lo:g} to {line.hi:g} in a {op.function}"
        )


@rule(ArgReduce)
def arg_reduce(op: ArgReduce, _: Scene, x: Known) -> Known:
    """The place of the largest element along a padded axis is another one where padding wins."""
    layout = x.axes[op.axis]
    if padded(layout):
        line, core = x.at((op.axis, 0)), x.core
        wins = line.hi > core.lo if op.function == "max" else line.lo < core.hi
        if len(layout) != 1 or op.last or not line.finite or not core.finite or wins:
            raise UnsafeError(f"the padding of {describe(layout)} is {line.lo:g} to {line.hi:g}")
    axes = [static(1) if a == op.axis else other for a, other in enumerate(x.axes)]
    top = Span(0.0, float(op.x.shape[op.axis] - 1))
    return built(axes, lambda _: top, top)


@rule(CumSum)
def cum_sum(op: CumSum, _: Scene, x: Known) -> Known:
    """A running sum must not come across padding that is not zero before a kept element."""
    layout = x.axes[op.axis]
    places = x.places(op.axis)
    if padded(layout):
        harmless = () if op.reverse or layout[-1].dim is None else places[-1:]
        for place in places:
            if place not in harmless and not x.at(place).zero:
                raise UnsafeError(f"along {describe(layout)}")
    count = op.x.shape[op.axis]
    whole = typed(repeated(join(x.everywhere, ZERO), count), op.dtype)
    return built(x.axes, lambda _: whole, whole)


@rule(Window)
def window(op: Window, _: Scene, x: Known) -> Known:
    """A pool along a padded axis may only look back: what it reads beyond the end is not there."""
    axes = [*x.axes[:2], *(static(n) for n in op.shape[2:])]
    for i, layout in enumerate(x.axes[2:]):
        if not padded(layout):
            continue
        reach = (op.window[i] - 1) * op.dilations[i]
        steady = op.strides[i] == 1 and op.pads_high[i] == 0 and op.pads_low[i] == reach
        if not steady or len(layout) != 1 or layout[0].size != 1:
            raise UnsafeError(
                f"{describe(layout)}, a window of {op.window[i]}, stride {op.strides[i]}"
            )
        axes[i + 2] = layout
    count = math.prod(op.window) if op.function == "sum" else 1
    whole = join(x.everywhere, ZERO)
    found = typed(repeated(whole, count), op.dtype) if whole.finite else ANY
    core = typed(repeated(join(x.core, ZERO), count), op.dtype) if x.core.finite else ANY
    return built(axes, lambda place: core if place is None else found, found)


@rule(TopKValues, TopKIndices)
def top_k(op: TopKValues | TopKIndices, _: Scene, x: Known) -> Known:
    """An order along a padded axis mixes padding with kept elements."""
    refuse_padding(x, op.axis, "the axis that it orders")
    axes = list(x.axes)
    axes[op.axis] = static(op.k)
    if isinstance(op, TopKIndices):
        top = Span(0.0, float(op.x.shape[op.axis]))
        return built(axes, lambda _: top, top)
    return built(axes, x.at, x.everywhere)
