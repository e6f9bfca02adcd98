"""Kernels: a region cut into tiles, with buffers in named memories.

Four statements and nothing else. numpy runs them as written (`kernel/interpreter.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from kcompiler.kernel.nest import Affine, Nest, Operand


@dataclass(frozen=True)
class Box:
    """A box of a tensor: index of dimension d = origin[d] + step[d] * i, 0 <= i < shape[d].

    `origin` is affine in the loop variables around it. Positions outside the tensor's bounds are
    legal: a read gives the copy's fill, a write is dropped (clipped).
    """

    tensor: str
    origin: tuple[Affine, ...]
    shape: tuple[int, ...]
    step: tuple[int, ...]


@dataclass(frozen=True)
class Alloc:
    """A buffer, one per core, dense row-major, in a named memory; it lives to its block's end."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    memory: str


@dataclass(frozen=True)
class Copy:
    """dst box = src box (equal shapes), one side an operand of the kernel, the other a buffer.

    `fill` is what source positions outside the operand's bounds give. `indirect = (dimension,
    indices)` makes it a gather: along that dimension of the source the indices come from an integer
    buffer of rank 1 (dst.shape[dimension] = its length, src.shape[dimension] = the operand's
    extent).
    """

    dst: Box
    src: Box
    fill: float | int = 0
    indirect: tuple[int, str] | None = None


@dataclass(frozen=True)
class Compute:
    """A nest on buffers.

    `carry` names a loop: at its first iteration the result overwrites the written buffer, later it
    is combined with what is there (a split reduction; `result` is then the plain Acc).
    """

    nest: Nest
    carry: str | None = None


@dataclass(frozen=True)
class For:
    """`body` for var = 0 … extent-1.

    kind: ``core`` runs the iterations on different cores (SPMD), ``sequential`` one after the
    other, ``double`` likewise but with two copies of each buffer allocated inside, so that copies
    of one iteration overlap with the computation of another.
    """

    var: str
    extent: int
    kind: Literal["core", "sequential", "double"]
    body: tuple[Statement, ...]


Statement: TypeAlias = "Alloc | Copy | Compute | For"


@dataclass(frozen=True)
class Kernel:
    """A tiled region for one chip. Core loops, if any, are the outermost ones."""

    name: str
    operands: tuple[Operand, ...]
    body: tuple[Statement, ...]

    def operand(self, name: str) -> Operand:
        """The operand with a name."""
        return next(o for o in self.operands if o.name == name)

    @property
    def core_grid(self) -> tuple[tuple[str, int], ...]:
        """The core loops from outermost in: (variable, extent).

        A core's number is the mixed radix of these, the last one fastest.
        """
        found: list[tuple[str, int]] = []
        body = self.body
        while len(body) == 1 and isinstance(body[0], For) and body[0].kind == "core":
            found.append((body[0].var, body[0].extent))
            body = body[0].body
        return tuple(found)


def statements(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement, outer ones first, in text order."""
    for statement in body:
        yield statement
        if isinstance(statement, For):
            yield from statements(statement.body)
