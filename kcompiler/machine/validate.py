"""What makes a chip description sensible; every fault of one is told at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from kcompiler.errors import UsageError
from kcompiler.graph.types import parse_dtype
from kcompiler.machine.facts import Fact
from kcompiler.machine.fields import is_word

if TYPE_CHECKING:
    from kcompiler.machine.chip import Chip

MAY_BE_ZERO = frozenset({"startup", "latency", "sync_cycles", "dispatch"})


def check_chip(chip: Chip) -> None:
    """UsageError that names all that is wrong with a chip description."""
    found = [*_numbers(chip, ""), *_names(chip), *_roles(chip)]
    found = found or [*_dies(chip)]
    if found:
        raise UsageError(
            f"the chip description {str(chip.name)!r} makes no sense",
            why="\n".join(found),
            fix="units are bytes, cycles, bytes a cycle and Hz: see kcompiler/machine/chip.py",
        )


def _numbers(description: Any, path: str) -> Iterator[str]:
    """Facts that are no number of their kind, by their path as `kcompile targets` prints it."""
    if isinstance(description, tuple):
        for item in description:
            yield from _numbers(item, f"{path}{getattr(item, 'name', '?')}.")
        return
    if not is_dataclass(description):
        return
    for field in fields(description):
        value, name = getattr(description, field.name), f"{path}{field.name}"
        if "Fact" not in str(field.type):
            yield from _numbers(value, f"{name}.")
        elif isinstance(value, Fact):
            yield from _number(name, value.value, whole="int" in str(field.type))
        elif value is not None or "None" not in str(field.type):
            yield f"{name} is {value!r}, and must be a Fact(value, tag, source)"


def _number(name: str, value: Any, *, whole: bool) -> Iterator[str]:
    least_is_zero = name.rpartition(".")[2] in MAY_BE_ZERO
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        yield f"{name} is {value!r}, and must be a {'whole number' if whole else 'number'}"
    elif not math.isfinite(value) or value < 0 or (value == 0 and not least_is_zero):
        yield f"{name} is {value}, and must be {'at least 0' if least_is_zero else 'above 0'}"


def _dies(chip: Chip) -> Iterator[str]:
    if chip.dies is not None and chip.dies.value > chip.cores.value:
        yield f"dies is {chip.dies.value}, more than cores"


def _names(chip: Chip) -> Iterator[str]:
    """Names that are no words, or that two things have, and types that do not exist."""
    memories = [m.name for m in chip.memories]
    for name in (chip.name, *memories):
        if not is_word(str(name)):
            yield f"the name {name!r} is not one word of letters, digits and _.+-"
    for name in sorted({name for name in memories if memories.count(name) > 1}):
        yield f"two memories are called {name!r}"
    rates = [rate.name for rate in chip.matrix.rates]
    for name in sorted({name for name in rates if rates.count(name) > 1}):
        yield f"matrix.rates has {name!r} twice"
    for name in rates:
        try:
            parse_dtype(name)
        except KeyError:
            yield f"matrix.rates has {name!r}, which is no element type"


def _roles(chip: Chip) -> Iterator[str]:
    """Memories that do not exist, or that cannot be what they are meant for."""
    by_name = {memory.name: memory for memory in chip.memories}
    roles = {"scratchpad": chip.scratchpad, "dram": chip.dram, "shared": chip.shared}
    given = {role: name for role, name in roles.items() if role != "shared" or name is not None}
    for role, name in given.items():
        memory = by_name.get(str(name))
        if memory is None:
            yield f"{role} is {name!r}, which is none of the memories: {', '.join(by_name)}"
        elif memory.per_core != (role == "scratchpad"):
            yield f"{role} is {name!r}, which {_owner(role)}"
        if role != "scratchpad" and role in by_name and role != name:
            yield f"a memory is called {role!r}, but {role} is {name!r}"
    if len(set(given.values())) < len(given):
        yield "scratchpad, dram and shared are different memories; without a third, shared is None"


def _owner(role: str) -> str:
    if role == "scratchpad":
        return "must exist in each core (per_core=True)"
    return "must be one for all cores (per_core=False)"
