"""The tensor unit's dot products and the vector unit's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import F32, I32, parse_dtype
from kcompiler.machine.chip import Chip
from kcompiler.machine.generic import touches, transfers
from kcompiler.machine.generic.contraction import Contract
from kcompiler.machine.generic.engines import Engine, check_extent
from kcompiler.machine.generic.instructions import Instructions
from kcompiler.machine.instruction import Record, choice, f32, many, s, u
from kcompiler.machine.products import Operand, Products
from kcompiler.machine.simulator import contraction
from kcompiler.machine.touch import Touch
from kcompiler.scalar import convert
from kcompiler.targets.warboy import isa
from kcompiler.targets.warboy.engines import DotEngine, TableEngine
from kcompiler.targets.warboy.isa import Warboy

if TYPE_CHECKING:
    from kcompiler.machine.simulator.memories import Machine

U8 = np.dtype(np.uint8)
_BYTES = 256


class Loop(Record):
    """A loop of an instruction; what it steps through follows."""

    extent: int = u(18, doc="iterations")

    def check(self) -> None:
        check_extent(self.extent)


class Step(Loop):
    """A loop of the fetch sequencer: what it streams past the weights; the last one is innermost.

    With a stride in the weights it changes them too (a group, a batch).
    """

    data: int = s(20, doc="byte stride in the data")
    weights: int = s(20, doc="byte stride in the weights")
    sums: int = s(20, doc="byte stride in the sums")
    out: int = s(20, doc="byte stride in the drained bytes")
    channel: int = s(20, doc="byte stride in bias and scale")


class Term(Loop):
    """A loop of the sums; the unit takes 32 terms of all of them a cycle."""

    data: int = s(20, doc="byte stride in the data")
    weights: int = s(20, doc="byte stride in the weights")


class Output(Loop):
    """A loop of outputs that share the data; the unit makes 4 of them a cycle."""

    weights: int = s(20, doc="byte stride in the weights")
    sums: int = s(20, doc="byte stride in the sums")
    out: int = s(20, doc="byte stride in the drained bytes")
    channel: int = s(20, doc="byte stride in bias and scale")


class Requantize(Record):
    """byte = clip(round((sum + bias) * scale) + zero, low, high): half to even, in float32."""

    to: str = choice("i8", "u8")
    out: int = u(18, base=16, doc="the bytes, in buffers")
    bias_from: str = choice("number", "buffers")
    bias: int = s(32, doc="an int32, or where they lie")
    scale_from: str = choice("number", "buffers")
    scale: float = f32(doc="the scale where it is a number")
    scales: int = u(18, base=16, doc="where they lie")
    zero: int = s(9)
    low: int = s(9)
    high: int = s(9)

    def apply(self, sums: Array, bias: Array, scale: Array) -> Array:
        """The bytes of some sums."""
        whole = np.rint(convert(sums + bias, F32) * scale) + F32.type(self.zero)
        return convert(np.clip(whole, self.low, self.high), self.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a byte."""
        return parse_dtype(self.to)


