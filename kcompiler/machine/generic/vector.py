"""The vector unit: a micro-program at each point of strided loops."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from kcompiler.graph.types import parse_dtype
from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import SPECIAL, vector_cycles
from kcompiler.machine.generic import touches
from kcompiler.machine.generic.base import TYPES
from kcompiler.machine.generic.engines import Engine, check_extent
from kcompiler.machine.instruction import Record, choice, many, s, u
from kcompiler.machine.products import Operand, Products
from kcompiler.machine.simulator import elementwise
from kcompiler.machine.touch import Touch

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


class VectorLoop(Record):
    """A loop of a vector nest."""

    extent: int = u(32, doc="iterations")
    out: int = s(40, doc="byte stride of the result")
    reads: tuple[int, ...] = many(s(40), most=15, doc="byte stride of each read; 0 repeats it")

    def check(self) -> None:
        check_extent(self.extent)


class Read(Record):
    """An operand of a vector nest."""

    address: int = u(32, base=16, doc="byte in the scratchpad")
    dtype: str = choice(*TYPES)


class Micro(Record):
    """A step of a micro-program; `args` name earlier steps (a read for load)."""

    function: str = choice(*FUNCTIONS)
    dtype: str = choice(*TYPES, doc="type of the value")
    args: tuple[int, ...] = many(u(7), most=3)
    immediate: int = u(
        64, default=0, base=16, doc="for const: a float64's bits, or a two's complement integer"
    )


class VectorNest(Engine):
    """out[…] = result(combine over the last `reduced` loops of body(reads[…]), reads[…])."""

    sources: tuple[Read, ...] = many(Read, most=15, doc="operands")
    loops: tuple[VectorLoop, ...] = many(VectorLoop, most=15)
    reduced: int = u(4, doc="how many of the last loops are reduced")
    body: tuple[Micro, ...] = many(Micro, most=127, doc="micro-program at each point")
    combine: str = choice("none", "sum", "max", "min", "prod")
    result: tuple[Micro, ...] = many(
        Micro, most=127, doc="micro-program at each result; acc is the combined value"
    )
    out: int = u(32, base=16, doc="result, byte in the scratchpad")
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
        elementwise.vector_nest(m, m.chip.scratchpad, self.cores, self.work)

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

    def products(self, chip: Chip) -> Products | None:
        """Sums of the products of two operands, where it computes these and nothing more."""
        factors = _factors(self.body)
        if self.combine != "sum" or factors is None or self.result[-1].function != "acc":
            return None
        left, right = (self._operand(i) for i in factors)
        kept = len(self.loops) - self.reduced
        strides = tuple(x.out if i < kept else 0 for i, x in enumerate(self.loops))
        return Products(
            extents=tuple(x.extent for x in self.loops),
            left=left,
            right=right,
            total=Operand(self.out, parse_dtype(self.out_type).itemsize, strides),
            accumulate=bool(self.accumulate),
        )

    def _operand(self, number: int) -> Operand:
        source = self.sources[number]
        strides = tuple(x.reads[number] for x in self.loops)
        return Operand(source.address, parse_dtype(source.dtype).itemsize, strides)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Every operand, and the result when it is combined with."""
        found = [
            touches.strided(
                chip.scratchpad,
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
        return (
            touches.strided(chip.scratchpad, self.out, size, [(x.extent, x.out) for x in kept]),
        )


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


def _factors(steps: Sequence[Micro]) -> tuple[int, int] | None:
    """The two reads that a micro-program multiplies, when it does nothing else: no square."""
    if steps[-1].function != "mul":
        return None
    left, right = (steps[a] for a in steps[-1].args)
    if left.function != "load" or right.function != "load":
        return None
    return None if left.args == right.args else (left.args[0], right.args[0])


def _micro_counts(steps: Sequence[Micro]) -> tuple[int, int]:
    """(plain, special) micro-operations of a program."""
    work = [s.function for s in steps if s.function not in FREE]
    special = sum(f in SPECIAL for f in work)
    return len(work) - special, special
