"""FuriosaAI's Warboy, modelled from public facts; see README.md."""

from __future__ import annotations

from kcompiler.machine.chip import Chip
from kcompiler.machine.generic.target import GenericTarget
from kcompiler.targets.warboy.chip import CHIP, FUSED, MEASURED
from kcompiler.targets.warboy.isa import Warboy
from kcompiler.targets.warboy.legality import CONSTRAINTS
from kcompiler.targets.warboy.lowering import Lowering
from kcompiler.targets.warboy.units import DRAM


def _target(chip: Chip) -> GenericTarget:
    return GenericTarget(
        chip.name,
        chip,
        Warboy,
        ("int8",),
        CONSTRAINTS,
        instructions=DRAM,
        lowering=Lowering,
        integer_only=True,
        measured=MEASURED,
    )


TARGET = _target(CHIP)
VARIANTS = (_target(FUSED),)
