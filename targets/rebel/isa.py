"""The instruction set of the modelled Rebel100. Not the vendor's: its encodings are not public.

One stream of instructions drives 64 neural cores (SPMD). Each core has in-order queues `ndma_load`,
`ndma_store` (Neural DMA), `matrix` and `vector` (Neural Engine Clusters); `task_dma` exists once. Queues run in
parallel and meet through `sync.wait` on completion counters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from kcompiler.graph.types import F32, I32, compute_dtype, is_float, parse_dtype
from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import SPECIAL, contraction_cycles, dma_cycles, vector_cycles
from kcompiler.machine.instruction import Isa, Record, choice, many, s, u
from kcompiler.machine.simulator import boxes, contraction, elementwise
from kcompiler.machine.simulator.boxes import CoreBox
from kcompiler.machine.touch import Touch
from kcompiler.targets.rebel import touches

if TYPE_CHECKING:
    from kcompiler.machine.simulator.memories import Machine

SCRATCHPAD = "l1"
QUEUES = ("ndma_load", "ndma_store", "matrix", "vector", "task_dma")
TYPES = ("f16", "bf16", "f32", "f8e4m3fn", "f8e5m2", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "bool")
FUNCTIONS = (
    "load", "const", "acc", "cast",
    "add", "sub", "mul", "div", "mod", "fmod", "pow", "max", "min", "and", "or", "xor", "not",
    "bitand", "bitor", "bitxor", "bitnot", "shl", "shr", "equal", "less", "less_equal", "where",
    "neg", "abs", "sign", "exp", "log", "sqrt", "reciprocal", "rsqrt", "sin", "cos", "tan",
    "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "tanh", "sigmoid", "relu",
    "floor", "ceil", "round", "isnan", "isinf", "hard_swish", "silu", "gelu", "gelu_tanh",
    "softplus", "softsign", "mish",
)  # fmt: skip
FREE = frozenset({"load", "const", "acc"})

class Rebel(Isa):
    """Instructions of the modelled Rebel100."""


class Dim(Record):
    """A dimension of a tensor and of each core's box in it: index = origin + core_steps . core + step * i."""

    extent: int = u(32, doc="indices of the tensor; others read as fill and are not written")
    stride: int = s(40, doc="bytes from one index to the next")
    origin: int = s(32, doc="index of the first element of core 0's box")
    step: int = u(16, doc="indices from one element of the box to the next")
    box: int = u(24, doc="elements of the box")
    core_steps: tuple[int, ...] = many(s(32), most=6, doc="indices from one core to the next, a grid axis each")


class Loop(Record):
    """A loop of a contraction; a sum's stride of 0 makes it a reduced one."""

    extent: int = u(24, doc="iterations")
    a: int = s(24, doc="byte stride in the first factor")
    b: int = s(24, doc="byte stride in the second factor")
    acc: int = s(24, doc="byte stride in the sums")


class VectorLoop(Record):
    """A loop of a vector nest."""

    extent: int = u(24, doc="iterations")
    out: int = s(24, doc="byte stride of the result")
    reads: tuple[int, ...] = many(s(24), most=15, doc="byte stride of each read; 0 repeats it")


class Read(Record):
    """An operand of a vector nest."""

    address: int = u(24, base=16, doc="byte in l1")
    dtype: str = choice(*TYPES)


class Micro(Record):
    """A step of a micro-program; `args` name earlier steps (a read for load)."""

    function: str = choice(*FUNCTIONS)
    dtype: str = choice(*TYPES, doc="type of the value")
    args: tuple[int, ...] = many(u(7), most=3)
    immediate: int = u(64, default=0, base=16, doc="for const: a float64's bits, or a two's complement integer")


class Transfer(Rebel):
    """What the Neural DMA's transfers share."""

    local: int = u(24, base=16, doc="byte in l1; the box lies there dense, row-major")
    memory: str = choice("hbm", "shm", doc="the shared memory")
    base: int = u(40, base=16, doc="byte of index 0 in that memory")
    itemsize: int = u(4, doc="bytes of an element: 1, 2, 4 or 8")
    dims: tuple[Dim, ...] = many(Dim, most=15, doc="outermost first")
    grid: tuple[int, ...] = many(u(10), most=6, doc="cores along each grid axis; the product takes part")

    def check(self) -> None:
        if self.itemsize not in (1, 2, 4, 8):
            raise ValueError(f"itemsize {self.itemsize} is not 1, 2, 4 or 8")
        if any(len(d.core_steps) != len(self.grid) for d in self.dims):
            raise ValueError("every dim needs one core step for each axis of the grid")
        if any(d.step == 0 for d in self.dims):
            raise ValueError("a step of 0 would repeat an element")

    @property
    def core_box(self) -> CoreBox:
        """The boxes of all cores."""
        return CoreBox(self.base, self.itemsize, self.dims, self.grid)

    def active_cores(self) -> int:
        """Cores that take part."""
        return prod(self.grid)

    def cycles(self, chip: Chip) -> int:
        """Cycles that a core's port is busy."""
        return int(dma_cycles(*touches.port_work(self), chip))

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """Bytes moved from or to the shared memory; what several cores read alike moves once."""
        return {self.memory: touches.unique_bytes(self)}

    def _local(self) -> tuple[Touch, ...]:
        return (touches.dense(SCRATCHPAD, self.local, prod(d.box for d in self.dims) * self.itemsize),)


