"""What the tools that look at a program's queues expect of its instructions.

A program is one stream. Each instruction goes to the queue of its `engine`; a queue takes one instruction at a
time, in order, and all queues run in parallel. A wait stands in the stream where it holds its queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol, TypeGuard

from kcompiler.machine.chip import Chip
from kcompiler.machine.touch import Touch


class Instruction(Protocol):
    """What an engine does; it says what it touches, moves and takes."""

    engine: ClassVar[str]
    mnemonic: ClassVar[str]

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """The bytes that it reads."""
        ...

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The bytes that it writes."""
        ...

    def cycles(self, chip: Chip) -> int:
        """How long its engine is busy when no other one is in the way."""
        ...

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """Bytes that it moves from and to each shared memory, over all cores."""
        ...

    def active_cores(self) -> int:
        """How many cores take part, from core 0 on; 0 for work of the chip itself."""
        ...


class Wait(Protocol):
    """Holds `queue` until `on` has completed `count` instructions, on this core or on all cores."""

    @property
    def queue(self) -> str:
        """The engine whose next instructions wait."""
        ...

    @property
    def on(self) -> str:
        """The engine that is waited for."""
        ...

    @property
    def count(self) -> int:
        """How many of its instructions, from the start of the program on; waits are not counted."""
        ...

    @property
    def all_cores(self) -> int:
        """Whether on every core, or only on the one that waits."""
        ...


def is_wait(instruction: object) -> TypeGuard[Wait]:
    """Whether an instruction is a wait."""
    return getattr(instruction, "engine", "") == "sync"
