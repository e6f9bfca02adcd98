"""Waits between engines, as few as the program's own reads and writes allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kcompiler.machine.conflicts import History
from kcompiler.machine.instruction import Isa
from kcompiler.machine.target import Target
from kcompiler.machine.touch import Touch
from kcompiler.pipeline import Pass

Blocks: TypeAlias = Sequence[Sequence[Isa]]

# The histories that an access may conflict with: (written, by one core at most).
_AFTER_READ = ((True, True), (True, False))
_AFTER_WRITE = (*_AFTER_READ, (False, True), (False, False))


class Synchronize(Pass):
    """Order every conflict of a program by waits.

    Takes the instructions of all kernels in program order, without waits, a sequence for each
    kernel; gives the same with `target.wait(...)` in front of the instructions that must wait. Two
    accesses of the same bytes, one of them a write, end up in program order: by their common queue,
    by a wait, or because other waits imply it. A wait that is implied is not made.
    """

    target: Target | None = None

    def run(self, ir: Blocks) -> tuple[tuple[Isa, ...], ...]:
        """The kernels' instructions with waits."""
        if self.target is None:
            raise ValueError("synchronize needs a target")
        state = _State(self.target)
        return tuple(tuple(x for each in block for x in state.ordered(each)) for block in ir)


@dataclass
class _Engine:
    """One engine's queue so far.

    `here[e]` instructions of engine e are complete on this core, whichever it is, before the
    queue's next one starts, and `everywhere[e]` are so on all cores; the second is never above the
    first. `seen` holds both as they were when each instruction of this queue started, its own
    engine's count counting itself.
    """

    here: list[int]
    everywhere: list[int]
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # where in the program its instructions stand
    # By memory, whether written, and whether by instructions of one core at most.
    histories: dict[tuple[str, bool, bool], History] = field(default_factory=dict)


@dataclass(frozen=True)
class _Need:
    """Instruction `count - 1` of an engine must be complete."""

    place: int
    all_cores: bool
    engine: int
    count: int


class _State:
    """What is known about every queue while the program is walked through."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.names: list[str] = []
        self.engines: list[_Engine] = []
        self.place = 0

    def ordered(self, instruction: Isa) -> Iterator[Isa]:
        """The instruction after the waits that it needs."""
        me = self._engine(instruction.engine)
        chip = self.target.chip
        touches = [(t, False) for t in instruction.reads(chip)] + [
            (t, True) for t in instruction.writes(chip)
        ]
        touches = [(t, written) for t, written in touches if not t.empty]
        needs = [n for t, w in touches for n in self._needs(me, t, w, instruction.active_cores())]
        # Latest first: what a later instruction has waited for need not be waited for again.
        for need in sorted(needs, key=lambda n: (n.place, n.all_cores), reverse=True):
            if not self._known(me, need):
                self._learn(me, need)
                name = self.names[need.engine]
                yield self.target.wait(instruction.engine, name, need.count, need.all_cores)
        self._issue(me, touches, instruction.active_cores())
        yield instruction

    def _engine(self, name: str) -> int:
        if name not in self.names:
            for engine in self.engines:
                engine.here.append(0)
                engine.everywhere.append(0)
            self.names.append(name)
            count = len(self.names)
            self.engines.append(_Engine([0] * count, [0] * count))
        return self.names.index(name)

    def _needs(self, me: int, touch: Touch, written: bool, cores: int) -> Iterator[_Need]:
        """What must be complete before queue `me` may touch these bytes."""
        shared = not touch.per_core and self.target.chip.cores.value > 1
        known = self.engines[me].everywhere if shared else self.engines[me].here
        for index, engine in enumerate(self.engines):
            newest = known[index]
            for kind, alone in _AFTER_WRITE if written else _AFTER_READ:
                if index == me and (not shared or (alone and cores <= 1)):
                    continue  # the queue is in order on each core
                history = engine.histories.get((touch.memory, kind, alone))
                if history is not None:
                    newest = history.newest(touch, newest)
            if newest > known[index]:
                yield _Need(engine.places[newest - 1], shared, index, newest)

    def _known(self, me: int, need: _Need) -> bool:
        engine = self.engines[me]
        known = engine.everywhere if need.all_cores else engine.here
        return known[need.engine] >= need.count

    def _learn(self, me: int, need: _Need) -> None:
        """After the wait, `me` knows what the instruction knew that it has waited for."""
        engine = self.engines[me]
        here, everywhere = self._seen(need)
        # Complete on all cores, it has brought along what each core knew of itself.
        _raise(engine.everywhere, here if need.all_cores else everywhere)
        _raise(engine.here, here)

    def _seen(self, need: _Need) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.engines[need.engine].seen[need.count - 1]

    def _issue(self, me: int, touches: list[tuple[Touch, bool]], cores: int) -> None:
        engine = self.engines[me]
        count = len(engine.places) + 1
        engine.here[me] = count
        engine.seen.append((tuple(engine.here), tuple(engine.everywhere)))
        engine.places.append(self.place)
        for touch, written in touches:
            key = touch.memory, written, cores <= 1
            engine.histories.setdefault(key, History()).add(touch, count)
        self.place += 1


def _raise(known: list[int], other: Sequence[int]) -> None:
    """Each count to at least the other one; engines that came later have no count there."""
    for index, count in enumerate(other):
        known[index] = max(known[index], count)