class NdmaLoad(Transfer, opcode=0x10, mnemonic="ndma.load", engine="ndma_load"):
    """l1[local…] of each core = its box of the tensor; `fill` where an index is outside the tensor."""

    fill: int = u(64, default=0, base=16, doc="bits of an element outside the tensor")

    def execute(self, m: Machine) -> None:
        """Move the boxes of all cores."""
        boxes.load(m, SCRATCHPAD, self.local, self.memory, self.core_box, self.fill)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the tensor."""
        return touches.outside(self)

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in l1."""
        return self._local()


class NdmaStore(Transfer, opcode=0x11, mnemonic="ndma.store", engine="ndma_store"):
    """The box of each core in the tensor = l1[local…]; elements outside the tensor are dropped."""

    def execute(self, m: Machine) -> None:
        """Move the boxes of all cores."""
        boxes.store(m, SCRATCHPAD, self.local, self.memory, self.core_box)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in l1."""
        return self._local()

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the tensor."""
        return touches.outside(self)


class NdmaGather(Transfer, opcode=0x12, mnemonic="ndma.gather", engine="ndma_load"):
    """ndma.load whose indices along dimension `axis` are read from l1; a negative one counts from the end."""

    axis: int = u(4, doc="position in dims")
    indices: int = u(24, base=16, doc="byte in l1 of box[axis] indices, dense")
    index_type: str = choice("i32", "i64")

    def execute(self, m: Machine) -> None:
        """Look the indices up, then move the boxes."""
        dtype = parse_dtype(self.index_type)
        count = self.dims[self.axis].box
        found = m.read(SCRATCHPAD, self.indices, dtype, (count,), (dtype.itemsize,), prod(self.grid))
        extent = self.dims[self.axis].extent
        wrapped = np.where(found < 0, found + extent, found)
        boxes.gather(m, SCRATCHPAD, self.local, self.memory, self.core_box, self.axis, wrapped)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Any index may be read, and the indices themselves."""
        size = parse_dtype(self.index_type).itemsize * self.dims[self.axis].box
        return (*touches.outside(self, whole=self.axis), touches.dense(SCRATCHPAD, self.indices, size))

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in l1."""
        return self._local()


class TaskCopy(Rebel, opcode=0x18, mnemonic="tdma.copy", engine="task_dma"):
    """to[to_address…] = from[from_address…], `size` bytes between hbm and shm."""

    source: str = choice("hbm", "shm")
    source_address: int = u(40, base=16)
    target: str = choice("hbm", "shm")
    target_address: int = u(40, base=16)
    size: int = u(40)

    def execute(self, m: Machine) -> None:
        """Move the bytes."""
        byte = np.dtype(np.uint8)
        data = m.read(self.source, self.source_address, byte, (self.size,), (1,))
        m.write(self.target, self.target_address, byte, (self.size,), (1,))[...] = data

    def active_cores(self) -> int:
        """No core takes part."""
        return 0

    def cycles(self, chip: Chip) -> int:
        """Start-up; the bytes are limited by the memories."""
        return chip.dma.startup.value

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """The bytes, once in each memory."""
        return {self.source: self.size, self.target: self.size} if self.source != self.target else {self.source: 2 * self.size}

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """The source bytes."""
        return (Touch(self.source, False, self.source_address, self.size),)

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The target bytes."""
        return (Touch(self.target, False, self.target_address, self.size),)


class Engine(Rebel):
    """What the Neural Engine's instructions share."""

    cores: int = u(10, doc="the first this many cores take part")

    def active_cores(self) -> int:
        """Cores that take part."""
        return self.cores

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """Engines work in l1 only."""
        return {}


class MatrixContract(Engine, opcode=0x20, mnemonic="matrix.contract", engine="matrix"):
    """acc[…] = (acc[…] +) sum over the reduced loops of a[…] * b[…]; floats sum in f32, integers in i32."""

    a: int = u(24, base=16, doc="first factor, byte in l1")
    b: int = u(24, base=16, doc="second factor, byte in l1")
    acc: int = u(24, base=16, doc="sums, byte in l1")
    type_a: str = choice("f16", "bf16", "f32", "f8e4m3fn", "f8e5m2", "i8", "u8")
    type_b: str = choice("f16", "bf16", "f32", "f8e4m3fn", "f8e5m2", "i8", "u8")
    loops: tuple[Loop, ...] = many(Loop, most=15)
    accumulate: int = u(1, default=0, doc="1: add to the sums that are there")

    def execute(self, m: Machine) -> None:
        """One batched matrix product over the cores."""
        a = contraction.Factor(self.a, parse_dtype(self.type_a))
        b = contraction.Factor(self.b, parse_dtype(self.type_b))
        contraction.contract(m, SCRATCHPAD, self.cores, a, b, self.acc, self.loops, bool(self.accumulate))

    def cycles(self, chip: Chip) -> int:
        """A weight-stationary array: the first factor's rows stream through blocks of the second."""
        by = contraction.roles(self.loops)
        rows, columns, terms, batch = (prod(l.extent for l in p) for p in (by.m, by.n, by.k, by.batch))
        each = contraction_cycles(rows, terms, columns, chip.matrix, self.type_a)
        return chip.matrix.startup.value + batch * int(each)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Both factors, and the sums when they are added to."""
        a = touches.strided(SCRATCHPAD, self.a, parse_dtype(self.type_a).itemsize, [(l.extent, l.a) for l in self.loops])
        b = touches.strided(SCRATCHPAD, self.b, parse_dtype(self.type_b).itemsize, [(l.extent, l.b) for l in self.loops])
        return (a, b, *(self.writes(chip) if self.accumulate else ()))

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The sums."""
        size = (F32 if is_float(parse_dtype(self.type_a)) else I32).itemsize
        return (touches.strided(SCRATCHPAD, self.acc, size, [(l.extent, l.acc) for l in self.loops]),)


