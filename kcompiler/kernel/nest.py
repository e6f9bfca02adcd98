"""Loop nests with affine accesses: the form that every NPU operator takes below the graph.

A nest is, for each point of its parallel axes,

    write[...] = result(combine over the reduced axes of body(reads[...]), reads[...])

From this form alone follow footprints (halos), bytes moved, multiply-accumulates and legal tilings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kcompiler.kernel.expr import Acc, Apply, Expr, Load

Combine = Literal["none", "sum", "max", "min", "prod"]
Role = Literal["input", "constant", "output", "local"]


@dataclass(frozen=True)
class Axis:
    """A loop of a nest: `extent` iterations, parallel or reduced."""

    name: str
    extent: int
    reduced: bool = False


@dataclass(frozen=True)
class Affine:
    """An index: `offset + sum(coefficient * axis)`; terms are sorted by axis name, none is zero."""

    terms: tuple[tuple[str, int], ...] = ()
    offset: int = 0

    @staticmethod
    def of(terms: Mapping[str, int], offset: int = 0) -> Affine:
        """The affine form in its normal order."""
        return Affine(tuple(sorted((n, c) for n, c in terms.items() if c)), offset)

    @staticmethod
    def axis(name: str, coefficient: int = 1, offset: int = 0) -> Affine:
        """A single axis, scaled and moved."""
        return Affine.of({name: coefficient}, offset)

    def coefficient(self, name: str) -> int:
        """The factor of an axis, 0 when it does not occur."""
        for axis, c in self.terms:
            if axis == name:
                return c
        return 0

    def at(self, point: Mapping[str, int]) -> int:
        """The value at a point; absent axes count as 0."""
        return self.offset + sum(c * point.get(n, 0) for n, c in self.terms)

    def plus(self, other: Affine) -> Affine:
        """The sum of two forms."""
        if not self.terms or not other.terms:  # mostly: nothing to merge
            return Affine(self.terms or other.terms, self.offset + other.offset)
        terms = dict(self.terms)
        for name, c in other.terms:
            terms[name] = terms.get(name, 0) + c
        return Affine.of(terms, self.offset + other.offset)

    def scaled(self, factor: int) -> Affine:
        """The form times an integer."""
        if factor == 1:
            return self
        return Affine.of({n: c * factor for n, c in self.terms}, self.offset * factor)

    def substitute(self, values: Mapping[str, Affine]) -> Affine:
        """The form with axes replaced by forms; others stay."""
        total = Affine((), self.offset)
        for name, c in self.terms:
            total = total.plus(values.get(name, Affine.axis(name)).scaled(c))
        return total

    def bounds(self, extents: Mapping[str, int]) -> tuple[int, int]:
        """Smallest and largest value over the box `0 <= axis < extent`."""
        low = self.offset + sum(min(0, c) * (extents[n] - 1) for n, c in self.terms)
        high = self.offset + sum(max(0, c) * (extents[n] - 1) for n, c in self.terms)
        return low, high


@dataclass(frozen=True)
class Access:
    """An operand read or written at `index`, one affine form a dimension.

    `fill` is the value outside the operand's bounds (this is padding); None promises that no index
    leaves the bounds. `indirect = (dimension, read)` replaces that dimension's form by the integer
    value of another read of the nest, where negative ones count from the end (a gather; its own
    form must be 0).
    """

    operand: str
    index: tuple[Affine, ...]
    fill: float | int | None = None
    indirect: tuple[int, int] | None = None


@dataclass(frozen=True)
class Operand:
    """A tensor of a region or kernel: a strided view of a dense buffer.

    `strides` and `offset` are in elements of the buffer (inputs may be views: transposed, sliced,
    broadcast with stride 0). Locals live on chip between the nests of one region.
    """

    name: str
    role: Role
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @staticmethod
    def dense(name: str, role: Role, dtype: np.dtype[Any], shape: Sequence[int]) -> Operand:
        """An operand in row-major order."""
        return Operand(name, role, dtype, tuple(shape), row_major(shape))

    @property
    def nbytes(self) -> int:
        """Bytes of the elements addressed, each counted once a position."""
        return math.prod(self.shape) * self.dtype.itemsize


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a dense row-major array."""
    strides: list[int] = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


@dataclass(frozen=True)
class Nest:
    """A loop nest; see the module's text. `result` may load reads that use parallel axes only."""

    axes: tuple[Axis, ...]
    reads: tuple[Access, ...]
    body: Expr
    combine: Combine
    result: Expr
    write: Access

    @property
    def extents(self) -> dict[str, int]:
        """Axis name -> extent."""
        return {a.name: a.extent for a in self.axes}

    @property
    def parallel(self) -> tuple[Axis, ...]:
        """The axes that index the result."""
        return tuple(a for a in self.axes if not a.reduced)

    @property
    def reduced(self) -> tuple[Axis, ...]:
        """The axes that `combine` runs over."""
        return tuple(a for a in self.axes if a.reduced)

    @property
    def points(self) -> int:
        """Iterations of the nest."""
        return math.prod(a.extent for a in self.axes)

    @property
    def is_contraction(self) -> bool:
        """Whether this is a sum of products of two reads and nothing more: matrix-engine work."""
        body = self.body
        return (
            self.combine == "sum"
            and isinstance(self.result, Acc)
            and isinstance(body, Apply)
            and body.function == "mul"
            and len(self.reads) == 2
            and all(isinstance(a, Load) for a in body.arguments)
            and {a.read for a in body.arguments if isinstance(a, Load)} == {0, 1}
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates, 0 unless this is a contraction."""
        return self.points if self.is_contraction else 0


@dataclass(frozen=True)
class Region:
    """What one kernel computes: nests in order, over named operands.

    Names are canonical (`in0`, `c0`, `t0`, `out`), so that equal regions are equal objects and are
    tiled once; where they came from is kept beside them. Exactly one operand has the role output;
    the nests that write it reach disjoint boxes that cover it (a concatenation has several such
    nests, usually the last one is the only one), and nobody reads it. Every local is written by one
    nest, index = its parallel axes in order, before it is read.
    """

    operands: tuple[Operand, ...]
    nests: tuple[Nest, ...]

    def operand(self, name: str) -> Operand:
        """The operand with a name."""
        return next(o for o in self.operands if o.name == name)

    @property
    def output(self) -> Operand:
        """The operand that the region computes."""
        return next(o for o in self.operands if o.role == "output")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all nests."""
        return sum(n.macs for n in self.nests)
