"""A machine that runs toy programs in any legal order, byte by byte: the oracle for waits.

It knows nothing of clocks. Each core has its queues; `task` exists once. An instruction reads its
bytes when it starts and writes them when it completes, and between the two anything else may
happen.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from kcompiler.machine.instruction import Isa
from kcompiler.machine.touch import Touch
from tests.machine.toy import WaitWork, Work

Byte = tuple[str, int, int]  # memory, core (-1: shared), address
ALONE = "task"


def touched(touch: Touch) -> list[list[int]]:
    """The addresses of each run, from the definition of a touch."""
    choices = [[i * s for i in own] for s, own in touch.dims]
    return [
        [touch.base + sum(offsets) + b for b in range(touch.run)] for offsets in product(*choices)
    ]


@dataclass
class Lane:
    """One queue on one core."""

    queue: str
    core: int
    items: list[tuple[int, Any]] = field(default_factory=list)
    next: int = 0
    done: int = 0
    reading: int | None = None


class Interleaving:
    """A program ready to run, again and again, in different orders."""

    def __init__(self, code: Sequence[Isa], cores: int) -> None:
        self.code, self.cores = code, cores
        self.memory: dict[Byte, int] = {}
        self.lanes: dict[tuple[str, int], Lane] = {}
        for place, item in enumerate(code):
            queue: str = item.queue if isinstance(item, WaitWork) else item.engine
            for core in [-1] if queue == ALONE else range(cores):
                lane = self.lanes.setdefault((queue, core), Lane(queue, core))
                lane.items.append((place, item))

    def run(self, chance: random.Random) -> dict[Byte, int]:
        """The memory after a legal order: random priorities of lanes, starts and ends apart."""
        priority = {(key, phase): chance.random() for key in self.lanes for phase in (False, True)}
        while True:
            ready = [key for key, lane in self.lanes.items() if self._ready(lane)]
            if not ready:
                break
            ready.sort(key=lambda k: priority[k, self.lanes[k].reading is not None])
            key = ready[-1] if chance.random() < 0.9 else chance.choice(ready)
            self._step(self.lanes[key])
        assert all(lane.next == len(lane.items) for lane in self.lanes.values()), "stands still"
        return self.memory

    def in_order(self) -> dict[Byte, int]:
        """The memory at the end when the program's own order is kept."""
        for place, item in enumerate(self.code):
            for lane in self.lanes.values():
                if lane.next < len(lane.items) and lane.items[lane.next][0] == place:
                    assert self._ready(lane)
                    self._step(lane)
                    if isinstance(item, Work):
                        self._step(lane)
        return self.memory

    def _ready(self, lane: Lane) -> bool:
        if lane.next == len(lane.items):
            return False
        item = lane.items[lane.next][1]
        if not isinstance(item, WaitWork):
            return True
        on = [
            other
            for (queue, core), other in self.lanes.items()
            if queue == item.on and (item.all_cores or core in {lane.core, -1})
        ]
        return all(other.done >= item.count for other in on)

    def _step(self, lane: Lane) -> None:
        place, item = lane.items[lane.next]
        if isinstance(item, WaitWork):
            lane.next += 1
        elif lane.reading is None:
            lane.reading = self._digest(lane, place, item)
        else:
            for byte in self._bytes(lane, item, written=True):
                self.memory[byte] = zlib.crc32(repr((lane.reading, byte)).encode())
            lane.reading = None
            lane.next += 1
            lane.done += 1

    def _digest(self, lane: Lane, place: int, item: Work) -> int:
        seen = [self.memory.get(byte, 0) for byte in self._bytes(lane, item, written=False)]
        return zlib.crc32(repr((place, lane.core, seen)).encode())

    def _bytes(self, lane: Lane, item: Work, written: bool) -> list[Byte]:
        """Every active core reads all; each byte of a shared memory is written by one."""
        if lane.core >= item.active_cores():
            return []
        found = []
        for touch in item.writes() if written else item.reads():
            core = lane.core if touch.per_core else -1
            for address in [address for run in touched(touch) for address in run]:
                every = touch.per_core or lane.core == -1 or not written
                if every or address // 2 % item.active_cores() == lane.core:
                    found.append((touch.memory, core, address))
        return found


@dataclass(frozen=True)
class Conflict:
    """Two instructions that nothing orders on some pair of cores."""

    first: int
    second: int
    memory: str


def unordered_conflicts(code: Sequence[Isa], cores: int) -> set[Conflict]:
    """All of them, from a full transitive closure over (instruction, core)."""
    before = _closure(code, cores)
    found = set()
    works = [(place, item) for place, item in enumerate(code) if isinstance(item, Work)]
    for second, b in works:
        for first, a in works:
            if first < second:
                found |= {
                    Conflict(first, second, s.memory)
                    for s, t in _clashes(a, b)
                    if not _ordered(a, b, s, before, first, second, cores)
                }
    return found


def _clashes(a: Work, b: Work) -> list[tuple[Touch, Touch]]:
    pairs = [*product(a.writes(), b.writes()), *product(a.writes(), b.reads())]
    return [(s, t) for s, t in [*pairs, *product(a.reads(), b.writes())] if s.overlaps(t)]


def _ordered(
    a: Work,
    b: Work,
    touch: Touch,
    before: set[tuple[int, int, int, int]],
    first: int,
    second: int,
    cores: int,
) -> bool:
    if touch.per_core:
        pairs = [(c, c) for c in range(cores)]
    elif a.engine == b.engine and max(a.active_cores(), b.active_cores()) <= 1:
        return True  # both on core 0, or both where there is only one
    else:
        pairs = [(c, d) for c in range(cores) for d in range(cores)]
    return all((first, c, second, d) in before for c, d in pairs)


def _closure(code: Sequence[Isa], cores: int) -> set[tuple[int, int, int, int]]:
    """(i, c, j, d): instruction i on core c is complete before j starts on core d."""
    known: dict[tuple[int, int], frozenset[tuple[int, int]]] = {}
    queues: dict[str, list[int]] = {}
    held: dict[tuple[str, int], frozenset[tuple[int, int]]] = {}
    for place, item in enumerate(code):
        everyone = range(cores)
        if isinstance(item, WaitWork):
            if item.count == 0:
                continue
            target = queues[item.on][item.count - 1]
            for core in everyone:
                # All replicas of what exists once are the same event, see the caller's programs.
                on = everyone if item.all_cores or item.on == ALONE else [core]
                learnt = frozenset[tuple[int, int]]().union(
                    *(known[target, c] | {(target, c)} for c in on)
                )
                held[item.queue, core] = held.get((item.queue, core), frozenset()) | learnt
            continue
        for core in everyone:
            earlier = [(p, core) for p in queues.get(item.engine, [])]
            known[place, core] = held.get((item.engine, core), frozenset()) | frozenset(earlier)
            for p, c in earlier:
                known[place, core] |= known[p, c]
        queues.setdefault(item.engine, []).append(place)
    return {(i, c, j, d) for (j, d), past in known.items() for i, c in past}
