"""Functions of one byte inside of a formula of several: the vector unit looks them up first.

A residual sum after SiLU reads two bytes; that of SiLU alone decides what SiLU makes of it. The
table's result takes the place of the byte that it was made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kcompiler.kernel.expr import Apply, Const, Expr, Load, loads, walk
from kcompiler.kernel.statements import Compute, Copy, For, Statement, statements
from kcompiler.machine.cost import operations
from kcompiler.targets.warboy.epilogue import BYTES

_WORTH = 8  # plain operations that a look-up takes the time of, with its start


def look_ups(body: Expr, dtypes: Sequence[np.dtype[Any]]) -> tuple[tuple[int, Expr], ...]:
    """(read, function of it alone): bytes made of one byte that nothing else in a formula needs.

    `dtypes` are those of the reads.
    """
    found: dict[int, Expr] = {}
    for part in reversed(tuple(walk(body))):  # outer ones first
        used = loads(part)
        if part is body or part.dtype not in BYTES or len(used) != 1 or used[0] in found:
            continue
        plain, special = operations(part)
        alone = used[0] not in loads(swapped(body, part, Const(part.dtype, 0)))
        if dtypes[used[0]] in BYTES and alone and plain + special >= _WORTH:
            found[used[0]] = part
    return tuple(found.items())


def swapped(expr: Expr, old: Expr, new: Expr) -> Expr:
    """The expression with another one in the place of one of its parts, wherever that is."""
    if expr == old:
        return new
    if isinstance(expr, Apply):
        return replace(expr, arguments=tuple(swapped(a, old, new) for a in expr.arguments))
    return expr


def looked_up(body: Expr, read: int, part: Expr) -> Expr:
    """The formula that reads the result of the table."""
    return swapped(body, part, Load(part.dtype, read))


def last_reader(kernel_body: Sequence[Statement], compute: Compute, buffer: str) -> bool:
    """Whether a buffer is made for one nest: another nest beside it writes it, nothing reads it."""
    everything = list(statements(tuple(kernel_body)))
    beside = next(b for b in _blocks(kernel_body) if any(s is compute for s in b))
    made = any(isinstance(s, Compute) and s.nest.write.operand == buffer for s in beside)
    loaded = any(isinstance(s, Copy) and buffer in {s.src.tensor, s.dst.tensor} for s in everything)
    nests = [s for s in everything if isinstance(s, Compute)]
    readers = [s for s in nests if any(r.operand == buffer for r in s.nest.reads)]
    once = sum(r.operand == buffer for r in compute.nest.reads) == 1
    return made and once and not loaded and all(s is compute for s in readers)


def _blocks(body: Sequence[Statement]) -> Iterator[Sequence[Statement]]:
    yield body
    for statement in body:
        if isinstance(statement, For):
            yield from _blocks(statement.body)
