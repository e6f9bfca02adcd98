"""Rebellions' Rebel100 ("REBEL-Quad"), modelled from public facts; see README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kcompiler.kernel.statements import Kernel
from kcompiler.machine.program import Binding
from kcompiler.machine.target import Target
from kcompiler.targets.rebel import isa
from kcompiler.targets.rebel.chip import CHIP
from kcompiler.targets.rebel.legality import CONSTRAINTS
from kcompiler.targets.rebel.lowering import Lowering


@dataclass(frozen=True)
class RebelTarget(Target):
    """The modelled Rebel100 as a target."""

    def lower(
        self,
        kernel: Kernel,
        bindings: Mapping[str, Binding],
        addresses: Mapping[str, tuple[int, ...]],
    ) -> tuple[isa.Rebel, ...]:
        """The kernel's instructions, without waits."""
        return tuple(Lowering(self.chip, kernel, bindings, addresses).block(kernel.body))

    def wait(self, queue: str, engine: str, count: int, all_cores: bool) -> isa.Rebel:
        """A `sync.wait`."""
        return isa.SyncWait(queue=queue, on=engine, count=count, all_cores=int(all_cores))


TARGET = RebelTarget("rebel", CHIP, isa.Rebel, ("f16", "bf16", "f32"), CONSTRAINTS)
