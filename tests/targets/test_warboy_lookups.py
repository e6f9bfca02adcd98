"""Which functions of one byte are looked up before a formula of several, and when they may be."""

from __future__ import annotations

import numpy as np
import pytest

from kcompiler.graph.types import F32
from kcompiler.kernel.expr import Acc, Apply, Const, Expr, Load
from kcompiler.kernel.nest import Access, Affine, Axis, Nest
from kcompiler.kernel.statements import Box, Compute, Copy, For, Statement
from kcompiler.targets.warboy.lookups import last_reader, look_ups, looked_up

I8 = np.dtype(np.int8)
BYTES = (I8, I8)


def call(function: str, *arguments: Expr) -> Expr:
    return Apply(F32, function, arguments)


def byte(x: Expr) -> Expr:
    return Apply(I8, "cast", (call("min", call("max", call("round", x), lit(-128)), lit(127)),))


def number(read: int) -> Expr:
    return call("mul", Apply(F32, "cast", (Load(I8, read),)), lit(0.5))


def lit(value: float) -> Const:
    return Const(F32, value)


SILU = byte(call("mul", number(1), call("sigmoid", number(1))))
TOTAL = byte(call("add", number(0), Apply(F32, "cast", (SILU,))))


def test_the_largest_byte_of_one_byte_is_looked_up() -> None:
    assert look_ups(TOTAL, BYTES) == ((1, SILU),)
    after = looked_up(TOTAL, 1, SILU)
    assert after == byte(call("add", number(0), Apply(F32, "cast", (Load(I8, 1),))))
    assert look_ups(after, BYTES) == ()


def test_what_is_no_function_of_one_byte_is_not() -> None:
    assert look_ups(SILU, BYTES) == ()  # all of it: a table without a sum
    assert look_ups(TOTAL, (I8, F32)) == ()
    assert look_ups(byte(call("add", TOTAL, number(1))), BYTES) == ()  # the byte is needed too
    cheap = Apply(I8, "neg", (Load(I8, 1),))
    assert look_ups(byte(call("add", number(0), Apply(F32, "cast", (cheap,)))), BYTES) == ()


def nest(out: str, *reads: str) -> Compute:
    """An element-wise nest over four elements."""
    at = (Affine.axis("i"),)
    body = Load(I8, 0)
    accesses = tuple(Access(name, at) for name in reads)
    return Compute(Nest((Axis("i", 4),), accesses, body, "none", Acc(I8), Access(out, at)))


def load(buffer: str) -> Copy:
    box = Box("x", (Affine(),), (4,), (1,))
    return Copy(dst=Box(buffer, (Affine(),), (4,), (1,)), src=box)


READER = nest("out", "t", "x")
MAKER = nest("t", "s")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ((MAKER, READER), True),
        ((For("n", 3, "sequential", (MAKER, READER)),), True),
        ((MAKER, For("n", 3, "sequential", (READER,))), False),  # made once, read three times
        ((MAKER, READER, nest("u", "t")), False),  # read again
        ((load("t"), READER), False),  # a tile that may stay
        ((MAKER, load("t"), READER), False),
    ],
)
def test_a_byte_is_overwritten_only_where_nothing_else_reads_it(
    body: tuple[Statement, ...], expected: bool
) -> None:
    assert last_reader(body, READER, "t") == expected


def test_a_byte_that_is_read_twice_by_one_nest() -> None:
    both = nest("out", "t", "t")
    assert not last_reader((MAKER, both), both, "t")
