"""How long a program takes: its queues, waits and memories, event by event, without its numbers.

The model:

* Each queue runs one instruction at a time, in order; all cores run in lock step, so that one time
  line stands for all of them. An instruction occupies its engine for its `cycles`, longer when a
  memory cannot keep up, and is complete `latency` cycles of the slowest memory that it moved bytes
  of later. Transfers are pipelined: the next one of a queue starts when the engine is free.
* A wait holds its queue until the instruction that it names is complete; across cores, the news
  takes the chip's `sync_cycles`.
* A shared memory moves its `bandwidth` bytes a cycle, whoever asks. Transfers are charged in
  program order: of any run of consecutive transfers, the last one ends no sooner than the earliest
  one's start plus the time for all their bytes (`Backlog`).

**More bandwidth never gives a longer time.** Every time is a maximum, a minimum or a sum of others
and of amounts that do not grow with bandwidth. Sharing by whoever happens to run at that moment
would not have this property (Graham's anomalies); the results are close. Times are whole numbers of
1/1024 cycle, so that it holds without rounding errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeAlias

import numpy as np

from kcompiler.graph.types import dtype_name
from kcompiler.machine.chip import Chip
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import KernelInfo, Program
from kcompiler.machine.queues import Wait, is_wait
from kcompiler.machine.target import Target

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_UNITS = 1024  # a cycle


@dataclass(frozen=True)
class Bound:
    """The roofline: no schedule beats the arithmetic alone or the compulsory bytes alone."""

    macs: int
    compute_cycles: float
    compulsory_bytes: int
    memory_cycles: float
    clock: float

    @property
    def cycles(self) -> float:
        """The larger of the two."""
        return max(self.compute_cycles, self.memory_cycles)

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.cycles / self.clock


@dataclass(frozen=True)
class KernelTime:
    """One kernel: from its first instruction's start to its last one's completion, in cycles.

    `busy` are the cycles that each engine worked for it, `bytes` what it moved from and to each
    shared memory. Kernels overlap.
    """

    name: str
    start: float
    end: float
    busy: Mapping[str, float]
    bytes: Mapping[str, int]


@dataclass(frozen=True)
class Timing:
    """What a program takes. Cycles are of the chip's clock and may be fractions.

    Instruction i occupies its queue from `start[i]` to `end[i]` (a wait: while it holds the queue)
    and is complete at `done[i]`. `traffic` holds its bytes by memory, None for a wait.
    """

    cycles: int
    clock: float
    start: Array
    end: Array
    done: Array
    traffic: tuple[Mapping[str, int] | None, ...]
    busy: Mapping[str, float]
    bytes: Mapping[str, int]
    dram: str
    kernels: tuple[KernelTime, ...]
    bound: Bound

    @property
    def seconds(self) -> float:
        """The whole program's time."""
        return self.cycles / self.clock

    @property
    def dram_bytes(self) -> int:
        """Bytes from and to the memory of weights, inputs and outputs."""
        return self.bytes.get(self.dram, 0)


def simulate_time(program: Program, target: Target, code: Sequence[Isa] | None = None) -> Timing:
    """The program's timing; `code`, if at hand, is its decoded form.

    A wait for more instructions than precede it never ends: this is a ValueError.
    """
    decoded = target.isa.decode_program(program.code) if code is None else code
    clock = _Clock(target.chip)
    for item in decoded:
        clock.run(item)
    chip = target.chip
    names = [m.name for m in chip.memories if not m.per_core]
    engines = [item.engine for item in decoded]
    start, end, done = (
        np.array(t, np.float64) / _UNITS for t in (clock.start, clock.end, clock.done)
    )
    totals = _Totals(engines, clock.traffic, start, end, done)
    moved = totals.bytes(0, len(decoded))
    return Timing(
        cycles=ceil(max(clock.done, default=0) / _UNITS),
        clock=chip.clock.value,
        start=start,
        end=end,
        done=done,
        traffic=tuple(clock.traffic),
        busy=totals.busy(0, len(decoded)),
        bytes={name: moved.get(name, 0) for name in names},
        dram=chip.dram,
        kernels=tuple(totals.kernel(k) for k in program.kernels),
        bound=roofline(program, chip, moved.get(chip.dram, 0)),
    )


def roofline(program: Program, chip: Chip, dram_bytes: int | None = None) -> Bound:
    """The bound of a program's network on a chip.

    Compulsory are the constants, inputs and outputs in DRAM, once each; at most `dram_bytes`, since
    a look-up table need not be read as a whole.
    """
    cells = chip.matrix.rows.value * chip.matrix.columns.value * chip.cores.value
    compute = sum(k.macs / (cells * _fastest_rate(k, chip)) for k in program.kernels)
    everything = (*program.constants, *program.inputs, *program.outputs)
    compulsory = sum(b.nbytes for b in everything if b.memory == chip.dram)
    if dram_bytes is not None:
        compulsory = min(compulsory, dram_bytes)
    return Bound(
        macs=sum(k.macs for k in program.kernels),
        compute_cycles=compute,
        compulsory_bytes=compulsory,
        memory_cycles=compulsory / chip.memory(chip.dram).bandwidth.value,
        clock=chip.clock.value,
    )


