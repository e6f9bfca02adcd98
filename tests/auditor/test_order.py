"""Order: the auditor's clocks against the hazard check, which was written apart from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kcompiler.machine.auditor.area import Area
from kcompiler.machine.auditor.observe import Access, Step
from kcompiler.machine.auditor.order import clocks, unordered
from kcompiler.machine.hazards import check_hazards
from kcompiler.machine.instruction import Isa
from kcompiler.machine.queues import is_wait
from kcompiler.passes.synchronize import Synchronize
from tests.machine.random_programs import instructions, seeded
from tests.machine.toy import WaitWork, Work, program, toy_chip, toy_target

CORES = 3
TARGET = toy_target(toy_chip(cores=CORES))


def steps(code: Sequence[Isa]) -> list[Step]:
    """Toy instructions have no meaning but their touches; those of one run are areas."""
    found = []
    for place, item in enumerate(code):
        if is_wait(item):
            continue
        touches = [(t, False) for t in item.reads(TARGET.chip)]
        touches += [(t, True) for t in item.writes(TARGET.chip)]
        accesses = tuple(
            Access(t.memory, t.per_core, w, CORES, Area(t.start, t.stop - t.start), 1, 1)
            for t, w in touches
            if not t.empty
        )
        found.append(Step(place, item, item.active_cores(), accesses))
    return found


def pairs(code: Sequence[Isa]) -> set[tuple[int, int]]:
    """Each instruction is its own kernel, so that no pair is left out."""
    made = steps(code)
    found = unordered(made, clocks(code), CORES, range(len(made)))
    return {(u.first[0].place, u.second[0].place) for u in found}


def plain(code: Sequence[Work]) -> list[Work]:
    """The same with single runs."""
    return [replace(x, pieces=tuple(replace(p, dims=()) for p in x.pieces)) for x in code]


@settings(max_examples=150)
@given(st.integers(0, 1 << 32), st.data())
def test_as_the_hazard_check(seed: int, data: st.DataObject) -> None:
    (code,) = Synchronize(target=TARGET).run([plain(instructions(seeded(seed), 14, CORES))])
    assert pairs(code) == set()
    waits = [i for i, x in enumerate(code) if isinstance(x, WaitWork)]
    lost = data.draw(st.sets(st.sampled_from(waits))) if waits else set()
    kept = [x for i, x in enumerate(code) if i not in lost]
    expected = {(h.first, h.second) for h in check_hazards(program(kept), TARGET)}
    assert pairs(kept) == expected
