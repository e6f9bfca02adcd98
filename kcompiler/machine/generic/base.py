"""What the generic core's instructions share: types, roles of memories, and the wait."""

from __future__ import annotations

from kcompiler.machine.chip import Chip
from kcompiler.machine.instruction import Isa, choice, u

TYPES = (
    "f16", "bf16", "f32", "f8e4m3fn", "f8e5m2", "i8", "u8",
    "i16", "u16", "i32", "u32", "i64", "u64", "bool",
)  # fmt: skip
QUEUES = ("load", "store", "matrix", "vector")
ROLES = ("dram", "shared")


class Wait(Isa, template=True):
    """Hold `queue` until `on` has completed `count` instructions of the program."""

    queue: str = choice(*QUEUES)
    on: str = choice(*QUEUES)
    count: int = u(32)
    all_cores: int = u(1, doc="1: on every core (sync manager); 0: on this one")


def chip_memory(word: str, chip: Chip) -> str:
    """The name of the memory that an instruction means: a role, or the name itself.

    A chip without a shared memory holds in dram what others hold there.
    """
    roles = {"dram": chip.dram, "shared": chip.shared or chip.dram}
    return roles.get(word, word)


def memory_word(name: str, chip: Chip, words: tuple[str, ...]) -> str:
    """How an instruction that knows `words` says a memory of the chip: by name, else by role."""
    if name in words:
        return name
    return "dram" if name == chip.dram else "shared"
