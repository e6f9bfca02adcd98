"""Which instructions the generic lowering writes: a target names its own classes here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kcompiler.machine.chip import Chip
from kcompiler.machine.fields import Choice, Integer, Kind, Many, Nested
from kcompiler.machine.generic.base import Wait
from kcompiler.machine.generic.contraction import Contract, Loop
from kcompiler.machine.generic.transfers import BoxGather, BoxLoad, BoxStore, Dim
from kcompiler.machine.generic.vector import Read, VectorLoop, VectorNest
from kcompiler.machine.instruction import Isa

INSIDE = ("local", "indices", "a", "b", "acc", "out", "address")
"""Fields that hold an address in the scratchpad."""


@dataclass(frozen=True)
class Instructions:
    """A class for each thing to say. Records (dims, loops) are those that the class declares.

    No `contract`: the lowering says contractions in its own way, or the vector unit does them.
    """

    wait: type[Wait]
    load: type[BoxLoad]
    store: type[BoxStore]
    gather: type[BoxGather]
    contract: type[Contract] | None
    nest: type[VectorNest]

    @cached_property
    def dim(self) -> type[Dim]:
        """A dimension of a transfer."""
        found: type[Dim] = _element(self.load, "dims")
        return found

    @cached_property
    def loop(self) -> type[Loop]:
        """A loop of a contraction."""
        if self.contract is None:
            raise TypeError("these instructions have no contraction")
        found: type[Loop] = _element(self.contract, "loops")
        return found

    @cached_property
    def vector_loop(self) -> type[VectorLoop]:
        """A loop of a vector nest."""
        found: type[VectorLoop] = _element(self.nest, "loops")
        return found

    @cached_property
    def source(self) -> type[Read]:
        """An operand of a vector nest."""
        found: type[Read] = _element(self.nest, "sources")
        return found


def too_narrow(instructions: Instructions, chip: Chip) -> Iterator[str]:
    """Fields that do not reach what the chip has: the scratchpad, other memories, all cores."""
    pad = chip.memory(chip.scratchpad)
    outer = max((m for m in chip.memories if not m.per_core), key=lambda m: m.size.value)
    inside, outside = f"the last byte of {pad.name}", f"the last byte of {outer.name}"
    needs = dict.fromkeys(INSIDE, (pad.size.value - 1, inside))
    needs |= {"base": (outer.size.value - 1, outside), "cores": (chip.cores.value, "all cores")}
    use = instructions
    classes = (use.load, use.store, use.gather, use.contract, use.nest, use.source)
    for cls in (each for each in classes if each is not None):
        for operand in cls.operands:
            need, what = needs.get(operand.name, (0, ""))
            if isinstance(operand.kind, Integer) and operand.kind.high < need:
                yield (
                    f"the field {operand.name} of {cls.title()} has {operand.kind.bits} bits and "
                    f"goes up to {operand.kind.high}, but {what} is {need}"
                )


def choices(cls: type[Isa], name: str) -> tuple[str, ...]:
    """The names that a field may hold."""
    kind = _kind(cls, name)
    return kind.names if isinstance(kind, Choice) else ()


def _element(cls: type[Isa], name: str) -> Any:
    """The record class of a field of many."""
    kind = _kind(cls, name)
    if not isinstance(kind, Many) or not isinstance(kind.element, Nested):
        raise TypeError(f"{cls.__name__}.{name} is no array of records")
    return kind.element.cls


def _kind(cls: type[Isa], name: str) -> Kind:
    return next(operand.kind for operand in cls.operands if operand.name == name)
