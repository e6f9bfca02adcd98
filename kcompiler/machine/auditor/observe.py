"""What each instruction of a program touches, seen by running it on a machine that only watches.

The declarations `reads` and `writes`, from which the compiler places its waits, are not asked: an
instruction's meaning (`execute`) is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.auditor.area import Area, area
from kcompiler.machine.auditor.ghost import ghost
from kcompiler.machine.chip import Chip
from kcompiler.machine.instruction import Isa
from kcompiler.machine.queues import is_wait
from kcompiler.machine.simulator.memories import Elements, MachineFault

UNUSABLE = (ArithmeticError, LookupError, MemoryError, TypeError, ValueError)
"""What fields that make no sense may raise in an instruction's own code."""


@dataclass(frozen=True)
class Access:
    """Bytes read or written at once: on each of the first `cores` cores where they own a memory.

    `items` counts elements as often as they are touched.
    """

    memory: str
    per_core: bool
    written: bool
    cores: int
    area: Area
    items: int
    itemsize: int

    @property
    def total(self) -> int:
        """Bytes, as often as they are touched."""
        return self.items * self.itemsize


@dataclass(frozen=True)
class Step:
    """An instruction that is no wait, and its accesses in the order in which it makes them."""

    place: int
    item: Isa
    cores: int
    accesses: tuple[Access, ...]
    fault: str = ""

    @property
    def text(self) -> str:
        """Its line of assembly."""
        return str(self.item)

    def of(self, *, written: bool, per_core: bool) -> list[Access]:
        """The reads or the writes of shared or of the cores' own memories."""
        return [a for a in self.accesses if a.written == written and a.per_core == per_core]

    @property
    def copies(self) -> int:
        """How many cores at most have the same of what it writes.

        A load moves as many bytes as all cores take, of an area that holds each of them once.
        """
        loads = self.of(written=False, per_core=False)
        return max((-(-a.total // a.area.nbytes) for a in loads), default=max(self.cores, 1))


@dataclass
class Watcher:
    """Stands in for the machine: remembers accesses, holds no bytes.

    With a `pattern`, reads of shared memories give its bits and writes go to `results`, real arrays
    that begin as zeros, so that it can be seen which elements a transfer fills from memory.
    """

    chip: Chip
    pattern: int | None = None
    seen: list[Access] = field(default_factory=list)
    results: list[tuple[Access, Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._own = {m.name: m.per_core for m in self.chip.memories}

    @property
    def cores(self) -> int:
        """Number of cores."""
        return self.chip.cores.value

    def read(
        self,
        memory: str,
        address: int,
        dtype: np.dtype[Any],
        shape: Sequence[int],
        strides: Sequence[int],
        *,
        cores: int = 1,
    ) -> Array:
        """What a machine's `read` gives, as far as its shape goes."""
        self._note(memory, (address, dtype.itemsize, shape, strides), cores, written=False)
        return self._elements(memory, dtype, (cores, *shape))

    def write(
        self,
        memory: str,
        address: int,
        dtype: np.dtype[Any],
        shape: Sequence[int],
        strides: Sequence[int],
        *,
        cores: int = 1,
    ) -> Array:
        """What a machine's `write` gives; what is assigned to it is lost, but for a pattern."""
        place = address, dtype.itemsize, shape, strides
        noted = self._note(memory, place, cores, written=True)
        if self.pattern is None or noted is None:
            return ghost(np.zeros((), dtype), (cores, *shape))
        made = np.zeros((cores, *shape), dtype)
        self.results.append((noted, made))
        return made

    def read_span(
        self, memory: str, address: int, dtype: np.dtype[Any], count: int, cores: int
    ) -> Array:
        """The bytes around those of a `read` that has been noted."""
        del address
        return self._elements(memory, dtype, (cores, count))

    def _elements(self, memory: str, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
        if self.pattern is None or self._own[memory]:
            return ghost(np.zeros((), dtype), shape)
        bits = np.full(dtype.itemsize, self.pattern, np.uint8).view(dtype)
        return np.broadcast_to(bits[0], shape)

    def _note(self, memory: str, place: Elements, cores: int, *, written: bool) -> Access | None:
        if memory not in self._own:
            raise MachineFault(f"uses {memory}, a memory that the chip has not")
        address, itemsize, shape, strides = place
        if 0 in shape:
            return None
        own = self._own[memory]
        touched = area(address, itemsize, shape, strides)
        self.seen.append(
            Access(memory, own, written, cores if own else 1, touched, prod(shape), itemsize)
        )
        return self.seen[-1]


def observe(code: Sequence[Isa], chip: Chip) -> list[Step]:
    """All instructions but the waits, in program order."""
    return [_step(i, item, chip) for i, item in enumerate(code) if not is_wait(item)]


def _step(place: int, item: Isa, chip: Chip) -> Step:
    watcher, fault = Watcher(chip), ""
    try:
        item.execute(watcher)
    except MachineFault as error:
        fault = str(error)
    except UNUSABLE as error:
        fault = f"cannot be run: {reason(error)}"
    return Step(place, item, item.active_cores(), tuple(watcher.seen), fault)


def reason(error: Exception) -> str:
    """The first line of what went wrong."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def filled(step: Step, chip: Chip) -> list[tuple[Access, Array]]:
    """For each write of a transfer, on every core, which of its elements come from memory.

    It is run twice, with other bits in the shared memories: what does not change is a fill.
    """
    runs = []
    for pattern in (0x00, 0xFF):
        watcher = Watcher(chip, pattern)
        step.item.execute(watcher)
        runs.append(watcher.results)
    found = []
    for (access, one), (_, two) in zip(*runs, strict=True):
        different = one.view(_BITS[one.itemsize]) != two.view(_BITS[two.itemsize])
        found.append((access, different))
    return found


_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
