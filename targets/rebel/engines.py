"""The Neural Engine: contractions on the array, everything else on the vector unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from kcompiler.graph.types import F32, I32, is_float, parse_dtype
from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import SPECIAL, contraction_cycles, vector_cycles
from kcompiler.machine.instruction import Record, choice, many, s, u
from kcompiler.machine.simulator import contraction, elementwise
from kcompiler.machine.touch import Touch
from kcompiler.targets.rebel import touches
from kcompiler.targets.rebel.base import SCRATCHPAD, TYPES, Rebel

if TYPE_CHECKING:
    from kcompiler.machine.simulator.memories import Machine

FUNCTIONS = (
    "load", "const", "acc", "cast",
    "add", "sub", "mul", "div", "mod", "fmod", "pow", "max", "min", "and", "or", "xor", "not",
    "bitand", "bitor", "bitxor", "bitnot", "shl", "shr", "equal", "less", "less_equal", "where",
    "neg", "abs", "sign", "exp", "log", "sqrt", "reciprocal", "rsqrt", "sin", "cos", "tan",
    "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "tanh", "sigmoid",
    "relu", "floor", "ceil", "round", "isnan", "isinf", "hard_swish", "silu", "gelu", "gelu_tanh",
    "softplus", "softsign", "mish",
)  # fmt: skip
FREE = frozenset({"load", "const", "acc"})


class Loop(Record):
    """A loop of a contraction; a sum's stride of 0 makes it a reduced one."""

    extent: int = u(24, doc="iterations")
    a: int = s(24, doc="byte stride in the first factor")
    b: int = s(24, doc="byte stride in the second factor")
    acc: int = s(24, doc="byte stride in the sums")

    def check(self) -> None:
        _check_extent(self.extent)


class VectorLoop(Record):
    """A loop of a vector nest."""

    extent: int = u(24, doc="iterations")
    out: int = s(24, doc="byte stride of the result")
    reads: tuple[int, ...] = many(s(24), most=15, doc="byte stride of each read; 0 repeats it")

    def check(self) -> None:
        _check_extent(self.extent)


class Read(Record):
    """An operand of a vector nest."""

    address: int = u(24, base=16, doc="byte in l1")
    dtype: str = choice(*TYPES)


class Micro(Record):
    """A step of a micro-program; `args` name earlier steps (a read for load)."""

    function: str = choice(*FUNCTIONS)
    dtype: str = choice(*TYPES, doc="type of the value")
    args: tuple[int, ...] = many(u(7), most=3)
    immediate: int = u(
        64, default=0, base=16, doc="for const: a float64's bits, or a two's complement integer"
    )


class Engine(Rebel):
    """What the Neural Engine's instructions share."""

    cores: int = u(10, doc="the first this many cores take part")

    def check(self) -> None:
        if self.cores == 0:
            raise ValueError("no core takes part")

    def active_cores(self) -> int:
        """Cores that take part."""
        return self.cores

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """Engines work in l1 only."""
        return {}


class MatrixContract(Engine, opcode=0x20, mnemonic="matrix.contract", engine="matrix"):
    """acc[…] = (acc[…] +) sum over the reduced loops of a[…] * b[…], in f32, or wrapping in i32."""

    a: int = u(24, base=16, doc="first factor, byte in l1")
    b: int = u(24, base=16, doc="second factor, byte in l1")
    acc: int = u(24, base=16, doc="sums, byte in l1")
    type_a: str = choice("f16", "bf16", "f32", "f8e4m3fn", "f8e5m2", "i8", "u8")
    type_b: str = choice("f16", "bf16", "f32", "f8e4m3fn", "f8e5m2", "i8", "u8")
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
        contraction.contract(m, SCRATCHPAD, self.cores, work)

    def cycles(self, chip: Chip) -> int:
        """The array keeps blocks of one factor and streams rows of the other through them."""
        by = contraction.roles(self.loops)
        rows, columns, terms, batch = (
            prod(x.extent for x in p) for p in (by.m, by.n, by.k, by.batch)
        )
        each = contraction_cycles(rows, terms, columns, chip.matrix, self.type_a)
        return chip.matrix.startup.value + batch * int(each)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Both factors, and the sums when they are added to."""
        a = touches.strided(
            SCRATCHPAD,
            self.a,
            parse_dtype(self.type_a).itemsize,
            [(x.extent, x.a) for x in self.loops],
        )
        b = touches.strided(
            SCRATCHPAD,
            self.b,
            parse_dtype(self.type_b).itemsize,
            [(x.extent, x.b) for x in self.loops],
        )
        return (a, b, *(self.writes(chip) if self.accumulate else ()))

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The sums."""
        size = (F32 if is_float(parse_dtype(self.type_a)) else I32).itemsize
        return (
            touches.strided(SCRATCHPAD, self.acc, size, [(x.extent, x.acc) for x in self.loops]),
        )


