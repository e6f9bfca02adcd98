"""Hazards: two accesses of the same bytes, one of them a write, that nothing in the program orders.

Looks at a program's decoded bytes only and shares no code with what places the waits, so that a
mistake there shows here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import KernelInfo, Program
from kcompiler.machine.queues import Wait, is_wait
from kcompiler.machine.target import Target
from kcompiler.machine.touch import Touch

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Kind = Literal["RAW", "WAR", "WAW"]


@dataclass(frozen=True)
class Hazard:
    """Two instructions, by their places in the program, whose accesses to `memory` may swap."""

    kind: Kind
    first: int
    second: int
    memory: str
    text: str


def check_hazards(
    program: Program, target: Target, code: Sequence[Isa] | None = None
) -> list[Hazard]:
    """All unordered conflicts of a program, by second instruction.

    `code`, if at hand, is its decoded form. A wait for more instructions than precede it never
    ends: this is a ValueError.
    """
    return list(hazards(program, target, code))


def hazards(
    program: Program, target: Target, code: Sequence[Isa] | None = None
) -> Iterator[Hazard]:
    """`check_hazards` one by one: a broken program may have very many."""
    decoded = target.isa.decode_program(program.code) if code is None else code
    clocks = _Clocks(target.chip.cores.value > 1)
    accesses: dict[str, list[_Access]] = {}
    for place, item in enumerate(decoded):
        if is_wait(item):
            clocks.wait(place, item)
            continue
        clocks.issue(place, item)
        for touch, written in _touches(item, target):
            accesses.setdefault(touch.memory, []).append(_Access(place, touch, written))
    origins = _origins(program.kernels, len(decoded))
    found = [_unordered(known, clocks) for _, known in sorted(accesses.items())]
    for pair in heapq.merge(*found, key=lambda p: p.second.place):
        yield pair.hazard(decoded, origins)


@dataclass(frozen=True)
class _Access:
    place: int
    touch: Touch
    written: bool


def _touches(item: Isa, target: Target) -> Iterator[tuple[Touch, bool]]:
    yield from ((t, False) for t in item.reads(target.chip) if not t.empty)
    yield from ((t, True) for t in item.writes(target.chip) if not t.empty)


@dataclass
class _Clocks:
    """For each instruction, how many of every engine's are complete when it starts.

    Row i of `local` counts those complete on the core itself, of `everywhere` those complete on all
    cores. A column is an engine; `own` and `number` say which engine runs instruction i and as its
    how many-eth.
    """

    many_cores: bool
    columns: dict[str, int] = field(default_factory=dict)
    local: dict[int, Array] = field(default_factory=dict)
    everywhere: dict[int, Array] = field(default_factory=dict)
    own: dict[int, int] = field(default_factory=dict)
    number: dict[int, int] = field(default_factory=dict)
    cores: dict[int, int] = field(default_factory=dict)
    # Of each engine: its instructions' places, and what its queue knows now.
    _queues: dict[str, list[int]] = field(default_factory=dict)
    _next: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def wait(self, place: int, item: Wait) -> None:
        """Let a queue know what the instruction that it waits for knew, and that it is complete."""
        if item.count == 0:
            return
        done = self._queues.get(item.on, [])
        if item.count > len(done):
            raise ValueError(
                f"instruction {place} lets {item.queue} wait for {item.count} instructions of "
                f"{item.on}, but {len(done)} precede it: the queue would stand still"
            )
        at = done[item.count - 1]
        here, everywhere = self.local[at].copy(), self.everywhere[at]
        here[self.columns[item.on]] = item.count
        mine_here, mine_everywhere = self._now(item.queue)
        if item.all_cores:
            everywhere = here
        self._next[item.queue] = (
            np.maximum(mine_here, here),
            np.maximum(mine_everywhere, everywhere),
        )

    def issue(self, place: int, item: Isa) -> None:
        """The next instruction of a queue."""
        here, everywhere = self._now(item.engine)
        queue = self._queues.setdefault(item.engine, [])
        column = self._column(item.engine)
        here = here.copy()
        here[column] = len(queue)  # the queue itself is in order
        self.local[place], self.everywhere[place] = here, everywhere
        self._next[item.engine] = here, everywhere
        queue.append(place)
        self.own[place], self.number[place] = column, len(queue)
        self.cores[place] = item.active_cores()

    def _now(self, queue: str) -> tuple[Array, Array]:
        nothing = np.zeros(_MOST_ENGINES, np.int64)
        return self._next.get(queue, (nothing, nothing))

    def _column(self, engine: str) -> int:
        column = self.columns.setdefault(engine, len(self.columns))
        if column >= _MOST_ENGINES:
            raise ValueError(f"more than {_MOST_ENGINES} engines")
        return column


_MOST_ENGINES = 16


def _unordered(accesses: list[_Access], clocks: _Clocks) -> Iterator[_Pair]:
    """Pairs of one memory's accesses that conflict and that no clock orders, by the later one."""
    shared = not accesses[0].touch.per_core and clocks.many_cores
    known = clocks.everywhere if shared else clocks.local
    place = np.array([a.place for a in accesses])
    start = np.array([a.touch.start for a in accesses])
    stop = np.array([a.touch.stop for a in accesses])
    written = np.array([a.written for a in accesses])
    number = np.array([clocks.number[p] for p in place.tolist()])
    own = np.array([clocks.own[p] for p in place.tolist()])
    clock = np.stack([known[p] for p in place.tolist()])
    # A queue is in order on each core: only what different cores do can be out of order.
    alone = np.array([not shared or clocks.cores[p] <= 1 for p in place.tolist()])
    engines = [np.flatnonzero(own == column) for column in np.unique(own)]
    first = [np.searchsorted(number[e], clock[:, own[e[0]]], "right") for e in engines]
    last = [np.searchsorted(place[e], place, "left") for e in engines]
    for i in np.flatnonzero(np.any(np.less(first, last), axis=0)):
        other = np.concatenate(
            [e[f[i] : n[i]] for e, f, n in zip(engines, first, last, strict=True)]
        )
        near = (start[other] < stop[i]) & (stop[other] > start[i]) & (written[other] | written[i])
        near &= (own[other] != own[i]) | ~(alone[other] & alone[i])
        for j in np.sort(other[near]):
            if accesses[j].touch.overlaps(accesses[i].touch):
                yield _Pair(accesses[j], accesses[i])


