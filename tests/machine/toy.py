"""A toy NPU whose instructions say themselves what they touch, move and take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcompiler.kernel.statements import Kernel
from kcompiler.machine.chip import Chip, DmaEngine, MacRate, MatrixEngine, Memory, VectorEngine
from kcompiler.machine.facts import Fact
from kcompiler.machine.indices import Indices
from kcompiler.machine.instruction import Isa, Record, choice, many, u
from kcompiler.machine.layouts import Dims
from kcompiler.machine.program import Binding, KernelInfo, Program
from kcompiler.machine.target import Target
from kcompiler.machine.touch import Touch

QUEUES = ("load", "store", "matrix", "vector", "task")


class Toy(Isa):
    """Toy instructions."""


class Axis(Record):
    """A dimension of a touch."""

    stride: int = u(32)
    mask: int = u(64)


class Piece(Record):
    """Touched bytes."""

    memory: str = choice("pad", "far", "near")
    base: int = u(32)
    run: int = u(32)
    dims: tuple[Axis, ...] = many(Axis, most=4)
    written: int = u(1)

    @property
    def touch(self) -> Touch:
        dims = tuple((axis.stride, Indices.of_bits(axis.mask)) for axis in self.dims)
        return Touch(self.memory, self.memory == "pad", self.base, self.run, dims)


class Work(Toy):
    """What all engines do."""

    pieces: tuple[Piece, ...] = many(Piece, most=8, default=())
    busy: int = u(32, default=1)
    far: int = u(32, default=0)
    near: int = u(32, default=0)
    cores: int = u(10, default=4)

    def cycles(self, chip: Chip) -> int:
        return self.busy

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        return {name: size for name in ("far", "near") if (size := getattr(self, name))}

    def active_cores(self) -> int:
        return self.cores

    def reads(self, chip: Any = None) -> tuple[Touch, ...]:
        return tuple(p.touch for p in self.pieces if not p.written)

    def writes(self, chip: Any = None) -> tuple[Touch, ...]:
        return tuple(p.touch for p in self.pieces if p.written)


class LoadWork(Work, opcode=1, mnemonic="toy.load", engine="load"):
    """Loads."""


class StoreWork(Work, opcode=2, mnemonic="toy.store", engine="store"):
    """Stores."""


class MatrixWork(Work, opcode=3, mnemonic="toy.matrix", engine="matrix"):
    """Multiplies."""


class VectorWork(Work, opcode=4, mnemonic="toy.vector", engine="vector"):
    """Adds."""


class TaskWork(Work, opcode=5, mnemonic="toy.task", engine="task"):
    """Copies."""


class WaitWork(Toy, opcode=6, mnemonic="toy.wait", engine="sync"):
    """Waits."""

    queue: str = choice(*QUEUES)
    on: str = choice(*QUEUES)
    count: int = u(32)
    all_cores: int = u(1)


CLASSES: dict[str, type[Work]] = {
    c.engine: c for c in (LoadWork, StoreWork, MatrixWork, VectorWork, TaskWork)
}


@dataclass(frozen=True)
class ToyTarget(Target):
    """The toy as a target."""

    def lower(self, kernel: Kernel, bindings: Any, addresses: Any) -> Sequence[Isa]:
        raise NotImplementedError

    def wait(self, queue: str, engine: str, count: int, all_cores: bool) -> Isa:
        return WaitWork(queue=queue, on=engine, count=count, all_cores=int(all_cores))


def known(value: Any) -> Fact[Any]:
    return Fact(value, "D", "a toy")


def memory(name: str, bandwidth: float, latency: int, per_core: bool = False) -> Memory:
    return Memory(name, known(1 << 20), known(bandwidth), known(latency), known(1), per_core)


def toy_chip(
    cores: int = 4, far: float = 10.0, near: float = 20.0, latency: int = 0, sync: int = 0
) -> Chip:
    """Clock 1 MHz, so that a cycle is a microsecond; one MAC a cycle and core."""
    return Chip(
        name="toy",
        title="Toy",
        clock=known(1e6),
        cores=known(cores),
        matrix=MatrixEngine(
            "matrix", known(1), known(1), (MacRate("f16", known(2.0)),), True, known(0)
        ),
        vector=VectorEngine("vector", known(1), known(1), known(0)),
        dma=DmaEngine("dma", known(1.0), known(1), known(0)),
        memories=(
            memory("pad", 1.0, 0, per_core=True),
            memory("far", far, latency),
            memory("near", near, 0),
        ),
        scratchpad="pad",
        dram="far",
        shared="near",
        sync_cycles=known(sync),
    )


def toy_target(chip: Chip | None = None) -> ToyTarget:
    return ToyTarget("toy", chip or toy_chip(), Toy, ("f16",), ())


def piece(touch: Touch, written: bool) -> Piece:
    dims = tuple(Axis(stride=s, mask=i.bits << i.low if i else 0) for s, i in touch.dims)
    return Piece(
        memory=touch.memory, base=touch.base, run=touch.run, dims=dims, written=int(written)
    )


def work(
    engine: str, reads: Iterable[Touch] = (), writes: Iterable[Touch] = (), **fields: int
) -> Work:
    """An instruction of an engine."""
    pieces = (*(piece(t, False) for t in reads), *(piece(t, True) for t in writes))
    return CLASSES[engine](pieces=pieces, **fields)


def wait(queue: str, on: str, count: int, everywhere: bool = False) -> WaitWork:
    return WaitWork(queue=queue, on=on, count=count, all_cores=int(everywhere))


def pad(base: int, run: int = 1) -> Touch:
    return Touch("pad", True, base, run)


def far(base: int, run: int = 1, dims: Dims = ()) -> Touch:
    return Touch("far", False, base, run, dims)


def binding(name: str, size: int, memory: str = "far") -> Binding:
    return Binding(name, np.dtype(np.float16), (size,), memory, 0)


def program(
    instructions: Sequence[Isa],
    kernels: Sequence[tuple[str, int, int]] = (),
    macs: int = 0,
    inputs: Sequence[Binding] = (),
) -> Program:
    """A program; `kernels` are (name, first, count), all of it one kernel when not given."""
    spans = kernels or [("only", 0, len(instructions))]
    made = tuple(
        KernelInfo(name, (f"node_{name}",), first, count, macs, tuple(inputs), binding("out", 0))
        for name, first, count in spans
    )
    code = Toy.encode_program(instructions)  # type: ignore[arg-type]
    return Program("toy", code, tuple(inputs), (), (), {}, made, {})


def slower(chip: Chip, name: str, factor: float) -> Chip:
    """The chip with a memory's bandwidth scaled."""
    changed = tuple(
        replace(m, bandwidth=known(m.bandwidth.value * factor)) if m.name == name else m
        for m in chip.memories
    )
    return replace(chip, memories=changed)
