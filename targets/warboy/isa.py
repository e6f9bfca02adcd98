"""An instruction set for the modelled Warboy. Not the vendor's: its encodings are not public.

One stream of instructions drives all slices of a processing element (SPMD). `dma.load` and
`dma.store` move boxes between DRAM and the slices; `fetch` and `commit` move them over the fetch
network, between the SRAM of all slices and the tiles of each. Each slice has a tensor unit (`te`)
and a vector unit (`ve`). Queues run in parallel and meet through `sync.wait`.
"""

from __future__ import annotations

from kcompiler.machine.generic import transfers, vector
from kcompiler.machine.generic.base import Wait
from kcompiler.machine.instruction import Isa, choice, many, s, u

SCRATCHPAD = "buffers"
QUEUES = ("dma_in", "dma_out", "fetch", "commit", "te", "ve")


class Warboy(Isa):
    """Instructions of the modelled Warboy."""


class SyncWait(Warboy, Wait, opcode=0x01, mnemonic="sync.wait", engine="sync"):
    """Hold `queue` until `on` has completed `count` instructions of the program."""

    queue: str = choice(*QUEUES)
    on: str = choice(*QUEUES)


class Dim(transfers.Dim):
    """A dimension of a tensor and of each slice's box: index = origin + steps.slice + step*i."""

    stride: int = s(35, doc="bytes from one index to the next")
    box: int = u(18, doc="elements of the box")


class Transfer(Warboy, transfers.Transfer):
    """What transfers of boxes share."""

    local: int = u(18, base=16, doc="byte in buffers; the box lies there dense, row-major")
    base: int = u(34, base=16, doc="byte of index 0 in the memory")
    dims: tuple[Dim, ...] = many(Dim, most=15, doc="outermost first")
    grid: tuple[int, ...] = many(u(8), most=6, doc="slices along each grid axis")


class DmaLoad(Transfer, transfers.BoxLoad, opcode=0x10, mnemonic="dma.load", engine="dma_in"):
    """buffers[local…] of each slice = its box of a tensor in DRAM, `fill` outside of the tensor."""

    memory: str = choice("dram")


class DmaStore(Transfer, transfers.BoxStore, opcode=0x11, mnemonic="dma.store", engine="dma_out"):
    """The box of each slice in a tensor in DRAM = buffers[local…]; what is outside is dropped."""

    memory: str = choice("dram")


class Fetch(Transfer, transfers.BoxLoad, opcode=0x12, mnemonic="fetch", engine="fetch"):
    """buffers[local…] of each slice = its box of a tensor in the SRAM of all, `fill` outside."""

    memory: str = choice("sram")


class Commit(Transfer, transfers.BoxStore, opcode=0x13, mnemonic="commit", engine="commit"):
    """The box of each slice in a tensor in the SRAM of all = buffers[local…]; none is outside."""

    memory: str = choice("sram")


class VectorLoop(vector.VectorLoop):
    """A loop of a vector nest."""

    extent: int = u(18, doc="iterations")
    out: int = s(20, doc="byte stride of the result")
    reads: tuple[int, ...] = many(s(20), most=15, doc="byte stride of each read; 0 repeats it")


class Read(vector.Read):
    """An operand of a vector nest."""

    address: int = u(18, base=16, doc="byte in buffers")


class VectorNest(Warboy, vector.VectorNest, opcode=0x30, mnemonic="ve.nest", engine="ve"):
    """out[…] = result(combine over the last `reduced` loops of body(reads[…]), reads[…])."""

    cores: int = u(8, doc="the first this many slices take part")
    sources: tuple[Read, ...] = many(Read, most=15, doc="operands")
    loops: tuple[VectorLoop, ...] = many(VectorLoop, most=15)
    out: int = u(18, base=16, doc="result, byte in buffers")
