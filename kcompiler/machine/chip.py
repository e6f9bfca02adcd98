"""Chip descriptions: a tree of frozen dataclasses whose numbers are facts.

Units: bytes, cycles of `Chip.clock`, bytes per cycle. `per_core` memories exist once a core; the
others are shared by all cores and have one address space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kcompiler.machine.facts import Fact
from kcompiler.machine.validate import check_chip


@dataclass(frozen=True)
class Memory:
    """A memory of `size` bytes, for each core when `per_core`.

    All its ports together move `bandwidth` bytes a cycle.
    """

    name: str
    size: Fact[int]
    bandwidth: Fact[float]
    latency: Fact[int]
    alignment: Fact[int]
    per_core: bool = False


@dataclass(frozen=True)
class MacRate:
    """Multiply-accumulates: the array's rate relative to its geometry, for one operand type.

    A rate of 2 means that the array does two of these per cell and cycle (packing). Types without a
    rate are not multiplied by the array: contractions of them are work for the vector engine.
    """

    name: str
    rate: Fact[float]


@dataclass(frozen=True)
class MatrixEngine:
    """A `rows` x `columns` multiply-accumulate array in each core.

    It is weight-stationary: it holds a rows x columns block of the second operand and streams rows
    of the first through it. `overlap_fill` tells whether the next block loads while this one is
    used (no fill and drain between blocks of one instruction). `startup` cycles begin each
    instruction.
    """

    name: str
    rows: Fact[int]
    columns: Fact[int]
    rates: tuple[MacRate, ...]
    overlap_fill: bool
    startup: Fact[int]


@dataclass(frozen=True)
class VectorEngine:
    """`lanes` elements a cycle and core for each micro-operation.

    Transcendental ones take `special` cycles; `startup` cycles begin each instruction.
    """

    name: str
    lanes: Fact[int]
    special: Fact[int]
    startup: Fact[int]


@dataclass(frozen=True)
class DmaEngine:
    """Moves boxes.

    `per_core_bandwidth` bytes a cycle limit each core's port; `burst` bytes is the granule that a
    contiguous run is rounded up to; `startup` cycles begin each transfer.
    """

    name: str
    per_core_bandwidth: Fact[float]
    burst: Fact[int]
    startup: Fact[int]


@dataclass(frozen=True)
class HostLink:
    """How the chip hangs on its host, and how fast the host computes what it must.

    The link moves `bandwidth` bytes a second each way; `latency` seconds begin each transfer. The
    host does `macs` multiply-accumulates a second, reads and writes `memory` bytes a second and
    takes `dispatch` seconds to begin an operator. `peak` is what the link moves as published, where
    `bandwidth` is fitted to measurements: times follow the latter, programs the former.
    """

    bandwidth: Fact[float]
    latency: Fact[float]
    macs: Fact[float]
    memory: Fact[float]
    dispatch: Fact[float]
    peak: Fact[float] | None = None

    def as_published(self) -> HostLink:
        """The link that decides what runs where."""
        return self if self.peak is None else replace(self, bandwidth=self.peak)


@dataclass(frozen=True)
class Chip:
    """One NPU as a compiler sees it.

    `scratchpad` names the per-core memory that engines compute in; `shared` the on-chip memory that
    holds activations between kernels (None when there is none); `dram` the memory of weights,
    inputs and outputs. Cores are numbered die by die; no `dies` means one. A description that makes
    no sense is a UsageError with all that is wrong.
    """

    name: str
    title: str
    clock: Fact[float]  # Hz
    cores: Fact[int]
    matrix: MatrixEngine
    vector: VectorEngine
    dma: DmaEngine
    memories: tuple[Memory, ...]
    scratchpad: str
    dram: str
    shared: str | None
    sync_cycles: Fact[int]  # a wait that crosses cores
    calibrated: str = "not calibrated"  # or the published measurement that pins the estimates
    dies: Fact[int] | None = None
    host: HostLink | None = None  # None: what crosses to the host takes no time

    def __post_init__(self) -> None:
        check_chip(self)

    def memory(self, name: str) -> Memory:
        """The memory with a name."""
        return next(m for m in self.memories if m.name == name)