class VectorNest(Engine, opcode=0x30, mnemonic="vector.nest", engine="vector"):
    """out[…] = result(combine over the last `reduced` loops of body(reads[…]), reads[…])."""

    sources: tuple[Read, ...] = many(Read, most=15, doc="operands")
    loops: tuple[VectorLoop, ...] = many(VectorLoop, most=15)
    reduced: int = u(4, doc="how many of the last loops are reduced")
    body: tuple[Micro, ...] = many(Micro, most=127, doc="micro-program at each point")
    combine: str = choice("none", "sum", "max", "min", "prod")
    result: tuple[Micro, ...] = many(
        Micro, most=127, doc="micro-program at each result; acc is the combined value"
    )
    out: int = u(24, base=16, doc="result, byte in l1")
    out_type: str = choice(*TYPES)
    accumulate: int = u(1, default=0, doc="1: combine with what is there")

    def check(self) -> None:
        super().check()
        if self.reduced > len(self.loops):
            raise ValueError(f"{self.reduced} reduced loops of {len(self.loops)}")
        if any(len(x.reads) != len(self.sources) for x in self.loops):
            raise ValueError("every loop needs one stride for each read")
        if self.combine == "none" and (self.reduced or self.accumulate):
            raise ValueError("nothing says how values are combined")
        _check_micro(self.body, len(self.sources))
        _check_micro(self.result, len(self.sources))
        self._check_loops()

    def _check_loops(self) -> None:
        """Each element of the result is written once, from reads that it alone decides."""
        kept = len(self.loops) - self.reduced
        if any(x.extent > 1 and x.out == 0 for x in self.loops[:kept]):
            raise ValueError("a loop that is not reduced must move the result")
        if any(step.function == "acc" for step in self.body):
            raise ValueError("there is no acc before the reduction")
        for step in self.result:
            if step.function == "load" and any(
                x.extent > 1 and x.reads[step.args[0]] for x in self.loops[kept:]
            ):
                raise ValueError(f"read {step.args[0]} has many values for one result")

    @property
    def work(self) -> elementwise.VectorWork:
        """The instruction's fields as the simulator takes them."""
        reads = tuple(elementwise.Place(r.address, parse_dtype(r.dtype)) for r in self.sources)
        out = elementwise.Place(self.out, parse_dtype(self.out_type))
        return elementwise.VectorWork(
            reads,
            self.loops,
            self.reduced,
            self.body,
            self.combine,
            self.result,
            out,
            bool(self.accumulate),
        )

    def execute(self, m: Machine) -> None:
        """Every micro-step as one array operation over the cores."""
        elementwise.vector_nest(m, SCRATCHPAD, self.cores, self.work)

    def cycles(self, chip: Chip) -> int:
        """A micro-operation takes elements / lanes cycles; twice that for 64-bit elements."""
        points = prod(x.extent for x in self.loops)
        outer = prod(x.extent for x in self.loops[: len(self.loops) - self.reduced])
        plain, special = _micro_counts(self.body)
        total = vector_cycles(points, plain + (1 if self.reduced else 0), special, chip.vector)
        plain, special = _micro_counts(self.result)
        total += vector_cycles(outer, plain, special, chip.vector)
        wide = any(parse_dtype(r.dtype).itemsize == 8 for r in self.sources)
        return chip.vector.startup.value + int(total) * (2 if wide else 1)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Every operand, and the result when it is combined with."""
        found = [
            touches.strided(
                SCRATCHPAD,
                r.address,
                parse_dtype(r.dtype).itemsize,
                [(x.extent, x.reads[i]) for x in self.loops],
            )
            for i, r in enumerate(self.sources)
        ]
        return (*found, *(self.writes(chip) if self.accumulate else ()))

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The result."""
        kept = self.loops[: len(self.loops) - self.reduced]
        size = parse_dtype(self.out_type).itemsize
        return (touches.strided(SCRATCHPAD, self.out, size, [(x.extent, x.out) for x in kept]),)


def _check_extent(extent: int) -> None:
    if extent == 0:
        raise ValueError("a loop of no iterations")


def _check_micro(steps: Sequence[Micro], reads: int) -> None:
    if not steps:
        raise ValueError("an empty micro-program has no value")
    for i, step in enumerate(steps):
        limit = reads if step.function == "load" else i
        if any(a >= limit for a in step.args):
            raise ValueError(f"step {i} ({step.function}) uses a value that does not exist")
        if len(step.args) != touches.arity(step.function):
            raise ValueError(
                f"step {i}: {step.function} takes {touches.arity(step.function)} arguments"
            )


def _micro_counts(steps: Sequence[Micro]) -> tuple[int, int]:
    """(plain, special) micro-operations of a program."""
    work = [s.function for s in steps if s.function not in FREE]
    special = sum(f in SPECIAL for f in work)
    return len(work) - special, special