class VectorNest(Engine, opcode=0x30, mnemonic="vector.nest", engine="vector"):
    """out[…] = result(combine over the last `reduced` loops of body(reads[…]), reads[…])."""

    sources: tuple[Read, ...] = many(Read, most=15, doc="operands")
    loops: tuple[VectorLoop, ...] = many(VectorLoop, most=15)
    reduced: int = u(4, doc="how many of the last loops are reduced")
    body: tuple[Micro, ...] = many(Micro, most=127, doc="micro-program at each point")
    combine: str = choice("none", "sum", "max", "min", "prod")
    result: tuple[Micro, ...] = many(Micro, most=127, doc="micro-program at each result; acc is the combined value")
    out: int = u(24, base=16, doc="result, byte in l1")
    out_type: str = choice(*TYPES)
    accumulate: int = u(1, default=0, doc="1: combine with what is there")

    def check(self) -> None:
        if self.reduced > len(self.loops):
            raise ValueError(f"{self.reduced} reduced loops of {len(self.loops)}")
        if any(len(l.reads) != len(self.sources) for l in self.loops):
            raise ValueError("every loop needs one stride for each read")
        _check_micro(self.body, len(self.sources))
        _check_micro(self.result, len(self.sources))

    @property
    def work(self) -> elementwise.VectorWork:
        """The instruction's fields as the simulator takes them."""
        reads = tuple(elementwise.Place(r.address, parse_dtype(r.dtype)) for r in self.sources)
        out = elementwise.Place(self.out, parse_dtype(self.out_type))
        return elementwise.VectorWork(
            reads, self.loops, self.reduced, self.body, self.combine, self.result, out, bool(self.accumulate)
        )

    def execute(self, m: Machine) -> None:
        """Every micro-step as one array operation over the cores."""
        elementwise.vector_nest(m, SCRATCHPAD, self.cores, self.work)

    def cycles(self, chip: Chip) -> int:
        """Each micro-operation takes elements / lanes cycles; 64-bit elements take twice as long."""
        points = prod(l.extent for l in self.loops)
        outer = prod(l.extent for l in self.loops[: len(self.loops) - self.reduced])
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
                SCRATCHPAD, r.address, parse_dtype(r.dtype).itemsize, [(l.extent, l.reads[i]) for l in self.loops]
            )
            for i, r in enumerate(self.sources)
        ]
        return (*found, *(self.writes(chip) if self.accumulate else ()))

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The result."""
        kept = self.loops[: len(self.loops) - self.reduced]
        size = parse_dtype(self.out_type).itemsize
        return (touches.strided(SCRATCHPAD, self.out, size, [(l.extent, l.out) for l in kept]),)


class SyncWait(Rebel, opcode=0x01, mnemonic="sync.wait", engine="sync"):
    """Hold `queue` until `on` has completed `count` instructions of the program."""

    queue: str = choice(*QUEUES)
    on: str = choice(*QUEUES)
    count: int = u(32)
    all_cores: int = u(1, doc="1: on every core (sync manager); 0: on this one")


def _check_micro(steps: Sequence[Micro], reads: int) -> None:
    if not steps:
        raise ValueError("an empty micro-program has no value")
    for i, step in enumerate(steps):
        limit = reads if step.function == "load" else i
        if any(a >= limit for a in step.args):
            raise ValueError(f"step {i} ({step.function}) uses a value that does not exist")
        if len(step.args) != touches.arity(step.function):
            raise ValueError(f"step {i}: {step.function} takes {touches.arity(step.function)} arguments")


def _micro_counts(steps: Sequence[Micro]) -> tuple[int, int]:
    """(plain, special) micro-operations of a program."""
    work = [s.function for s in steps if s.function not in FREE]
    special = sum(f in SPECIAL for f in work)
    return len(work) - special, special


def working_type(dtype: str) -> str:
    """The micro-program type that an operand is converted to when loaded."""
    wide = compute_dtype(parse_dtype(dtype))
    return next(t for t in TYPES if parse_dtype(t) == wide)
