"""What all instructions of the modelled Rebel100 share, and the wait."""

from __future__ import annotations

from kcompiler.machine.instruction import Isa, choice, u

SCRATCHPAD = "l1"
QUEUES = ("ndma_load", "ndma_store", "matrix", "vector", "task_dma")
TYPES = (
    "f16", "bf16", "f32", "f8e4m3fn", "f8e5m2", "i8", "u8",
    "i16", "u16", "i32", "u32", "i64", "u64", "bool",
)  # fmt: skip


class Rebel(Isa):
    """Instructions of the modelled Rebel100."""


class SyncWait(Rebel, opcode=0x01, mnemonic="sync.wait", engine="sync"):
    """Hold `queue` until `on` has completed `count` instructions of the program."""

    queue: str = choice(*QUEUES)
    on: str = choice(*QUEUES)
    count: int = u(32)
    all_cores: int = u(1, doc="1: on every core (sync manager); 0: on this one")
