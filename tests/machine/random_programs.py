"""Random toy programs that conflict often: few addresses, all engines, boxes of one tensor."""

from __future__ import annotations

import random

from kcompiler.machine.indices import Indices
from kcompiler.machine.touch import Touch
from tests.machine.toy import Work, far, pad, work


def seeded(seed: int) -> random.Random:
    """A source of chance that gives the same each time."""
    return random.Random(seed)  # noqa: S311


def instructions(chance: random.Random, length: int, cores: int) -> list[Work]:
    """A program without waits."""
    return [_instruction(chance, cores) for _ in range(length)]


def _instruction(chance: random.Random, cores: int) -> Work:
    engine = chance.choice(["load", "load", "store", "store", "matrix", "vector", "task"])
    if engine == "task":
        return work(engine, [_shared(chance)], [_shared(chance)], cores=0)
    active = chance.choice([1, cores, cores, cores])
    if engine == "load":
        return work(engine, [_shared(chance)], [_local(chance)], cores=active)
    if engine == "store":
        return work(engine, [_local(chance)], [_shared(chance)], cores=active)
    return work(engine, [_local(chance), _local(chance)], [_local(chance)], cores=active)


def _local(chance: random.Random) -> Touch:
    return pad(chance.randrange(8), chance.choice([1, 1, 2]))


def _shared(chance: random.Random) -> Touch:
    if chance.random() < 0.3:
        return far(chance.randrange(24), chance.choice([1, 2, 6]))
    base, outer, inner = chance.choice([(0, 6, 2), (0, 6, 2), (30, 6, 2), (2, 12, 2), (0, 4, 2)])
    rows, columns = (Indices.of_bits(chance.randrange(1, 8)) for _ in range(2))
    return Touch("far", False, base, 2, ((outer, rows), (inner, columns)))
