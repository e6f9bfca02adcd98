"""Charging a memory in program order against an oracle: fair sharing among whoever runs."""

import random
from dataclasses import dataclass

import pytest

from kcompiler.machine.instruction import Isa
from kcompiler.machine.simulator.time import simulate_time
from tests.machine.random_programs import seeded
from tests.machine.toy import WaitWork, program, toy_chip, toy_target, wait, work

BANDWIDTH = 10.0
NONE = 1e-9


@dataclass
class Running:
    """What is left of an instruction: of its engine's cycles, and of its bytes."""

    cycles: float
    size: float


class Fair:
    """Queues whose transfers get equal parts of one memory at every moment; no latencies."""

    def __init__(self, code: list[Isa]) -> None:
        self.queues: dict[str, list[Isa]] = {}
        for item in code:
            queue = item.queue if isinstance(item, WaitWork) else item.engine
            self.queues.setdefault(queue, []).append(item)
        self.done = dict.fromkeys(self.queues, 0)
        self.running: dict[str, Running] = {}

    def cycles(self) -> float:
        now = 0.0
        while self._start() or self.running:
            moving = [r for r in self.running.values() if r.size > NONE]
            share = BANDWIDTH / max(1, len(moving))
            steps = [r.cycles for r in self.running.values() if r.cycles > NONE]
            step = min([*steps, *(r.size / share for r in moving)], default=0.0)
            for each in self.running.values():
                each.cycles -= step
            for each in moving:
                each.size -= step * share
            now += step
            for queue in [q for q, r in self.running.items() if max(r.cycles, r.size) <= NONE]:
                del self.running[queue]
                self.done[queue] += 1
        assert not any(self.queues.values())
        return now

    def _start(self) -> bool:
        """Let every idle queue that may go on take its next instruction."""
        started = False
        for queue, items in self.queues.items():
            while queue not in self.running and items and self._ready(items[0]):
                item = items.pop(0)
                started = True
                if not isinstance(item, WaitWork):
                    size = item.traffic(None).get("far", 0)
                    self.running[queue] = Running(item.cycles(None), size)
        return started

    def _ready(self, item: Isa) -> bool:
        return not isinstance(item, WaitWork) or self.done[item.on] >= item.count


def double_buffered(chance: random.Random, tiles: int, cycles: int) -> list[Isa]:
    """Loads of about 100 bytes, products of about `cycles`, stores of about 60 bytes."""
    code: list[Isa] = []
    for tile in range(tiles):
        load, product, store = (int(n * chance.uniform(0.5, 1.5)) for n in (100, cycles, 60))
        if tile >= 2:
            code.append(wait("load", "matrix", tile - 1))
        code += [work("load", busy=2, far=load), wait("matrix", "load", tile + 1)]
        if tile >= 2:
            code.append(wait("matrix", "store", tile - 1))
        code += [work("matrix", busy=product), wait("store", "matrix", tile + 1)]
        code.append(work("store", busy=2, far=store))
    return code


def ratio(code: list[Isa]) -> float:
    target = toy_target(toy_chip(far=BANDWIDTH))
    return simulate_time(program(code), target).cycles / Fair(code).cycles()


@pytest.mark.parametrize("cycles", [2, 16, 40], ids=["memory", "balanced", "compute"])
@pytest.mark.parametrize(("tiles", "low", "high"), [(1, 1, 1.08), (3, 0.9, 1.2), (50, 0.94, 1.01)])
def test_program_order_is_near_fair_sharing(
    cycles: int, tiles: int, low: float, high: float
) -> None:
    chance = seeded(tiles)
    ratios = [ratio(double_buffered(chance, tiles, cycles)) for _ in range(20)]
    assert low <= sum(ratios) / len(ratios) <= high


def test_fair_sharing_itself() -> None:
    """100 and 50 bytes at 10 a cycle: the shorter is done at 10, the longer at 15."""
    code: list[Isa] = [work("load", far=100), work("store", far=50)]
    assert Fair(code).cycles() == pytest.approx(15)
    assert Fair([work("load", far=100), wait("store", "load", 1), *code[1:]]).cycles() == (
        pytest.approx(15)
    )
    assert Fair([work("matrix", busy=30), *code]).cycles() == pytest.approx(30)


def test_fair_sharing_is_what_more_bandwidth_can_make_slower() -> None:
    """Why the simulator does not share so: with more bandwidth, B meets C and delays what follows.

    load: A (long), B (long); matrix holds C back until it starts just after A would end with more
    bandwidth; a long product follows C.
    """

    def total(rate: float) -> float:
        code: list[Isa] = [
            work("load", far=int(1000 / rate)),
            work("vector", busy=10),
            wait("vector", "load", 1),
            work("vector", busy=10),
            wait("load", "vector", 2),
            work("load", far=int(2000 / rate)),
            work("matrix", busy=100),
            wait("store", "matrix", 1),
            work("store", far=int(100 / rate)),
            wait("matrix", "store", 1),
            work("matrix", busy=1000),
        ]
        return Fair(code).cycles()

    assert total(1.1) > total(1.0)