class Dot(Warboy, Engine, opcode=0x20, mnemonic="te.dot", engine="te"):
    """sums[…] = (sums[…] +) total over the terms of data[…] * weights[…], in int32; or its bytes.

    The drain makes bytes of the sums where it is told how: then they go to its `out` alone.
    """

    cores: int = u(8, doc="the first this many slices take part")
    data: int = u(18, base=16, doc="byte in buffers")
    weights: int = u(18, base=16, doc="byte in buffers")
    sums: int = u(18, base=16, doc="byte in buffers")
    data_type: str = choice("i8", "u8")
    weight_type: str = choice("i8", "u8")
    sequence: tuple[Step, ...] = many(Step, most=15, doc="outermost first")
    terms: tuple[Term, ...] = many(Term, most=15, doc="outermost first")
    outputs: tuple[Output, ...] = many(Output, most=15, doc="outermost first")
    accumulate: int = u(1, doc="1: start from the sums that are there")
    drain: tuple[Requantize, ...] = many(Requantize, most=1, doc="none: the sums stay sums")

    @property
    def kept(self) -> tuple[Step | Output, ...]:
        """The loops that a result has an index for."""
        return (*self.sequence, *self.outputs)

    def check(self) -> None:
        super().check()
        changing = [x.weights != 0 for x in self.sequence]
        if changing != sorted(changing, reverse=True):
            raise ValueError("loops that change the weights are outside of those that stream data")
        if any(x.weights and not x.data for x in self.sequence):
            raise ValueError("a loop that changes the weights alone is one of outputs")
        if any(x.extent > 1 and not x.weights for x in self.outputs):
            raise ValueError("outputs have weights of their own")
        if any(x.extent > 1 and not x.sums for x in self.kept):
            raise ValueError("each result has a place of its own")

    def execute(self, m: Machine) -> None:
        """One batched matrix product over the slices; int32 sums are exact in any order."""
        pad, shape = m.chip.scratchpad, [x.extent for x in self.kept]
        found = contraction.sums(m, pad, self.cores, self._work())
        total = found.reshape(self.cores, *shape).astype(I32)
        strides = [x.sums for x in self.kept]
        with np.errstate(over="ignore"):
            if self.accumulate:
                total = m.read(pad, self.sums, I32, shape, strides, cores=self.cores) + total
            if not self.drain:
                m.write(pad, self.sums, I32, shape, strides, cores=self.cores)[...] = total
                return
            (how,) = self.drain
            channel = [x.channel for x in self.kept]

            def given(source: str, at: int, dtype: np.dtype[Any], number: float) -> Array:
                if source == "number":
                    return np.asarray(number, dtype)
                return m.read(pad, at, dtype, shape, channel, cores=self.cores)

            bias = given(how.bias_from, how.bias, I32, how.bias)
            scale = given(how.scale_from, how.scales, F32, how.scale)
            done = how.apply(total, bias, scale)
        strides = [x.out for x in self.kept]
        m.write(pad, how.out, how.dtype, shape, strides, cores=self.cores)[...] = done

    def _work(self) -> contraction.Contraction:
        """The loops as the simulator takes them."""
        steps = [_Loop(x.extent, x.data, x.weights, x.sums) for x in self.sequence]
        terms = [_Loop(x.extent, x.data, x.weights, 0) for x in self.terms]
        outputs = [_Loop(x.extent, 0, x.weights, x.sums) for x in self.outputs]
        data = contraction.Factor(self.data, parse_dtype(self.data_type))
        weights = contraction.Factor(self.weights, parse_dtype(self.weight_type))
        loops = (*steps, *terms, *outputs)
        return contraction.Contraction(data, weights, self.sums, loops, accumulate=False)

    def products(self, chip: Chip) -> Products:
        """All that it does before the drain."""
        loops = (*self.kept, *self.terms)
        still = (0,) * len(self.terms)

        def strides(name: str) -> tuple[int, ...]:
            return tuple(getattr(x, name, 0) for x in loops)

        out = tuple(x.out for x in self.kept)
        return Products(
            extents=tuple(x.extent for x in loops),
            left=Operand(self.data, 1, strides("data")),
            right=Operand(self.weights, 1, strides("weights")),
            total=Operand(self.sums, I32.itemsize, strides("sums")),
            accumulate=bool(self.accumulate),
            result=next((Operand(how.out, 1, (*out, *still)) for how in self.drain), None),
        )

    def cycles(self, chip: Chip) -> int:
        """What it takes at the rate that real programs reach."""
        engine = self._engine(chip)
        return engine.startup.value + round(self._streamed(engine) / engine.sustained.value)

    def full_rate_cycles(self, chip: Chip) -> int:
        """What it takes at the full rate: plans compare this, so that no fit changes a program."""
        engine = self._engine(chip)
        return engine.startup.value + self._streamed(engine)

    @staticmethod
    def _engine(chip: Chip) -> DotEngine:
        if not isinstance(chip.matrix, DotEngine):
            raise TypeError(f"{chip.name} has no dot products")
        return chip.matrix

    def _streamed(self, engine: DotEngine) -> int:
        """All positions stream past each block of weights, once for every group."""
        groups = prod(x.extent for x in self.sequence if x.weights)
        positions = prod(x.extent for x in self.sequence if not x.weights)
        terms, outputs = (prod(x.extent for x in loops) for loops in (self.terms, self.outputs))
        return groups * int(engine.product_cycles(positions, terms, outputs, self._fresh(engine)))

    def _fresh(self, engine: DotEngine) -> float:
        """The part of the data that is fetched anew when the innermost step moves a window on."""
        step = next((x.data for x in self.sequence[::-1] if x.extent > 1 and not x.weights), 0)
        taps = [x for x in self.terms if x.extent > 1 and x.data and step % x.data == 0]
        return min((engine.fresh(x.extent, abs(step // x.data)) for x in taps if step), default=1.0)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Data, weights, the sums that are there, bias and scales."""
        data = [(x.extent, x.data) for x in self.sequence]
        data += [(x.extent, x.data) for x in self.terms]
        weights = [(x.extent, x.weights) for x in (*self.kept, *self.terms)]
        found = [self._touch(chip, self.data, 1, data), self._touch(chip, self.weights, 1, weights)]
        if self.accumulate:
            found.append(self._sums(chip))
        channel = [(x.extent, x.channel) for x in self.kept]
        for how in self.drain:
            places = [(how.bias_from, how.bias), (how.scale_from, how.scales)]
            used = [at for source, at in places if source == "buffers"]
            found += [self._touch(chip, at, 4, channel) for at in used]
        return tuple(found)

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The bytes, or the sums."""
        out = [(x.extent, x.out) for x in self.kept]
        drained = tuple(self._touch(chip, how.out, 1, out) for how in self.drain)
        return drained or (self._sums(chip),)

    def _sums(self, chip: Chip) -> Touch:
        return self._touch(chip, self.sums, 4, [(x.extent, x.sums) for x in self.kept])

    @staticmethod
    def _touch(chip: Chip, at: int, size: int, axes: Sequence[tuple[int, int]]) -> Touch:
        return touches.strided(chip.scratchpad, at, size, axes)


class _Loop(NamedTuple):
    """A loop as the simulator's contraction takes it."""

    extent: int
    a: int
    b: int
    acc: int


class TableLoop(Loop):
    """A loop of a look-up."""

    source: int = s(20, doc="byte stride of the indices")
    out: int = s(20, doc="byte stride of the result")


class Table(Warboy, Engine, opcode=0x31, mnemonic="ve.table", engine="ve"):
    """out[…] = table[source[…]], a byte for each byte."""

    cores: int = u(8, doc="the first this many slices take part")
    source: int = u(18, base=16, doc="indices, byte in buffers")
    out: int = u(18, base=16, doc="result, byte in buffers")
    loops: tuple[TableLoop, ...] = many(TableLoop, most=15)
    table: tuple[int, ...] = many(u(8), most=256, doc="what each byte from 0 on becomes")

    def check(self) -> None:
        super().check()
        if len(self.table) != _BYTES:
            raise ValueError(f"a table of {len(self.table)} bytes")
        if any(x.extent > 1 and not x.out for x in self.loops):
            raise ValueError("each result has a place of its own")

    def execute(self, m: Machine) -> None:
        """All look-ups of all slices at once."""
        pad, shape = m.chip.scratchpad, [x.extent for x in self.loops]
        strides = [x.source for x in self.loops]
        found = m.read(pad, self.source, U8, shape, strides, cores=self.cores)
        done = np.array(self.table, U8)[found]
        strides = [x.out for x in self.loops]
        m.write(pad, self.out, U8, shape, strides, cores=self.cores)[...] = done

    def products(self, chip: Chip) -> None:
        """None: it looks up."""

    def cycles(self, chip: Chip) -> int:
        """Each port looks one byte up a cycle."""
        if not isinstance(chip.vector, TableEngine):
            raise TypeError(f"{chip.name} has no tables")
        count = prod(x.extent for x in self.loops)
        return chip.vector.startup.value + int(chip.vector.look_ups(count))

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """The indices."""
        axes = [(x.extent, x.source) for x in self.loops]
        return (touches.strided(chip.scratchpad, self.source, 1, axes),)

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The bytes."""
        axes = [(x.extent, x.out) for x in self.loops]
        return (touches.strided(chip.scratchpad, self.out, 1, axes),)


DRAM = Instructions(
    wait=isa.SyncWait,
    load=isa.DmaLoad,
    store=isa.DmaStore,
    gather=transfers.BoxGather,  # never said: see legality.has_a_kernel
    contract=Contract,  # Dot, which the lowering makes itself
    nest=isa.VectorNest,
)
SRAM = replace(DRAM, load=isa.Fetch, store=isa.Commit)
