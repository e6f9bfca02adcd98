"""Boxes of tensors between the memories outside the cores and the scratchpads."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from kcompiler.graph.types import parse_dtype
from kcompiler.machine.chip import Chip
from kcompiler.machine.generic import touches
from kcompiler.machine.generic.base import ROLES, chip_memory
from kcompiler.machine.instruction import Isa, Record, choice, many, s, u
from kcompiler.machine.simulator import boxes
from kcompiler.machine.simulator.boxes import CoreBox
from kcompiler.machine.touch import Touch

if TYPE_CHECKING:
    from kcompiler.machine.simulator.memories import Machine


class Dim(Record):
    """A dimension of a tensor and of each core's box: index = origin + core_steps.core + step*i."""

    extent: int = u(32, doc="indices of the tensor; others read as fill and are not written")
    stride: int = s(48, doc="bytes from one index to the next")
    origin: int = s(32, doc="index of the first element of core 0's box")
    step: int = u(16, doc="indices from one element of the box to the next")
    box: int = u(32, doc="elements of the box")
    core_steps: tuple[int, ...] = many(
        s(32), most=6, doc="indices from one core to the next, a grid axis each"
    )


class Transfer(Isa, template=True):
    """What transfers share."""

    local: int = u(32, base=16, doc="byte in the scratchpad; the box lies there dense, row-major")
    memory: str = choice(*ROLES, doc="the memory outside the cores")
    base: int = u(48, base=16, doc="byte of index 0 in that memory")
    itemsize: int = u(4, doc="bytes of an element: 1, 2, 4 or 8")
    dims: tuple[Dim, ...] = many(Dim, most=15, doc="outermost first")
    grid: tuple[int, ...] = many(
        u(16), most=6, doc="cores along each grid axis; the product takes part"
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
        """Bytes moved from or to the memory; what several cores read alike moves once."""
        return {self.outer(chip): touches.unique_bytes(self)}

    def outer(self, chip: Chip) -> str:
        """The chip's name of the memory outside the cores."""
        return chip_memory(self.memory, chip)

    def inside(self, chip: Chip) -> tuple[Touch, ...]:
        """The box's bytes in the scratchpad."""
        size = prod(d.box for d in self.dims) * self.itemsize
        return (touches.dense(chip.scratchpad, self.local, size),)


class BoxLoad(Transfer):
    """pad[local…] of each core = its box of the tensor, `fill` where an index is outside of it."""

    fill: int = u(64, default=0, base=16, doc="bits of an element outside the tensor")

    def execute(self, m: Machine) -> None:
        """Move the boxes of all cores."""
        chip = m.chip
        pad, outer = chip.scratchpad, self.outer(chip)
        boxes.load(m, pad, self.local, outer, self.core_box, fill=self.fill)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the tensor."""
        return touches.outside(self, self.outer(chip))

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in the scratchpad."""
        return self.inside(chip)


class BoxStore(Transfer):
    """The box of each core in the tensor = pad[local…]; elements outside the tensor are dropped."""

    def execute(self, m: Machine) -> None:
        """Move the boxes of all cores."""
        boxes.store(m, m.chip.scratchpad, self.local, self.outer(m.chip), self.core_box)

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in the scratchpad."""
        return self.inside(chip)

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the tensor."""
        return touches.outside(self, self.outer(chip))


class BoxGather(Transfer):
    """A load whose indices along `axis` lie in the scratchpad; negative ones count from the end."""

    axis: int = u(4, doc="position in dims")
    indices: int = u(32, base=16, doc="byte in the scratchpad of box[axis] indices, dense")
    index_type: str = choice("i32", "i64")

    def execute(self, m: Machine) -> None:
        """Look the indices up, then move the boxes."""
        dtype = parse_dtype(self.index_type)
        count = self.dims[self.axis].box
        cores = self.active_cores()
        pad, outer = m.chip.scratchpad, self.outer(m.chip)
        found = m.read(pad, self.indices, dtype, (count,), (dtype.itemsize,), cores=cores).astype(
            np.int64
        )
        wrapped = np.where(found < 0, found + self.dims[self.axis].extent, found)
        boxes.gather(m, pad, self.local, outer, self.core_box, axis=self.axis, indices=wrapped)

    def check(self) -> None:
        super().check()
        if self.axis >= len(self.dims):
            raise ValueError(f"axis {self.axis} of {len(self.dims)} dims")

    def cycles(self, chip: Chip) -> int:
        """Cycles that a core's port is busy; no run is longer than what one index chooses."""
        return touches.port_cycles(self, chip, self.axis)

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """Bytes of the chosen indices; cores that share them move them once."""
        return {self.outer(chip): touches.unique_bytes(self, self.axis)}

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """Any index may be read, and the indices themselves."""
        size = parse_dtype(self.index_type).itemsize * self.dims[self.axis].box
        return (
            *touches.outside(self, self.outer(chip), self.axis),
            touches.dense(chip.scratchpad, self.indices, size),
        )

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """Bytes of the box in the scratchpad."""
        return self.inside(chip)


class MemoryCopy(Isa, template=True):
    """to[to_address…] = from[from_address…], `size` bytes between memories outside the cores."""

    source: str = choice(*ROLES)
    source_address: int = u(48, base=16)
    target: str = choice(*ROLES)
    target_address: int = u(48, base=16)
    size: int = u(48)

    def execute(self, m: Machine) -> None:
        """Move the bytes."""
        byte = np.dtype(np.uint8)
        source, target = chip_memory(self.source, m.chip), chip_memory(self.target, m.chip)
        data = m.read(source, self.source_address, byte, (self.size,), (1,))
        m.write(target, self.target_address, byte, (self.size,), (1,))[...] = data

    def active_cores(self) -> int:
        """No core takes part."""
        return 0

    def cycles(self, chip: Chip) -> int:
        """Start-up; the bytes are limited by the memories."""
        return chip.dma.startup.value

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """The bytes, once in each memory."""
        source, target = chip_memory(self.source, chip), chip_memory(self.target, chip)
        return (
            {source: self.size, target: self.size} if source != target else {source: 2 * self.size}
        )

    def reads(self, chip: Chip) -> tuple[Touch, ...]:
        """The source bytes."""
        return (Touch(chip_memory(self.source, chip), False, self.source_address, self.size),)

    def writes(self, chip: Chip) -> tuple[Touch, ...]:
        """The target bytes."""
        return (Touch(chip_memory(self.target, chip), False, self.target_address, self.size),)
