"""The generic instruction set: wide enough for the memories of any chip."""

from __future__ import annotations

from kcompiler.machine.generic.base import Wait
from kcompiler.machine.generic.contraction import Contract
from kcompiler.machine.generic.instructions import Instructions
from kcompiler.machine.generic.transfers import BoxGather, BoxLoad, BoxStore
from kcompiler.machine.generic.vector import VectorNest
from kcompiler.machine.instruction import Isa


class Generic(Isa):
    """Instructions of no chip in particular.

    One stream drives all cores (SPMD). Each core has in-order queues `load`, `store`, `matrix` and
    `vector`, which run in parallel and meet through `sync.wait` on completion counters.
    """


class SyncWait(Generic, Wait, opcode=0x01, mnemonic="sync.wait", engine="sync"):
    """Hold `queue` until `on` has completed `count` instructions of the program."""


class Load(Generic, BoxLoad, opcode=0x10, mnemonic="dma.load", engine="load"):
    """pad[local…] of each core = its box of the tensor, `fill` where an index is outside of it."""


class Store(Generic, BoxStore, opcode=0x11, mnemonic="dma.store", engine="store"):
    """The box of each core in the tensor = pad[local…]; elements outside the tensor are dropped."""


class Gather(Generic, BoxGather, opcode=0x12, mnemonic="dma.gather", engine="load"):
    """dma.load with indices along dimension `axis` from pad; negative ones count from the end."""


class Product(Generic, Contract, opcode=0x20, mnemonic="matrix.contract", engine="matrix"):
    """acc[…] = (acc[…] +) sum over the reduced loops of a[…] * b[…], in f32, or wrapping in i32."""


class Nest(Generic, VectorNest, opcode=0x30, mnemonic="vector.nest", engine="vector"):
    """out[…] = result(combine over the last `reduced` loops of body(reads[…]), reads[…])."""


INSTRUCTIONS = Instructions(
    wait=SyncWait, load=Load, store=Store, gather=Gather, contract=Product, nest=Nest
)
