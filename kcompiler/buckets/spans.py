"""What is known of numbers without computing them: intervals, and how functions change them.

A bound that is infinite means a finite number of unknown size. The rules take it that sums and
products of such numbers stay finite: padding is computed like kept elements are, from zeros in the
place of data, and so overflows no earlier than these.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import is_float

DType: TypeAlias = "np.dtype[Any]"

MASKED = -1e4
"""What is added to a score to mask it is at most this; scores are taken to be far smaller."""
_EXP_LIMIT = 88.0
_HUGE = sys.float_info.max


@dataclass(frozen=True)
class Span:
    """Numbers from `lo` to `hi`.

    `below`: some may be minus infinity; `odd`: some may be plus infinity or NaN. `masked`: each is
    a mask's value or a masked score. `seen`: `below` comes of a mask that leaves every query a key.
    """

    lo: float
    hi: float
    below: bool = False
    odd: bool = False
    masked: bool = False
    seen: bool = False

    @property
    def zero(self) -> bool:
        """Whether all are 0."""
        return self.lo == self.hi == 0 and self.finite

    @property
    def finite(self) -> bool:
        """Whether none is infinite or NaN."""
        return not self.below and not self.odd

    @property
    def point(self) -> float | None:
        """The one number that all are."""
        return self.lo if self.lo == self.hi and self.finite else None


FINITE = Span(-math.inf, math.inf)
ANY = Span(-math.inf, math.inf, below=True, odd=True)
ZERO = Span(0.0, 0.0)
TRUTH = Span(0.0, 1.0)


def span(lo: float, hi: float, *, below: bool = False, odd: bool = False) -> Span:
    """A span that knows whether it masks."""
    lo = -math.inf if below else min(lo, _HUGE)  # a lower bound is a number, or minus infinity
    hi = max(hi, -_HUGE)
    return Span(lo, hi, below, odd, masked=hi <= MASKED and not odd)


def span_of(value: Array) -> Span:
    """The span of an array; an empty one is all zero."""
    if not value.size:
        return ZERO
    wide = value if value.dtype.kind in "biuf" else value.astype(np.float64)
    lo, hi = float(wide.min()), float(wide.max())
    if math.isfinite(lo) and math.isfinite(hi):
        return span(lo, hi)
    odd = bool(np.isnan(wide).any() or np.isposinf(wide).any())
    below = bool(np.isneginf(wide).any())
    real = wide[np.isfinite(wide)]
    if not real.size:
        return Span(-math.inf, MASKED, below, odd, masked=not odd)
    return span(float(real.min()), float(real.max()), below=below, odd=odd)


def join(*spans: Span) -> Span:
    """What holds for numbers of any of the spans."""
    return reduce(_join, spans)


def _join(x: Span, y: Span) -> Span:
    below = [s for s in (x, y) if s.below]
    return Span(
        min(x.lo, y.lo),
        max(x.hi, y.hi),
        x.below or y.below,
        x.odd or y.odd,
        x.masked and y.masked,
        seen=bool(below) and all(s.seen for s in below),
    )


def repeated(x: Span, count: int) -> Span:
    """The sum of `count` numbers."""
    if not count:
        return ZERO
    return replace(x, lo=_times(x.lo, count), hi=_times(x.hi, count), masked=False, seen=False)


def _times(x: float, y: float) -> float:
    """Zero times something unbounded but finite is zero."""
    return 0.0 if x == 0 or y == 0 else x * y


def add(x: Span, y: Span) -> Span:
    """Sums."""
    odd = x.odd or y.odd
    below = [s for s in (x, y) if s.below]
    return Span(
        x.lo + y.lo,
        x.hi + y.hi,
        bool(below),
        odd,
        masked=(x.masked or y.masked) and not odd,
        seen=len(below) == 1 and below[0].seen,
    )


def neg(x: Span) -> Span:
    """The numbers with the other sign: minus infinity becomes plus infinity."""
    return span(-x.hi, -x.lo, odd=x.odd or x.below)


def mul(x: Span, y: Span) -> Span:
    """Products."""
    ends = [_times(a, b) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
    odd = x.odd or y.odd or (x.below and y.below)
    below = False
    for one, other in ((x, y), (y, x)):
        if one.below:
            odd, below = odd or other.lo <= 0, True
    found = span(min(ends), max(ends), below=below, odd=odd)
    return replace(found, seen=below and not odd and (x.seen or y.seen))


def reciprocal(x: Span) -> Span:
    """1 / x, where x cannot be 0."""
    if x.odd or x.below or x.lo <= 0 <= x.hi:
        return ANY
    return span(1 / x.hi, 1 / x.lo)


def square(x: Span) -> Span:
    """Squares: x * x."""
    ends = (_times(x.lo, x.lo), _times(x.hi, x.hi))
    low = 0.0 if x.lo <= 0 <= x.hi else min(ends)
    return span(low, max(ends), odd=not x.finite)


def power(x: Span, y: Span) -> Span:
    """Powers: x to the y, for some constant y."""
    exponent = y.point
    if exponent == 2:
        return square(x)
    if exponent == 1:
        return x
    if exponent is None or not x.finite:
        return ANY
    if x.lo > 0 or (x.lo == 0 and exponent > 0):
        ends = sorted((_raised(x.lo, exponent), _raised(x.hi, exponent)))
        return span(ends[0], ends[1])
    whole = exponent == int(exponent) and exponent >= 0
    return FINITE if whole else ANY


def _raised(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except OverflowError:
        return math.inf


def largest(x: Span, y: Span) -> Span:
    """max(x, y): minus infinity is left only where both may be."""
    return span(max(x.lo, y.lo), max(x.hi, y.hi), below=x.below and y.below, odd=x.odd or y.odd)


def smallest(x: Span, y: Span) -> Span:
    """min(x, y)."""
    return span(min(x.lo, y.lo), min(x.hi, y.hi), below=x.below or y.below, odd=x.odd or y.odd)


def where(cond: Span, x: Span, y: Span) -> Span:
    """Choices: x where the condition holds, else y."""
    if cond.point is not None:
        return x if cond.point else y
    return join(x, y)


def less(x: Span, y: Span) -> Span:
    """1 where x < y."""
    if x.odd or y.odd:
        return TRUTH
    if x.hi < y.lo and not y.below:
        return Span(1.0, 1.0)
    return ZERO if x.lo >= y.hi and not x.below else TRUTH


def less_equal(x: Span, y: Span) -> Span:
    """1 where x <= y."""
    if x.odd or y.odd:
        return TRUTH
    if x.hi <= y.lo and not y.below:
        return Span(1.0, 1.0)
    return ZERO if x.lo > y.hi and not x.below else TRUTH


def equal(x: Span, y: Span) -> Span:
    """1 where x = y."""
    if x.point is not None and x.point == y.point:
        return Span(1.0, 1.0)
    apart = (x.hi < y.lo or y.hi < x.lo) and x.finite and y.finite
    return ZERO if apart else TRUTH


def rising(function: Callable[[float], float]) -> Callable[[Span], Span]:
    """A function that never falls and is finite for all finite numbers."""

    def apply(x: Span) -> Span:
        return span(function(x.lo), function(x.hi)) if x.finite else ANY

    return apply


def bounded(low: float, high: float, *, below: bool = True) -> Callable[[Span], Span]:
    """A function whose results lie between two numbers, of minus infinity too if `below`."""
    return lambda x: Span(low, high, odd=x.odd or (x.below and not below))


def exp(x: Span) -> Span:
    """Powers of e: what is not bounded may overflow."""
    if x.odd or x.hi > _EXP_LIMIT:
        return ANY
    return span(0.0 if x.below else math.exp(x.lo), math.exp(x.hi))


def positive(function: Callable[[float], float]) -> Callable[[Span], Span]:
    """A rising function of positive numbers."""

    def apply(x: Span) -> Span:
        good = x.finite and x.lo > 0
        return (
            span(function(x.lo), math.inf if x.hi == math.inf else function(x.hi)) if good else ANY
        )

    return apply


def sqrt(x: Span) -> Span:
    """The square root."""
    if not x.finite or x.lo < 0:
        return ANY
    return span(math.sqrt(x.lo), math.sqrt(x.hi))


def gated(x: Span) -> Span:
    """silu, gelu, mish and their kind: x for large x, no less than -1."""
    return span(-1.0 if x.lo < 0 else 0.0, max(x.hi, 0.0), odd=not x.finite)


def relu(x: Span) -> Span:
    """max(x, 0)."""
    return span(max(x.lo, 0.0), max(x.hi, 0.0), odd=x.odd)


def absolute(x: Span) -> Span:
    """|x|."""
    low = 0.0 if x.lo <= 0 <= x.hi else min(abs(x.lo), abs(x.hi))
    return span(low, max(abs(x.lo), abs(x.hi)), odd=not x.finite)


def cast(x: Span, dtype: DType) -> Span:
    """A conversion: what is no number becomes some integer."""
    if dtype == np.bool_:
        inside = x.lo <= 0 <= x.hi or not x.finite
        return ZERO if x.zero else TRUTH if inside else Span(1.0, 1.0)
    if is_float(dtype):
        return x
    if not x.finite:
        return FINITE
    return span(_truncated(x.lo), _truncated(x.hi))


def _truncated(x: float) -> float:
    return float(math.trunc(x)) if math.isfinite(x) else x


def typed(x: Span, dtype: DType) -> Span:
    """What an element type can hold: integers are never infinite, and narrow ones wrap around."""
    if is_float(dtype):
        top = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
        narrow = dtype.itemsize < 2 and not math.isfinite(x.hi - x.lo)
        outside = (math.isfinite(x.hi) and x.hi > top) or (math.isfinite(x.lo) and x.lo < -top)
        return ANY if narrow or outside else x
    if dtype == np.bool_:
        return x if x.finite and x.lo >= 0 and x.hi <= 1 else TRUTH
    whole = span_of_type(dtype)
    if whole is FINITE:
        return x if x.finite else FINITE
    return x if x.finite and x.lo >= whole.lo and x.hi <= whole.hi else whole


def span_of_type(dtype: DType) -> Span:
    """All finite numbers of an element type; 64-bit integers count as unbounded."""
    if dtype == np.bool_:
        return TRUTH
    if is_float(dtype) or dtype.itemsize == 8:
        return FINITE
    info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    return Span(float(info.min), float(info.max))


_UNARY: dict[str, Callable[[Span], Span]] = {
    "neg": neg,
    "abs": absolute,
    "sign": rising(lambda x: float(np.sign(x))),
    "relu": relu,
    "floor": rising(lambda x: math.floor(x) if math.isfinite(x) else x),
    "ceil": rising(lambda x: math.ceil(x) if math.isfinite(x) else x),
    "round": rising(lambda x: float(np.rint(x))),
    "not": lambda x: span(1 - x.hi, 1 - x.lo),
    "isnan": lambda x: TRUTH if x.odd else ZERO,
    "isinf": lambda x: ZERO if x.finite else TRUTH,
    "exp": exp,
    "log": positive(math.log),
    "sqrt": sqrt,
    "reciprocal": reciprocal,
    "rsqrt": lambda x: reciprocal(sqrt(x)),
    "sin": bounded(-1, 1, below=False),
    "cos": bounded(-1, 1, below=False),
    "erf": bounded(-1, 1),
    "tanh": bounded(-1, 1),
    "sigmoid": bounded(0, 1),
    "atan": bounded(-2, 2),
    "softsign": bounded(-1, 1, below=False),
    "softplus": lambda x: span(0.0, math.inf, odd=x.odd),
    "asinh": lambda x: replace(FINITE, odd=not x.finite),
    "hard_swish": gated,
    "silu": gated,
    "gelu": gated,
    "gelu_tanh": gated,
    "mish": gated,
}
_BINARY: dict[str, Callable[[Span, Span], Span]] = {
    "add": add,
    "sub": lambda x, y: add(x, neg(y)),
    "mul": mul,
    "div": lambda x, y: mul(x, reciprocal(y)),
    "pow": power,
    "max": largest,
    "min": smallest,
    "and": smallest,
    "or": largest,
    "less": less,
    "less_equal": less_equal,
    "equal": equal,
}


_TAKES_ALL = frozenset({"cast", "where", "isnan", "isinf", "less", "less_equal", "equal"})
"""Functions whose result may be plain although an operand is not."""


def apply(function: str, operands: Sequence[Span], dtype: DType) -> Span:
    """The span of a scalar function's results; ANY where nothing is known about it."""
    return typed(_applied(function, operands, dtype), dtype)


def _applied(function: str, operands: Sequence[Span], dtype: DType) -> Span:
    if function not in _TAKES_ALL and any(x.odd for x in operands):
        return ANY
    if function == "cast":
        return cast(operands[0], dtype)
    if function == "where":
        return where(operands[0], operands[1], operands[2])
    if function == "div" and not is_float(dtype):
        return FINITE
    if len(operands) == 1 and function in _UNARY:
        return _UNARY[function](operands[0])
    if len(operands) == 2 and function in _BINARY:
        return _BINARY[function](operands[0], operands[1])
    return ANY
