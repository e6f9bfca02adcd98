"""Sums of products: contraction, convolution, attention."""

from __future__ import annotations

from dataclasses import replace

from kcompiler.buckets.known import Known, Place, Scene, UnsafeError, agree, built, rule
from kcompiler.buckets.layout import Layout, describe, dims_of, padded, static
from kcompiler.buckets.rules.reductions import softmax_span
from kcompiler.buckets.spans import FINITE, ZERO, Span, add, join, mul, repeated, typed
from kcompiler.graph.operators import Attention, Contract, Conv


@rule(Contract)
def contract(op: Contract, _: Scene, x: Known, y: Known) -> Known:
    """A sum of products along a padded axis needs padding of zeros that meets finite numbers."""
    mine, yours, result = op.letters
    layouts: dict[str, Layout] = {}
    for letter in dict.fromkeys(mine + yours):
        theirs = [k.axes[t.index(letter)] for k, t in ((x, mine), (y, yours)) if letter in t]
        layouts[letter] = agree(theirs)
    summed = [c for c in layouts if c not in result]
    across = [(c, i) for c in summed for i in range(len(dims_of(layouts[c])))]
    for letter, number in across:
        _refuse_sum(
            _terms(x, mine, letter, number), _terms(y, yours, letter, number), layouts[letter]
        )
    if sum(padded(layouts[c]) for c in summed) > 1 and not mul(x.everywhere, y.everywhere).zero:
        raise UnsafeError("it sums along two padded axes at once")
    count = 1
    for letter in summed:
        count *= op.extents[letter]

    def at(place: Place | None) -> Span:
        if place is None:
            return typed(repeated(join(mul(x.core, y.core), ZERO), count), op.dtype)
        spans = [_terms(k, t, result[place[0]], place[1]) for k, t in ((x, mine), (y, yours))]
        if across:  # the padding of the summed axis takes part, and it is a corner here
            spans = [join(s, k.everywhere) for s, k in zip(spans, (x, y), strict=True)]
        return typed(repeated(join(mul(*spans), ZERO), count), op.dtype)

    whole = typed(repeated(join(mul(x.everywhere, y.everywhere), ZERO), count), op.dtype)
    return built([layouts[c] for c in result], at, whole)


def _terms(x: Known, letters: str, letter: str, number: int) -> Span:
    """An operand's numbers at a place of an axis; the kept ones where it does not have the axis."""
    return x.at((letters.index(letter), number)) if letter in letters else x.core


def _refuse_sum(x: Span, y: Span, layout: Layout) -> None:
    if mul(x, y).zero:
        return
    where = f"along {describe(layout)}"
    if not x.zero and not y.zero:
        raise UnsafeError(f"{where} the padding of neither operand is zero")
    raise UnsafeError(f"{where} zeros meet padding that may be infinite or NaN")


@rule(Conv)
def conv(op: Conv, _: Scene, x: Known, w: Known) -> Known:
    """A window along a padded axis has stride 1 and reads only zeros beyond the kept elements."""
    for axis in range(len(w.axes)):
        if padded(w.axes[axis]):
            raise UnsafeError(f"an axis of the weights is {describe(w.axes[axis])}")
    if padded(x.axes[1]):
        raise UnsafeError(f"it sums over channels, which are {describe(x.axes[1])}")
    axes = [x.axes[0], static(op.shape[1])]
    for i, layout in enumerate(x.axes[2:]):
        axes.append(static(op.shape[i + 2]))
        if padded(layout):
            _check_window(op, i, op.w.shape[i + 2], x)
            axes[-1] = layout
    count = 1
    for size in op.w.shape[1:]:
        count *= size

    whole = typed(repeated(mul(join(x.everywhere, ZERO), w.core), count), op.dtype)
    return built(axes, lambda _: whole, whole)


def _check_window(op: Conv, i: int, taps: int, x: Known) -> None:
    layout, stride = x.axes[i + 2], op.strides[i]
    reach = (taps - 1) * op.dilations[i]
    before, after = op.pads_low[i], op.pads_high[i]
    single = len(layout) == 1 and layout[0].size == 1
    if stride != 1 or before + after != reach or not single:
        raise UnsafeError(f"{describe(layout)} with stride {stride} and padding {before}, {after}")
    # A window over two padded axes meets the corner as well.
    spans = [x.at((i + 2, 0)), *([x.corner] if x.corner else [])]
    if after and not all(s.zero for s in spans):
        raise UnsafeError(f"it reads {after} elements beyond the end of {describe(layout)}")


@rule(Attention)
def attention(op: Attention, _: Scene, *operands: Known) -> Known:
    """Padded keys must be masked for every query, and their values must be finite."""
    q, k, v = operands[:3]
    mask = operands[3] if op.mask is not None else None
    batch = [agree(axes) for axes in zip(q.axes[:-2], k.axes[:-2], v.axes[:-2], strict=True)]
    agree([q.axes[-1], k.axes[-1]])
    keys = agree([k.axes[-2], v.axes[-2]])
    for known, axis in ((q, -1), (v, -1)):
        if padded(known.axes[axis]):
            raise UnsafeError(f"the depth is {describe(known.axes[axis])}")
    axes = (*batch, q.axes[-2], v.axes[-1])
    score = scores(op, q, k, mask, (*batch, q.axes[-2], keys))
    weights = softmax_span(score, len(axes) - 1)
    for place in v.places(len(axes) - 2):
        if not mul(weights.at((len(axes) - 1, place[1])), v.at(place)).zero:
            raise UnsafeError("the values of padded keys may be infinite or NaN")
    values = v.everywhere

    def at(place: Place | None) -> Span:
        if place is None:
            return replace(FINITE, odd=not (weights.core.finite and v.core.finite))
        good = weights.at(place).finite and weights.everywhere.finite and values.finite
        return replace(FINITE, odd=not good)

    return built(axes, at, replace(FINITE, odd=True))


def scores(
    op: Attention, q: Known, k: Known, mask: Known | None, axes: tuple[Layout, ...]
) -> Known:
    """What the softmax of an attention sees."""
    finite = q.everywhere.finite and k.everywhere.finite
    plain = replace(FINITE, odd=not finite)
    core = replace(FINITE, odd=not (q.core.finite and k.core.finite))

    def at(place: Place | None) -> Span:
        base = core if place is None else plain
        if mask is None:
            return base
        own = None
        if place is not None:
            own = (place[0] - len(axes) + len(mask.axes), place[1])
        return add(base, mask.at(own if own in mask.pads else None))

    corner = plain if mask is None else add(plain, mask.everywhere)
    if mask is not None:
        _check_mask(op, mask, axes)
    return built(axes, at, corner)


def _check_mask(op: Attention, mask: Known, axes: tuple[Layout, ...]) -> None:
    shape = (*op.q.shape[:-1], op.k.shape[-2])
    assert op.mask is not None  # noqa: S101 - there is what is known of it
    for i in range(1, len(mask.axes) + 1):
        if op.mask.shape[-i] == shape[-i]:
            agree([axes[-i], mask.axes[-i]])
        elif padded(mask.axes[-i]):
            raise UnsafeError(f"the mask repeats {describe(mask.axes[-i])}")
