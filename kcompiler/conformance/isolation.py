"""Whether instructions touch what they declare, shown by changing all bytes that they do not.

An instruction runs twice from two states of the machine that agree in the bytes that it declares to
read and differ in all others. What it writes must be the same both times, and what it does not
declare to write must stay as it was. It does not matter how `execute` is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.chip import Chip
from kcompiler.machine.instruction import Isa
from kcompiler.machine.simulator.memories import Machine, MachineFault
from kcompiler.machine.touch import Touch

State = dict[str, Array]


def undeclared(instruction: Isa, machine: Machine, chip: Chip) -> str | None:
    """What the instruction touches without saying so; the machine ends up as after running it."""
    before = _state(machine)
    reads = masks(instruction.reads(chip), before, instruction.active_cores())
    writes = masks(instruction.writes(chip), before, instruction.active_cores())
    other = {name: np.where(reads[name], data, ~data) for name, data in before.items()}
    try:
        _set(machine, other)
        instruction.execute(machine)
        second = _state(machine)
    except MachineFault as fault:
        second, problem = None, f"with other bytes around those that it declares to read it {fault}"
    _set(machine, before)
    instruction.execute(machine)  # a fault here is the program's own
    if second is None:
        return problem
    first = _state(machine)
    return _compared((before, first), (other, second), writes)


def _compared(
    one: tuple[State, State], two: tuple[State, State], writes: Mapping[str, Array]
) -> str | None:
    for name, declared in writes.items():
        changed = np.not_equal(one[0][name], one[1][name])
        changed |= np.not_equal(two[0][name], two[1][name])
        stray = changed & ~declared
        if stray.any():
            return f"it writes {_place(name, stray)}, which it does not declare to write"
        unlike = changed & np.not_equal(one[1][name], two[1][name])
        if unlike.any():
            return (
                f"what it writes to {_place(name, unlike)} depends on bytes that it does not "
                "declare to read"
            )
    return None


def _place(memory: str, where: Array) -> str:
    core, byte = divmod(int(where.argmax()), where.shape[1])
    return f"{memory} byte {byte:#x}" + (f" of core {core}" if len(where) > 1 else "")


def _state(machine: Machine) -> State:
    return {name: store.data.copy() for name, store in machine.stores.items()}


def _set(machine: Machine, state: State) -> None:
    for name, data in state.items():
        machine.stores[name].data[...] = data


def masks(touches: Iterable[Touch], state: State, cores: int) -> dict[str, Array]:
    """Memory -> which of its bytes the touches have, on every core."""
    found = {name: np.zeros(data.shape, np.bool_) for name, data in state.items()}
    for touch in touches:
        if not touch.empty:
            rows = found[touch.memory]
            last = max(cores, 1) if touch.per_core else len(rows)
            rows[:last] |= _bytes(touch, len(rows[0]))
    return found


def _bytes(touch: Touch, size: int) -> Array:
    """The bytes of a touch in a memory; what lies outside of it is the budget's concern."""
    every = np.full(1, touch.base, np.int64)
    for stride, own in touch.dims:
        every = np.add.outer(every, stride * np.array(list(own), np.int64)).reshape(-1)
    every = np.add.outer(every, np.arange(touch.run)).reshape(-1)
    found = np.zeros(size, np.bool_)
    found[every[(every >= 0) & (every < size)]] = True
    return found
