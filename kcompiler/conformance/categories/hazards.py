"""Order and room: nothing may happen in two orders, nothing lies where something else does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kcompiler.conformance.bench import Assembled, Bench
from kcompiler.conformance.isolation import undeclared
from kcompiler.conformance.orders import disorder
from kcompiler.conformance.score import Finding, judged
from kcompiler.graph.node import Array
from kcompiler.machine.auditor import Finding as Broken
from kcompiler.machine.auditor import audit_program
from kcompiler.machine.hazards import hazards
from kcompiler.machine.program import Program
from kcompiler.machine.queues import is_wait
from kcompiler.machine.simulator.function import Simulation
from kcompiler.machine.target import Target

TITLE = "every order that waits allow gives the same, inside of the memories"
_ABOUT_ROOM = ("budgets", "buffers")
_LOOKED_AT = 60  # instructions of a program, spread over it, whose bytes are looked at
_WAIT = "reads() and writes() must name all bytes; passes.synchronize orders what they name"
_AUDIT = "docs/verification.md says what an audit proves, and from what"
_ROOM = "keep to the addresses that lower() is given"


def findings(bench: Bench) -> Iterator[Finding]:
    """The witnesses' programs."""
    waits = 0
    for name, target, made in bench.programs():
        program = made.segment.program
        code = target.isa.decode_program(program.code)
        waits += sum(map(is_wait, code))
        yield judged(f"{name}: no hazard", _hazard(program, target), _WAIT)
        found = audit_program(program, target).findings
        room = _audited(found, room=True) or _declared(program, target)
        yield judged(f"{name}: inside the memories", room, _ROOM)
        yield judged(f"{name}: audit", _audited(found, room=False), _AUDIT)
        yield judged(f"{name}: other orders", _orders(made, target, bench), _WAIT)
        if target is not bench.target or target is bench.small:
            yield judged(f"{name}: touches", _touches(made, target, bench), _WAIT)
    problem = None if waits else "no program of the kit has a wait, so that nothing is shown"
    yield judged("there are waits", problem, "engines must meet: see passes.synchronize")


def _hazard(program: Program, target: Target) -> str | None:
    try:
        found = next(hazards(program, target), None)
    except ValueError as error:
        return str(error)
    return None if found is None else found.text


def _audited(found: Sequence[Broken], *, room: bool) -> str | None:
    """What the auditor finds first, about room or about all else.

    It sees what instructions do, not what they declare.
    """
    chosen = (str(f) for f in found if (f.property in _ABOUT_ROOM) == room)
    return next(chosen, None)


def _declared(program: Program, target: Target) -> str | None:
    """What an instruction says that it touches beyond what the program uses."""
    chip = target.chip
    for place, item in enumerate(target.isa.decode_program(program.code)):
        if is_wait(item):
            continue
        for touch in (*item.reads(chip), *item.writes(chip)):
            known = program.used.get(touch.memory, 0)
            if not touch.empty and not (touch.start >= 0 and touch.stop <= known):
                return (
                    f"instruction {place} ({item.mnemonic}) says that it touches {touch.memory} "
                    f"bytes [{touch.start:#x}, {touch.stop:#x}), of which the program uses "
                    f"{known:#x}"
                )
    return None


def _orders(made: Assembled, target: Target, bench: Bench) -> str | None:
    program = made.segment.program
    values = bench.values(made)
    return disorder(program, target, values, Simulation(program, target).run(values))


def _touches(made: Assembled, target: Target, bench: Bench) -> str | None:
    """The first instruction that touches what it does not declare."""
    simulation = Simulation(made.segment.program, target)
    values: dict[str, Array] = bench.values(made)
    for binding in simulation.program.inputs:
        simulation.put(binding, values[binding.name])
    stride = max(1, len(simulation.code) // _LOOKED_AT)
    for place, item in enumerate(simulation.code):
        if is_wait(item):
            continue
        if place % stride:
            item.execute(simulation.machine)
            continue
        problem = undeclared(item, simulation.machine, target.chip)
        if problem is not None:
            return f"instruction {place} ({item.mnemonic}): {problem}"
    return None