@dataclass(frozen=True)
class _Pair:
    first: _Access
    second: _Access

    def hazard(self, decoded: Sequence[Isa], origins: Sequence[str]) -> Hazard:
        one, two = self.first, self.second
        kind: Kind = ("WAW" if two.written else "RAW") if one.written else "WAR"
        first = f"{one.place} ({decoded[one.place].mnemonic}, {origins[one.place]})"
        second = f"{two.place} ({decoded[two.place].mnemonic}, {origins[two.place]})"
        memory = one.touch.memory
        low = max(one.touch.start, two.touch.start)
        high = min(one.touch.stop, two.touch.stop)
        text = (
            f"{kind}: instruction {first} {_verb(one)} and instruction {second} {_verb(two)} "
            f"{memory} bytes in [{low:#x}, {high:#x}), and nothing orders them"
        )
        return Hazard(kind, one.place, two.place, memory, text)


def _verb(access: _Access) -> str:
    return "writes" if access.written else "reads"


def _origins(kernels: Sequence[KernelInfo], count: int) -> list[str]:
    """For each place of a program the ONNX nodes that it comes from."""
    names = ["no kernel"] * count
    for kernel in kernels:
        text = ", ".join(kernel.origins) or kernel.name
        names[kernel.first : kernel.first + kernel.count] = [text] * kernel.count
    return names