def _fastest_rate(kernel: KernelInfo, chip: Chip) -> float:
    """The best rate of the types that a kernel reads; of all types if it reads none with one."""
    rates = {r.name: r.rate.value for r in chip.matrix.rates}
    found = [rates[n] for b in kernel.inputs if (n := dtype_name(b.dtype)) in rates]
    return max(found or rates.values(), default=1.0)


@dataclass
class Backlog:
    """One memory's transfers in program order; times in units, `rate` bytes per unit.

    Transfers p to i cannot all have ended before the earliest start among them plus the time for
    all their bytes, however they share the memory. Here transfer i, the last in the program, meets
    this for every p <= i: it pays for those before it that are under way or still to come, never
    for those after it. `_open` holds, by growing earliest start, (earliest start, time for all
    bytes before p, the largest difference of the two so far), so that one transfer takes constant
    time on average.
    """

    rate: float
    _before: int = 0
    _open: list[tuple[int, int, int]] = field(default_factory=list)

    def end(self, start: int, size: int) -> int:
        """When a transfer of `size` bytes that starts at `start` can have ended."""
        before = self._before
        while self._open and self._open[-1][0] >= start:
            before = self._open.pop()[1]
        slack = start - before
        if self._open:
            slack = max(slack, self._open[-1][2])
        self._open.append((start, before, slack))
        self._before += ceil(size / self.rate)
        return self._before + slack


class _Clock:
    """The state of all queues while the program is walked through, in units."""

    def __init__(self, chip: Chip) -> None:
        shared = [m for m in chip.memories if not m.per_core]
        self.chip = chip
        self.backlogs = {m.name: Backlog(m.bandwidth.value / _UNITS) for m in shared}
        self.latency = {m.name: m.latency.value * _UNITS for m in shared}
        self.free: dict[str, int] = {}
        self.completed: dict[str, list[int]] = {}
        self.start: list[int] = []
        self.end: list[int] = []
        self.done: list[int] = []
        self.traffic: list[Mapping[str, int] | None] = []

    def run(self, item: Isa) -> None:
        """The next instruction of the program."""
        if is_wait(item):
            self._wait(item)
        else:
            self._work(item)

    def _wait(self, item: Wait) -> None:
        start = self.free.get(item.queue, 0)
        completed = self.completed.get(item.on, [])
        if item.count > len(completed):
            raise ValueError(
                f"instruction {len(self.start)} lets {item.queue} wait for {item.count} "
                f"instructions of {item.on}, but {len(completed)} precede it: "
                "the queue would stand still"
            )
        news = completed[item.count - 1] if item.count else 0
        if item.all_cores and item.count:
            news += self.chip.sync_cycles.value * _UNITS
        end = max(start, news)
        self.free[item.queue] = end
        self._note(start, end, end, None)

    def _work(self, item: Isa) -> None:
        start = self.free.get(item.engine, 0)
        end = start + int(item.cycles(self.chip)) * _UNITS
        traffic = {name: size for name, size in item.traffic(self.chip).items() if size}
        for name, size in traffic.items():
            end = max(end, self.backlogs[name].end(start, size))
        completed = self.completed.setdefault(item.engine, [])
        done = end + max((self.latency[name] for name in traffic), default=0)
        done = max(done, completed[-1]) if completed else done  # counted in order
        completed.append(done)
        self.free[item.engine] = end
        self._note(start, end, done, traffic)

    def _note(self, start: int, end: int, done: int, traffic: Mapping[str, int] | None) -> None:
        self.start.append(start)
        self.end.append(end)
        self.done.append(done)
        self.traffic.append(traffic)


@dataclass(frozen=True)
class _Totals:
    """Sums over ranges of instructions."""

    engines: Sequence[str]
    traffic: Sequence[Mapping[str, int] | None]
    start: Array
    end: Array
    done: Array

    def busy(self, first: int, stop: int) -> dict[str, float]:
        """Cycles that each engine worked."""
        found: dict[str, float] = {}
        lengths = (self.end[first:stop] - self.start[first:stop]).tolist()
        for engine, moved, cycles in zip(
            self.engines[first:stop], self.traffic[first:stop], lengths, strict=True
        ):
            if moved is not None:
                found[engine] = found.get(engine, 0.0) + cycles
        return found

    def bytes(self, first: int, stop: int) -> dict[str, int]:
        """Bytes moved from and to each memory."""
        found: dict[str, int] = {}
        for moved in self.traffic[first:stop]:
            for name, size in (moved or {}).items():
                found[name] = found.get(name, 0) + size
        return found

    def kernel(self, kernel: KernelInfo) -> KernelTime:
        """One kernel's share; its waits stand before it and do not count as its start."""
        first, stop = kernel.first, kernel.first + kernel.count
        work = [i for i in range(first, stop) if self.traffic[i] is not None]
        return KernelTime(
            name=kernel.name,
            start=float(self.start[work].min()) if work else 0.0,
            end=float(self.done[work].max()) if work else 0.0,
            busy=self.busy(first, stop),
            bytes=self.bytes(first, stop),
        )
