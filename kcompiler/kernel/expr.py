"""Scalar expressions: what a nest computes at each point.

Leaves are the values read (`Load`), literals (`Const`) and, after a reduction, the combined value
(`Acc`). Every expression knows the element type of its value; arithmetic follows
`kcompiler.scalar`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from struct import pack
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Expr:
    """A scalar expression; `dtype` is the element type of its value."""

    dtype: np.dtype[Any]

    @property
    def args(self) -> tuple[Expr, ...]:
        """The expressions that this one is made of."""
        return ()


@dataclass(frozen=True)
class Load(Expr):
    """The value of read number `read`, converted to `dtype` (the compute type of the operand)."""

    read: int


@dataclass(frozen=True)
class Const(Expr):
    """A literal: another one where its bits are others, so that 0.0 is not -0.0 and NaN is NaN."""

    value: float | int | bool

    @property
    def _same(self) -> tuple[object, ...]:
        """Equal for literals that are the same."""
        told = self.value == self.value and self.value != 0
        return self.dtype, self.value if told else pack("<d", self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self._same == other._same

    def __hash__(self) -> int:
        return hash(self._same)


@dataclass(frozen=True)
class Acc(Expr):
    """The value that the reduction of the nest arrived at."""


@dataclass(frozen=True)
class Apply(Expr):
    """A scalar function (a name of `kcompiler.scalar.FUNCTIONS`, or ``cast``) of expressions."""

    function: str
    arguments: tuple[Expr, ...]

    @property
    def args(self) -> tuple[Expr, ...]:
        return self.arguments


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and all its parts, arguments first."""
    for arg in expr.args:
        yield from walk(arg)
    yield expr


def loads(expr: Expr) -> tuple[int, ...]:
    """The read numbers that an expression uses, ascending."""
    return tuple(sorted({e.read for e in walk(expr) if isinstance(e, Load)}))


def substitute(expr: Expr, leaf: Callable[[Expr], Expr]) -> Expr:
    """The expression with `leaf` applied to every leaf."""
    if isinstance(expr, Apply):
        return replace(expr, arguments=tuple(substitute(a, leaf) for a in expr.arguments))
    return leaf(expr)
