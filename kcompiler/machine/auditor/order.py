"""Every two instructions that touch the same bytes, one of them writing, stand in a fixed order.

Vector clocks: for each instruction, how many of each queue's instructions are surely complete when
it starts, on its own core and on all cores. What a queue does is in order on each core; what it
waits for has happened, and so has all that the awaited instruction knew of. Nothing is taken from
what placed the waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from kcompiler.machine.auditor.area import meet
from kcompiler.machine.auditor.observe import Access, Step
from kcompiler.machine.instruction import Isa
from kcompiler.machine.queues import is_wait

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_PAIRS = 1 << 21  # looked at together


@dataclass(frozen=True)
class Standstill:
    """A wait that nothing can end, because it asks for more instructions than precede it."""

    place: int
    why: str


@dataclass(frozen=True)
class Unordered:
    """Two accesses that may swap, and the first byte that they share."""

    first: tuple[Step, Access]
    second: tuple[Step, Access]
    byte: int


@dataclass
class Clocks:
    """Row i belongs to `steps[i]`: its queue, its number there from 1 on, and what it knows."""

    queues: tuple[str, ...]
    queue: Ints
    number: Ints
    here: Ints
    everywhere: Ints
    stuck: list[Standstill] = field(default_factory=list)


def clocks(code: Sequence[Isa]) -> Clocks:
    """What every instruction that is no wait knows when it starts."""
    queues: list[str] = sorted({i.queue if is_wait(i) else i.engine for i in code})
    column = {name: i for i, name in enumerate(queues)}
    nothing = np.zeros(len(queues), np.int64)
    now = [(nothing, nothing) for _ in queues]
    done: list[list[tuple[Ints, Ints]]] = [[] for _ in queues]
    rows: list[tuple[int, int, Ints, Ints]] = []
    stuck = []
    for place, item in enumerate(code):
        if not is_wait(item):
            q = column[item.engine]
            here, everywhere = now[q]
            rows.append((q, len(done[q]) + 1, here, everywhere))
            after = here.copy()
            after[q] = len(done[q]) + 1
            done[q].append((after, everywhere))
            now[q] = after, everywhere
        elif item.count > len(done[column[item.on]] if item.on in column else ()):
            known = len(done[column[item.on]]) if item.on in column else 0
            why = f"waits for {item.count} instructions of {item.on}, of which {known} precede it"
            stuck.append(Standstill(place, f"{why}: its queue would stand still"))
        elif item.count:
            q = column[item.queue]
            here, everywhere = done[column[item.on]][item.count - 1]
            # Once complete on all cores, an instruction tells what each core knew of itself.
            news = here if item.all_cores else everywhere
            now[q] = np.maximum(now[q][0], here), np.maximum(now[q][1], news)
    table = [np.array([r[i] for r in rows], np.int64) for i in range(2)]
    both = [np.stack([r[i] for r in rows]) if rows else np.zeros((0, 0), np.int64) for i in (2, 3)]
    return Clocks(tuple(queues), table[0], table[1], both[0], both[1], stuck)


def unordered(
    steps: Sequence[Step], known: Clocks, cores: int, kernel: Sequence[int]
) -> Iterator[Unordered]:
    """All conflicts that nothing orders. `kernel` is the kernel of each step.

    Two writes of one kernel to a shared memory are left out: that no byte of its output is written
    twice is a property of its own.
    """
    memories: dict[str, list[tuple[int, Access]]] = {}
    for i, step in enumerate(steps):
        for access in step.accesses:
            memories.setdefault(access.memory, []).append((i, access))
    for _, accesses in sorted(memories.items()):
        yield from _Memory(steps, known, cores, kernel, accesses).conflicts()


class _Memory:
    """The accesses of one memory, in program order."""

    def __init__(
        self,
        steps: Sequence[Step],
        known: Clocks,
        cores: int,
        kernel: Sequence[int],
        accesses: Sequence[tuple[int, Access]],
    ) -> None:
        self.steps, self.accesses = steps, accesses
        self.row = np.array([i for i, _ in accesses], np.int64)
        self.start = np.array([a.area.start for _, a in accesses], np.int64)
        self.stop = np.array([a.area.stop for _, a in accesses], np.int64)
        self.written = np.array([a.written for _, a in accesses])
        self.queue, self.number = known.queue[self.row], known.number[self.row]
        self.shared = not accesses[0][1].per_core and cores > 1
        self.clock = (known.everywhere if self.shared else known.here)[self.row]
        self.kernel = np.array(kernel, np.int64)[self.row]
        # Its queue alone keeps in order the work of one core, and any in each core's own memory.
        self.alone = np.array([not self.shared or steps[i].cores <= 1 for i, _ in accesses])

    def conflicts(self) -> Iterator[Unordered]:
        """Pairs, by the later instruction."""
        for later, earlier in self._candidates():
            for i, j in zip(later.tolist(), earlier.tolist(), strict=True):
                byte = meet(self.accesses[j][1].area, self.accesses[i][1].area)
                if byte is not None:
                    yield Unordered(self._of(j), self._of(i), byte)

    def _of(self, i: int) -> tuple[Step, Access]:
        row, access = self.accesses[i]
        return self.steps[row], access

    def _candidates(self) -> Iterator[tuple[Ints, Ints]]:
        """(later, earlier) accesses in conflict by their bounds that no clock orders."""
        groups = [
            np.flatnonzero((self.queue == q) & (self.written == w))
            for q in np.unique(self.queue)
            for w in (False, True)
        ]
        spans = []
        for group in (g for g in groups if len(g)):
            number, q = self.number[group], self.queue[group[0]]
            first = np.searchsorted(number, self.clock[:, q], "right")
            last = np.searchsorted(self.row[group], self.row, "left")
            if not self.written[group[0]]:
                last = np.where(self.written, last, first)  # two reads
            spans.append((group, first, np.maximum(last - first, 0)))
        total = np.sum([count for _, _, count in spans], axis=0)
        start = 0
        while start < len(total):
            ahead = np.cumsum(total[start:])
            stop = start + max(1, int(np.searchsorted(ahead, _PAIRS, "right")))
            part = slice(start, stop)
            yield self._close(start, [(g, f[part], n[part]) for g, f, n in spans])
            start = stop

    def _close(self, start: int, spans: Sequence[tuple[Ints, Ints, Ints]]) -> tuple[Ints, Ints]:
        """The pairs of a part of the accesses whose bounds overlap."""
        found = []
        for group, first, count in spans:
            later = np.repeat(np.arange(start, start + len(count)), count)
            within = np.arange(len(later)) - np.repeat(np.cumsum(count) - count, count)
            earlier = group[np.repeat(first, count) + within]
            near = (self.start[earlier] < self.stop[later]) & (
                self.stop[earlier] > self.start[later]
            )
            near &= (self.queue[earlier] != self.queue[later]) | ~(
                self.alone[earlier] & self.alone[later]
            )
            if self.shared:
                both = self.written[earlier] & self.written[later]
                near &= ~(both & (self.kernel[earlier] == self.kernel[later]))
            found.append(np.stack([later[near], earlier[near]]))
        pairs = np.concatenate([np.zeros((2, 0), np.int64), *found], axis=1)
        order = np.lexsort((pairs[1], pairs[0]))
        return pairs[0][order], pairs[1][order]
