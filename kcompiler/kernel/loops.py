"""The parts of a nest in the making: its axes, the reads so far, and where values are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from kcompiler.errors import UnsupportedError
from kcompiler.graph.node import Op
from kcompiler.kernel.expr import Load
from kcompiler.kernel.nest import Access, Affine, Axis

Index: TypeAlias = tuple[Affine, ...]
At: TypeAlias = Mapping[str, Affine]
ZERO = Affine()


class Unsupported(UnsupportedError):
    """An operator, or a combination of operators, that has no loop nests; `why` is the reason."""

    def __init__(self, op: Op, why: str) -> None:
        super().__init__(f"{type(op).__name__} has no kernel", ", ".join(op.origin), why)
        self.args = (op, why)


class Split(Exception):
    """An index falls apart only when `axis` becomes two axes, the inner one of extent `inner`."""

    def __init__(self, axis: str, inner: int) -> None:
        super().__init__(axis, inner)
        self.axis = axis
        self.inner = inner


class Cut(Exception):
    """An index is on one side of a seam only when `axis` is cut at `at` into two boxes."""

    def __init__(self, axis: str, at: int) -> None:
        super().__init__(axis, at)
        self.axis = axis
        self.at = at


class NotAffineError(Exception):
    """An index of a reshape is no affine function of any axes."""


@dataclass(frozen=True)
class Loops:
    """The dimensions that a nest runs over; a split one is several axes, outer first."""

    factors: Mapping[str, tuple[int, ...]]
    reduced: frozenset[str] = frozenset()

    @staticmethod
    def over(parallel: Mapping[str, int], reduced: Mapping[str, int] | None = None) -> Loops:
        """One axis for each dimension."""
        inner = reduced or {}
        every = {**parallel, **inner}
        return Loops({name: (extent,) for name, extent in every.items()}, frozenset(inner))

    def axes(self) -> tuple[Axis, ...]:
        """The axes in order."""
        return tuple(
            Axis(axis, extent, name in self.reduced)
            for name, parts in self.factors.items()
            for axis, extent in zip(self.names(name), parts, strict=True)
        )

    def names(self, name: str) -> tuple[str, ...]:
        """The axes of one dimension."""
        count = len(self.factors[name])
        return (name,) if count == 1 else tuple(f"{name}_{k}" for k in range(count))

    def forms(self, begin: Mapping[str, int] | None = None) -> dict[str, Affine]:
        """The position along each dimension; axis `a` starts at `begin[a]`, if given."""
        start = begin or {}
        found = {}
        for name, parts in self.factors.items():
            form = ZERO
            for axis, extent in zip(self.names(name), parts, strict=True):
                form = form.scaled(extent).plus(Affine.axis(axis, 1, start.get(axis, 0)))
            found[name] = form
        return found

    def split(self, axis: str, inner: int) -> Loops:
        """The same dimensions with one axis in two."""
        new = dict(self.factors)
        for name, parts in self.factors.items():
            names = self.names(name)
            if axis not in names:
                continue
            k = names.index(axis)
            outer, rest = divmod(parts[k], inner)
            if rest:
                raise NotAffineError(f"{parts[k]} positions do not fall into groups of {inner}")
            new[name] = (*parts[:k], outer, inner, *parts[k + 1 :])
        return Loops(new, self.reduced)


@dataclass
class Scope:
    """A nest in the making: extents of its axes and its reads; equal reads are one."""

    extents: Mapping[str, int]
    reads: list[Access] = field(default_factory=list)

    def load(self, access: Access, dtype: np.dtype[Any]) -> Load:
        """The value of an access, as an expression."""
        return Load(dtype, self.read(access))

    def read(self, access: Access) -> int:
        """The number of a read."""
        if access not in self.reads:
            self.reads.append(access)
        return self.reads.index(access)


@dataclass(frozen=True)
class Place:
    """Where a tensor is stored: an operand whose dimensions refine those of the tensor.

    `factors[d]` are the extents, outer first, of the operand's dimensions that dimension d of the
    tensor became; none at all for a dimension of extent 1 that is not stored.
    """

    operand: str
    factors: tuple[tuple[int, ...], ...]

    @property
    def whole(self) -> bool:
        """Whether every dimension is stored, so that an index can be outside each of them."""
        return () not in self.factors

    def index(self, index: Index, scope: Scope) -> Index:
        """The operand's index of a position of the tensor."""
        found: list[Affine] = []
        for form, parts in zip(index, self.factors, strict=True):
            found += unflatten(form, parts, scope.extents)
        return tuple(found)


def unflatten(form: Affine, shape: Sequence[int], extents: Mapping[str, int]) -> list[Affine]:
    """The index in `shape` of a position in its row-major order.

    The first dimension takes what is left, so that a position outside stays outside. Raises `Split`
    when an axis must become two for that, `NotAffineError` when nothing helps.
    """
    found: list[Affine] = []
    for extent in reversed(shape[1:]):
        form, low = _divide(form, extent, extents)
        found.append(low)
    return [form, *reversed(found)] if shape else []


def _divide(form: Affine, by: int, extents: Mapping[str, int]) -> tuple[Affine, Affine]:
    """Quotient and remainder of an affine form."""
    if by == 1:
        return form, ZERO
    high = Affine.of({n: c // by for n, c in form.terms if c % by == 0}, form.offset // by)
    low = Affine.of({n: c for n, c in form.terms if c % by}, form.offset % by)
    least, most = low.bounds(extents)
    if least >= 0 and most < by:
        return high, low
    for axis, c in low.terms:
        inner = by // c if c > 0 and by % c == 0 else 0
        if 0 < inner < extents[axis] and extents[axis] % inner == 0:
            raise Split(axis, inner)
    raise NotAffineError(f"position {form} in groups of {by}")
