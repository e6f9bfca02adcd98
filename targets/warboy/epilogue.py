"""What the tensor unit's drain and the vector unit's tables take of an element-wise nest.

The drain turns a sum into a byte: it adds a bias, multiplies once in float32, rounds half to even,
adds the zero point and saturates. What depends on one byte alone is a table. The vector unit
computes the rest step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcompiler.graph.types import F32, I32
from kcompiler.kernel.expr import Acc, Apply, Const, Expr, Load, loads
from kcompiler.kernel.nest import Nest

BYTES = frozenset({np.dtype(np.int8), np.dtype(np.uint8)})


@dataclass(frozen=True)
class Drain:
    """byte = clip(round((sum + bias) * scale) + zero, low, high), in the steps of `Work.body`.

    `total` is the number of the read that gives the sums; bias and scale are reads or literals.
    """

    total: int
    bias: Load | Const
    scale: Load | Const
    zero: int
    low: int
    high: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Work:
    """A nest's formula without what the drain does; `table`: the one byte read that it needs."""

    drain: Drain | None
    body: Expr
    table: int | None

    @property
    def drained(self) -> bool:
        """Whether the drain leaves nothing to do."""
        return self.drain is not None and isinstance(self.body, Load)


def split(nest: Nest, dtypes: Sequence[np.dtype[Any]], sums: str | None = "") -> Work:
    """Who computes what of a nest; `dtypes` are its reads', `sums` the operand with the sums.

    With "" any int32 read counts as sums, with None no read does.
    """
    if nest.combine != "none" or not isinstance(nest.result, Acc):
        return Work(None, nest.body, None)
    wide = {r for r, dtype in enumerate(dtypes) if dtype == I32}
    wide &= {r for r, access in enumerate(nest.reads) if sums in {"", access.operand}}
    drain = next((d for part in _parts(nest.body) if (d := _drain(part, wide))), None)
    body = nest.body
    if drain is not None:
        body = _without(nest.body, drain, wide)
        if Load(I32, drain.total) in _parts(body):
            drain, body = None, nest.body
    used = loads(body)
    if len(used) != 1 or isinstance(body, Load) or body.dtype not in BYTES:
        return Work(drain, body, None)
    made = drain is not None and used[0] == drain.total
    return Work(drain, body, used[0] if made or dtypes[used[0]] in BYTES else None)


def _parts(expr: Expr) -> list[Expr]:
    """An expression and its parts, outer ones first."""
    return [expr, *(p for arg in expr.args for p in _parts(arg))]


def _without(expr: Expr, drain: Drain, wide: set[int]) -> Expr:
    """The expression that reads bytes where it made them of sums."""
    if _drain(expr, wide) == drain:
        return Load(drain.dtype, drain.total)
    if isinstance(expr, Apply):
        return replace(expr, arguments=tuple(_without(a, drain, wide) for a in expr.arguments))
    return expr


def _drain(expr: Expr, wide: set[int]) -> Drain | None:
    """The parts of cast(min(max(round(float(sum + bias) * scale) + zero, low), high))."""
    if expr.dtype not in BYTES or not (clipped := _call(expr, "cast")):
        return None
    inner, high = _literal(clipped[0], "min")
    inner, low = _literal(inner, "max")
    inner, zero = _literal(inner, "add", 0.0)
    if low is None or high is None or zero is None or not (rounded := _call(inner, "round")):
        return None
    scaled = _call(rounded[0], "mul")
    if not scaled or scaled[0].dtype != F32 or not (whole := _call(scaled[0], "cast")):
        return None
    scale = scaled[1]
    if not isinstance(scale, Load | Const) or whole[0].dtype != I32:
        return None
    found = _sum(whole[0], wide)
    if found is None:
        return None
    return Drain(*found, scale, int(zero), int(low), int(high), expr.dtype)


def _sum(expr: Expr, wide: set[int]) -> tuple[int, Load | Const] | None:
    """(sums, bias) of an int32 expression."""
    terms = _call(expr, "add") or (expr, Const(I32, 0))
    for total, bias in (terms, terms[::-1]):
        if isinstance(total, Load) and total.read in wide and isinstance(bias, Load | Const):
            return total.read, bias
    return None


def _call(expr: Expr, function: str) -> tuple[Expr, ...]:
    """The arguments of a call of a function; none if it is another expression."""
    return expr.arguments if isinstance(expr, Apply) and expr.function == function else ()


def _literal(expr: Expr, function: str, absent: float | None = None) -> tuple[Expr, float | None]:
    """(operand, literal) of a function of a float expression and a whole number."""
    arguments = _call(expr, function)
    for other, literal in (arguments, arguments[::-1]) if arguments else ():
        if isinstance(literal, Const) and float(literal.value).is_integer():
            return other, float(literal.value)
    return expr, absent
