"""What a program's queues are, and what the tools that look at them expect of a wait.

A program is one stream. Each instruction goes to the queue of its `engine`; a queue takes one
instruction at a time, in order, and all queues run in parallel. A wait stands in the stream where
it holds its queue.
"""

from __future__ import annotations

from typing import Protocol, TypeGuard

WAIT_ENGINE = "sync"


class Wait(Protocol):
    """Holds `queue` until `on` has completed `count` instructions, on this core or on all cores."""

    @property
    def queue(self) -> str:
        """The engine whose next instructions wait."""

    @property
    def on(self) -> str:
        """The engine that is waited for."""

    @property
    def count(self) -> int:
        """How many of its instructions, from the program's start on; waits are not counted."""

    @property
    def all_cores(self) -> int:
        """Whether on every core, or only on the one that waits."""


def is_wait(instruction: object) -> TypeGuard[Wait]:
    """Whether an instruction is a wait."""
    return getattr(instruction, "engine", "") == WAIT_ENGINE
