"""Give every tensor and every buffer its address."""

from __future__ import annotations

from collections.abc import Sequence

from kcompiler.errors import UsageError
from kcompiler.kernel.statements import Kernel
from kcompiler.machine.chip import Chip
from kcompiler.machine.place import Held, Placement, Tensor, check_capacity, fitting, held
from kcompiler.machine.scratchpad import addresses_of
from kcompiler.pipeline import Pass


class Place(Pass):
    """(kernels, tensors) -> Placement: static addresses from lifetimes.

    Tensors that may choose lie in the shared memory; where they do not all fit, those that take
    most room for longest go to dram. Raises CapacityError when a memory is too small.
    """

    chip: Chip | None = None

    def run(self, ir: tuple[Sequence[Kernel], Sequence[Tensor]]) -> Placement:
        kernels, tensors = ir
        if self.chip is None:
            raise UsageError("the pass place needs a chip", fix="Place(chip=...)")
        scratchpad = self.chip.memory(self.chip.scratchpad)
        addresses, highest = addresses_of(kernels, scratchpad)
        parts = _parts(tensors, self.chip)
        for part in parts:
            check_capacity(part)
        own = {scratchpad.name: highest}
        bindings = {b.name: b for part in parts for b in part.bindings}
        return Placement(
            bindings={t.name: bindings[t.name] for t in tensors},
            addresses=addresses,
            used={p.memory.name: p.allocation.peak for p in parts} | own,
            bound={p.memory.name: p.allocation.bound for p in parts} | own,
        )

    def place(self, kernels: Sequence[Kernel], tensors: Sequence[Tensor]) -> Placement:
        """`run` as a function of two arguments."""
        return self.run((kernels, tensors))


def _parts(tensors: Sequence[Tensor], chip: Chip) -> list[Held]:
    """What each memory outside the cores holds."""
    free = [t for t in tensors if t.memory is None]
    chosen: dict[str, list[Tensor]] = {
        m.name: [t for t in tensors if t.memory == m.name] for m in chip.memories if not m.per_core
    }
    if chip.shared is not None:
        kept = fitting(free, chosen[chip.shared], chip.memory(chip.shared))
        chosen[chip.shared] += kept
        free = [t for t in free if t not in kept]
    chosen[chip.dram] += free
    return [held(group, chip.memory(name)) for name, group in chosen.items()]
