"""Targets on the generic core: from a chip description alone, or with parts of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kcompiler.errors import UsageError
from kcompiler.kernel.statements import Kernel
from kcompiler.machine.chip import Chip
from kcompiler.machine.generic.constraints import CONSTRAINTS
from kcompiler.machine.generic.instructions import Instructions, too_narrow
from kcompiler.machine.generic.isa import INSTRUCTIONS, Generic
from kcompiler.machine.generic.lowering import Lowering
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import Binding
from kcompiler.machine.target import FLOATS, INTEGERS, Target


@dataclass(frozen=True)
class GenericTarget(Target):
    """A target whose kernels the generic lowering, or a subclass of it, turns into instructions.

    Instructions that do not reach all of the chip are a UsageError.
    """

    instructions: Instructions = INSTRUCTIONS
    lowering: type[Lowering] = Lowering

    def __post_init__(self) -> None:
        found = list(too_narrow(self.instructions, self.chip))
        if found:
            what = f"the instructions of {self.name} are too narrow for its chip"
            raise UsageError(what, why="\n".join(found), fix="declare these fields with more bits")

    def lower(
        self,
        kernel: Kernel,
        bindings: Mapping[str, Binding],
        addresses: Mapping[str, tuple[int, ...]],
    ) -> Sequence[Isa]:
        """The kernel's instructions, without waits."""
        way = self.lowering(self.chip, self.instructions, kernel, bindings, addresses)
        return tuple(way.block(kernel.body))

    def wait(self, queue: str, engine: str, count: int, all_cores: bool) -> Isa:
        """The target's wait."""
        return self.instructions.wait(queue=queue, on=engine, count=count, all_cores=int(all_cores))


def generic_target(chip: Chip) -> GenericTarget:
    """A whole target from a chip description: the generic instruction set, lowering and limits."""
    return GenericTarget(chip.name, chip, Generic, precisions(chip), CONSTRAINTS)


def precisions(chip: Chip) -> tuple[str, ...]:
    """Float types of tensors, the fastest on the array first, and what it has of 8 bits.

    f32 is always one: every vector unit has it.
    """
    rates = {rate.name: rate.rate.value for rate in chip.matrix.rates}
    found = sorted((name for name in FLOATS if name in rates), key=lambda name: -rates[name])
    integers = INTEGERS if "i8" in rates else ()
    floats = ("fp8",) if "f8e4m3fn" in rates else ()
    return (*dict.fromkeys((*found, "f32")), *integers, *floats)
