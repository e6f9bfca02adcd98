"""Programs in other orders that their queues and waits allow: none may change the result.

Queues run in parallel, so that the chip may take the instructions of different queues in any order
that the waits leave open. The simulator keeps program order; here one queue runs as far ahead of
the others as it can, or as far behind, or chance decides. Nothing here reads what instructions
declare to touch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from kcompiler.conformance.values import generator
from kcompiler.graph.node import Array
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import Program
from kcompiler.machine.queues import is_wait
from kcompiler.machine.simulator.function import Simulation
from kcompiler.machine.simulator.memories import MachineFault
from kcompiler.machine.target import Target

Priority = Callable[[str], float]
"""Of all queues that may go on, the one with the highest goes on."""
_BY_CHANCE = 2


def disorder(
    program: Program, target: Target, values: Mapping[str, Array], wanted: Mapping[str, Array]
) -> str | None:
    """The first other order in which the program computes something else, or stands still."""
    for name, priority in _priorities(program, target):
        machine = Simulation(program, target)
        for binding in program.inputs:
            machine.put(binding, values[binding.name])
        try:
            problem = _run(machine, priority)
        except MachineFault as fault:
            problem = f"an instruction {fault}"
        problem = problem or _different(machine, wanted)
        if problem is not None:
            return f"with {name}: {problem}"
    return None


def _priorities(program: Program, target: Target) -> Iterator[tuple[str, Priority]]:
    code = target.isa.decode_program(program.code)
    engines = sorted({each.engine for each in code if not is_wait(each)})
    for engine in engines:
        yield f"{engine} as far ahead as waits allow", partial(operator.eq, engine)
        yield f"{engine} as far behind as waits allow", partial(operator.ne, engine)
    for number in range(_BY_CHANCE):
        yield f"an order by chance ({number})", partial(_chance, generator("order", number))


def _chance(rng: np.random.Generator, _: str) -> float:
    return float(rng.random())


@dataclass
class _Queue:
    """One queue's instructions, how many are begun, and how many are complete."""

    items: list[Isa] = field(default_factory=list)
    next: int = 0
    done: int = 0


def _run(machine: Simulation, priority: Priority) -> str | None:
    """Everything once, in an order that the waits allow."""
    queues: dict[str, _Queue] = {}
    for item in machine.code:
        name = item.queue if is_wait(item) else item.engine
        queues.setdefault(name, _Queue()).items.append(item)
    while True:
        ready = [name for name in sorted(queues) if _may_go_on(queues[name], queues)]
        if not ready:
            break
        queue = queues[max(ready, key=priority)]
        item = queue.items[queue.next]
        queue.next += 1
        if not is_wait(item):
            item.execute(machine.machine)
            queue.done += 1
    stuck = [name for name, queue in queues.items() if queue.next < len(queue.items)]
    return f"queue {stuck[0]} waits for ever" if stuck else None


def _may_go_on(queue: _Queue, queues: Mapping[str, _Queue]) -> bool:
    if queue.next == len(queue.items):
        return False
    item = queue.items[queue.next]
    if not is_wait(item):
        return True
    return item.count == 0 or (item.on in queues and queues[item.on].done >= item.count)


def _different(machine: Simulation, wanted: Mapping[str, Array]) -> str | None:
    for binding in machine.program.outputs:
        found, right = machine.get(binding), wanted[binding.name]
        same = found.view(np.uint8) == right.view(np.uint8) if found.shape else found == right
        if not np.all(same):
            return f"output {binding.name!r} is another one than in program order"
    return None


__all__: Sequence[str] = ("disorder",)
