"""The instruction set of the modelled Rebel100. Not the vendor's: its encodings are not public.

One stream of instructions drives 64 neural cores (SPMD). Each core has in-order queues `ndma_load`,
`ndma_store` (Neural DMA), `matrix` and `vector` (Neural Engine Clusters); `task_dma` exists once.
Queues run in parallel and meet through `sync.wait` on completion counters.
"""

from kcompiler.targets.rebel.base import QUEUES, SCRATCHPAD, TYPES, Rebel, SyncWait
from kcompiler.targets.rebel.engines import (
    FUNCTIONS,
    Loop,
    MatrixContract,
    Micro,
    Read,
    VectorLoop,
    VectorNest,
)
from kcompiler.targets.rebel.transfers import Dim, NdmaGather, NdmaLoad, NdmaStore, TaskCopy

__all__ = [
    "FUNCTIONS",
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
    "Read",
    "Rebel",
    "SyncWait",
    "TaskCopy",
    "VectorLoop",
    "VectorNest",
]
