"""Contractions on the array of multiply-accumulate cells."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from kcompiler.graph.types import F32, I32, is_float, parse_dtype
from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import contraction_cycles
from kcompiler.machine.generic import touches
from kcompiler.machine.generic.engines import Engine, check_extent
from kcompiler.machine.instruction import Record, choice, many, s, u
from kcompiler.machine.products import Operand, Products
from kcompiler.machine.simulator import contraction
from kcompiler.machine.touch import Touch

if TYPE_CHECKING:
    from kcompiler.machine.simulator.memories import Machine

FACTORS = ("f16", "bf16", "f32", "f8e4m3fn", "f8e5m2", "i8", "u8")


class Loop(Record):
    """A loop of a contraction; a sum's stride of 0 makes it a reduced one."""

    extent: int = u(32, doc="iterations")
    a: int = s(40, doc="byte stride in the first factor")
    b: int = s(40, doc="byte stride in the second factor")
    acc: int = s(40, doc="byte stride in the sums")

    def check(self) -> None:
        check_extent(self.extent)


class Contract(Engine):
    """acc[…] = (acc[…] +) sum over the reduced loops of a[…] * b[…], in f32, or wrapping in i32."""

    a: int = u(32, base=16, doc="first factor, byte in the scratchpad")
    b: int = u(32, base=16, doc="second factor, byte in the scratchpad")
    acc: int = u(32, base=16, doc="sums, byte in the scratchpad")
    type_a: str = choice(*FACTORS)
    type_b: str = choice(*FACTORS)
    loops: tuple[Loop, ...] = many(Loop, most=15)
    accumulate: int = u(1, default=0, doc="1: add to the sums that are there")

    def check(self) -> None:
        super().check()
        if is_float(parse_dtype(self.type_a)) != is_float(parse_dtype(self.type_b)):
            raise ValueError(f"the array multiplies no {self.type_a} with {self.type_b}")

    def execute(self, m: Machine) -> None:
        """One batched matrix product over the cores."""
        a = contraction.Factor(self.a, parse_dtype(self.type_a))
        b = contraction.Factor(self.b, parse_dtype(self.type_b))
        work = contraction.Contraction(a, b, self.acc, self.loops, bool(self.accumulate))
        contraction.contract(m, m.chip.scratchpad, self.cores, work)

    def cycles(self, chip: Chip) -> int:
        """The array keeps blocks of one factor and streams rows of the other through them."""
        by = contraction.roles(self.loops)
        rows, columns, terms, batch = (
            prod(x.extent for x in p) for p in (by.m, by.n, by.k, by.batch)
        )
        each = contraction_cycles(rows, terms, columns, chip.matrix, self.type_a)
        return chip.matrix.startup.value + batch * int(each)

    def products(self, chip: Chip) -> Products:
        """All that it does."""
        a, b = parse_dtype(self.type_a).itemsize, parse_dtype(self.type_b).itemsize
        return Products(
            extents=tuple(x.extent for x in self.loops),
            left=Operand(self.a, a, tuple(x.a for x in self.loops)),
            right=Operand(self.b, b, tuple(x.b for x in self.loops)),
            total=Operand(self.acc, F32.itemsize, tuple(x.acc for x in self.loops)),
            accumulate=bool(self.accumulate),
        )

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Both factors, and the sums when they are added to."""
        a = touches.strided(
            chip.scratchpad,
            self.a,
            parse_dtype(self.type_a).itemsize,
            [(x.extent, x.a) for x in self.loops],
        )
        b = touches.strided(
            chip.scratchpad,
            self.b,
            parse_dtype(self.type_b).itemsize,
            [(x.extent, x.b) for x in self.loops],
        )
        return (a, b, *(self.writes(chip) if self.accumulate else ()))

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The sums."""
        size = (F32 if is_float(parse_dtype(self.type_a)) else I32).itemsize
        return (
            touches.strided(
                chip.scratchpad, self.acc, size, [(x.extent, x.acc) for x in self.loops]
            ),
        )
