"""The instruction set of the modelled Rebel100. Not the vendor's: its encodings are not public.

One stream of instructions drives 64 neural cores (SPMD). Each core has in-order queues `ndma_load`,
`ndma_store` (Neural DMA), `matrix` and `vector` (Neural Engine Clusters); `task_dma` exists once.
Queues run in parallel and meet through `sync.wait` on completion counters.

What the instructions mean and cost is the generic core's; names and widths are declared here.
"""

from __future__ import annotations

from kcompiler.machine.generic import contraction, transfers, vector
from kcompiler.machine.generic.base import TYPES, Wait
from kcompiler.machine.generic.instructions import Instructions
from kcompiler.machine.generic.vector import FUNCTIONS, Micro
from kcompiler.machine.instruction import Isa, choice, many, s, u

__all__ = [
    "FUNCTIONS",
    "INSTRUCTIONS",
    "QUEUES",
    "SCRATCHPAD",
    "TYPES",
    "Dim",
    "Loop",
    "MatrixContract",
    "Micro",
    "NdmaGather",
    "NdmaLoad",
    "NdmaStore",
    "NeuralDma",
    "Read",
    "Rebel",
    "SyncWait",
    "TaskCopy",
    "VectorLoop",
    "VectorNest",
]

SCRATCHPAD = "l1"
QUEUES = ("ndma_load", "ndma_store", "matrix", "vector", "task_dma")


class Rebel(Isa):
    """Instructions of the modelled Rebel100."""


class SyncWait(Rebel, Wait, opcode=0x01, mnemonic="sync.wait", engine="sync"):
    """Hold `queue` until `on` has completed `count` instructions of the program."""

    queue: str = choice(*QUEUES)
    on: str = choice(*QUEUES)


class Dim(transfers.Dim):
    """A dimension of a tensor and of each core's box: index = origin + core_steps.core + step*i."""

    stride: int = s(40, doc="bytes from one index to the next")
    box: int = u(24, doc="elements of the box")


class NeuralDma(Rebel, transfers.Transfer):
    """What the Neural DMA's transfers share."""

    local: int = u(24, base=16, doc="byte in l1; the box lies there dense, row-major")
    memory: str = choice("hbm", "shm", doc="the shared memory")
    base: int = u(40, base=16, doc="byte of index 0 in that memory")
    dims: tuple[Dim, ...] = many(Dim, most=15, doc="outermost first")
    grid: tuple[int, ...] = many(
        u(10), most=6, doc="cores along each grid axis; the product takes part"
    )


class NdmaLoad(NeuralDma, transfers.BoxLoad, opcode=0x10, mnemonic="ndma.load", engine="ndma_load"):
    """l1[local…] of each core = its box of the tensor, `fill` where an index is outside of it."""


class NdmaStore(
    NeuralDma, transfers.BoxStore, opcode=0x11, mnemonic="ndma.store", engine="ndma_store"
):
    """The box of each core in the tensor = l1[local…]; elements outside the tensor are dropped."""


class NdmaGather(
    NeuralDma, transfers.BoxGather, opcode=0x12, mnemonic="ndma.gather", engine="ndma_load"
):
    """ndma.load with indices along dimension `axis` from l1; negative ones count from the end."""

    indices: int = u(24, base=16, doc="byte in l1 of box[axis] indices, dense")


class TaskCopy(Rebel, transfers.MemoryCopy, opcode=0x18, mnemonic="tdma.copy", engine="task_dma"):
    """to[to_address…] = from[from_address…], `size` bytes between hbm and shm."""

    source: str = choice("hbm", "shm")
    source_address: int = u(40, base=16)
    target: str = choice("hbm", "shm")
    target_address: int = u(40, base=16)
    size: int = u(40)


class Loop(contraction.Loop):
    """A loop of a contraction; a sum's stride of 0 makes it a reduced one."""

    extent: int = u(24, doc="iterations")
    a: int = s(24, doc="byte stride in the first factor")
    b: int = s(24, doc="byte stride in the second factor")
    acc: int = s(24, doc="byte stride in the sums")


class MatrixContract(
    Rebel, contraction.Contract, opcode=0x20, mnemonic="matrix.contract", engine="matrix"
):
    """acc[…] = (acc[…] +) sum over the reduced loops of a[…] * b[…], in f32, or wrapping in i32."""

    cores: int = u(10, doc="the first this many cores take part")
    a: int = u(24, base=16, doc="first factor, byte in l1")
    b: int = u(24, base=16, doc="second factor, byte in l1")
    acc: int = u(24, base=16, doc="sums, byte in l1")
    loops: tuple[Loop, ...] = many(Loop, most=15)


class VectorLoop(vector.VectorLoop):
    """A loop of a vector nest."""

    extent: int = u(24, doc="iterations")
    out: int = s(24, doc="byte stride of the result")
    reads: tuple[int, ...] = many(s(24), most=15, doc="byte stride of each read; 0 repeats it")


class Read(vector.Read):
    """An operand of a vector nest."""

    address: int = u(24, base=16, doc="byte in l1")


class VectorNest(Rebel, vector.VectorNest, opcode=0x30, mnemonic="vector.nest", engine="vector"):
    """out[…] = result(combine over the last `reduced` loops of body(reads[…]), reads[…])."""

    cores: int = u(10, doc="the first this many cores take part")
    sources: tuple[Read, ...] = many(Read, most=15, doc="operands")
    loops: tuple[VectorLoop, ...] = many(VectorLoop, most=15)
    out: int = u(24, base=16, doc="result, byte in l1")


INSTRUCTIONS = Instructions(
    wait=SyncWait,
    load=NdmaLoad,
    store=NdmaStore,
    gather=NdmaGather,
    contract=MatrixContract,
    nest=VectorNest,
)
