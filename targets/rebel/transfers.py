"""Neural DMA and Task DMA: boxes of tensors between the shared memories and the scratchpads."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from kcompiler.graph.types import parse_dtype
from kcompiler.machine.chip import Chip
from kcompiler.machine.instruction import Record, choice, many, s, u
from kcompiler.machine.simulator import boxes
from kcompiler.machine.simulator.boxes import CoreBox
from kcompiler.machine.touch import Touch
from kcompiler.targets.rebel import touches
from kcompiler.targets.rebel.base import SCRATCHPAD, Rebel

if TYPE_CHECKING:
    from kcompiler.machine.simulator.memories import Machine


class Dim(Record):
    """A dimension of a tensor and of each core's box: index = origin + core_steps.core + step*i."""

    extent: int = u(32, doc="indices of the tensor; others read as fill and are not written")
    stride: int = s(40, doc="bytes from one index to the next")
    origin: int = s(32, doc="index of the first element of core 0's box")
    step: int = u(16, doc="indices from one element of the box to the next")
    box: int = u(24, doc="elements of the box")
    core_steps: tuple[int, ...] = many(
        s(32), most=6, doc="indices from one core to the next, a grid axis each"
    )


class Transfer(Rebel):
    """What the Neural DMA's transfers share."""

    local: int = u(24, base=16, doc="byte in l1; the box lies there dense, row-major")
    memory: str = choice("hbm", "shm", doc="the shared memory")
    base: int = u(40, base=16, doc="byte of index 0 in that memory")
    itemsize: int = u(4, doc="bytes of an element: 1, 2, 4 or 8")
    dims: tuple[Dim, ...] = many(Dim, most=15, doc="outermost first")
    grid: tuple[int, ...] = many(
        u(10), most=6, doc="cores along each grid axis; the product takes part"
    )

    def check(self) -> None:
        if self.itemsize not in (1, 2, 4, 8):
            raise ValueError(f"itemsize {self.itemsize} is not 1, 2, 4 or 8")
        if 0 in self.grid:
            raise ValueError("a grid of no cores")
        if any(len(d.core_steps) != len(self.grid) for d in self.dims):
            raise ValueError("every dim needs one core step for each axis of the grid")
        if any(d.step == 0 for d in self.dims):
            raise ValueError("a step of 0 would repeat an element")

    @property
    def core_box(self) -> CoreBox:
        """The boxes of all cores."""
        return CoreBox(self.base, self.itemsize, self.dims, self.grid)

    def active_cores(self) -> int:
        """Cores that take part."""
        return prod(self.grid)

    def cycles(self, chip: Chip) -> int:
        """Cycles that a core's port is busy."""
        return touches.port_cycles(self, chip)

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """Bytes moved from or to the shared memory; what several cores read alike moves once."""
        return {self.memory: touches.unique_bytes(self)}

    def _local(self) -> tuple[Touch, ...]:
        return (
            touches.dense(SCRATCHPAD, self.local, prod(d.box for d in self.dims) * self.itemsize),
        )


class NdmaLoad(Transfer, opcode=0x10, mnemonic="ndma.load", engine="ndma_load"):
    """l1[local…] of each core = its box of the tensor, `fill` where an index is outside of it."""

    fill: int = u(64, default=0, base=16, doc="bits of an element outside the tensor")

    def execute(self, m: Machine) -> None:
        """Move the boxes of all cores."""
        boxes.load(m, SCRATCHPAD, self.local, self.memory, self.core_box, fill=self.fill)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the tensor."""
        return touches.outside(self)

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in l1."""
        return self._local()


class NdmaStore(Transfer, opcode=0x11, mnemonic="ndma.store", engine="ndma_store"):
    """The box of each core in the tensor = l1[local…]; elements outside the tensor are dropped."""

    def execute(self, m: Machine) -> None:
        """Move the boxes of all cores."""
        boxes.store(m, SCRATCHPAD, self.local, self.memory, self.core_box)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in l1."""
        return self._local()

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the tensor."""
        return touches.outside(self)


class NdmaGather(Transfer, opcode=0x12, mnemonic="ndma.gather", engine="ndma_load"):
    """ndma.load with indices along dimension `axis` from l1; negative ones count from the end."""

    axis: int = u(4, doc="position in dims")
    indices: int = u(24, base=16, doc="byte in l1 of box[axis] indices, dense")
    index_type: str = choice("i32", "i64")

    def execute(self, m: Machine) -> None:
        """Look the indices up, then move the boxes."""
        dtype = parse_dtype(self.index_type)
        count = self.dims[self.axis].box
        cores = self.active_cores()
        found = m.read(
            SCRATCHPAD, self.indices, dtype, (count,), (dtype.itemsize,), cores=cores
        ).astype(np.int64)
        wrapped = np.where(found < 0, found + self.dims[self.axis].extent, found)
        boxes.gather(
            m,
            SCRATCHPAD,
            self.local,
            self.memory,
            self.core_box,
            axis=self.axis,
            indices=wrapped,
        )

    def check(self) -> None:
        super().check()
        if self.axis >= len(self.dims):
            raise ValueError(f"axis {self.axis} of {len(self.dims)} dims")

    def cycles(self, chip: Chip) -> int:
        """Cycles that a core's port is busy; no run is longer than what one index chooses."""
        return touches.port_cycles(self, chip, self.axis)

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """Bytes of the chosen indices; cores that share them move them once."""
        return {self.memory: touches.unique_bytes(self, self.axis)}

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Any index may be read, and the indices themselves."""
        size = parse_dtype(self.index_type).itemsize * self.dims[self.axis].box
        return (
            *touches.outside(self, self.axis),
            touches.dense(SCRATCHPAD, self.indices, size),
        )

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in l1."""
        return self._local()


class TaskCopy(Rebel, opcode=0x18, mnemonic="tdma.copy", engine="task_dma"):
    """to[to_address…] = from[from_address…], `size` bytes between hbm and shm."""

    source: str = choice("hbm", "shm")
    source_address: int = u(40, base=16)
    target: str = choice("hbm", "shm")
    target_address: int = u(40, base=16)
    size: int = u(40)

    def execute(self, m: Machine) -> None:
        """Move the bytes."""
        byte = np.dtype(np.uint8)
        data = m.read(self.source, self.source_address, byte, (self.size,), (1,))
        m.write(self.target, self.target_address, byte, (self.size,), (1,))[...] = data

    def active_cores(self) -> int:
        """No core takes part."""
        return 0

    def cycles(self, chip: Chip) -> int:
        """Start-up; the bytes are limited by the memories."""
        return chip.dma.startup.value

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """The bytes, once in each memory."""
        return (
            {self.source: self.size, self.target: self.size}
            if self.source != self.target
            else {self.source: 2 * self.size}
        )

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """The source bytes."""
        return (Touch(self.source, False, self.source_address, self.size),)

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The target bytes."""
        return (Touch(self.target, False, self.target_address, self.size),)
