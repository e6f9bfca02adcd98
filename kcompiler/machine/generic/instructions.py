"""Which instructions the generic lowering writes: a target names its own classes here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kcompiler.machine.fields import Choice, Kind, Many, Nested
from kcompiler.machine.generic.base import Wait
from kcompiler.machine.generic.contraction import Contract, Loop
from kcompiler.machine.generic.transfers import BoxGather, BoxLoad, BoxStore, Dim
from kcompiler.machine.generic.vector import Read, VectorLoop, VectorNest
from kcompiler.machine.instruction import Isa


@dataclass(frozen=True)
class Instructions:
    """A class for each thing to say. Records (dims, loops) are those that the class declares."""

    wait: type[Wait]
    load: type[BoxLoad]
    store: type[BoxStore]
    gather: type[BoxGather]
    contract: type[Contract]
    nest: type[VectorNest]

    @cached_property
    def dim(self) -> type[Dim]:
        """A dimension of a transfer."""
        found: type[Dim] = _element(self.load, "dims")
        return found

    @cached_property
    def loop(self) -> type[Loop]:
        """A loop of a contraction."""
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
