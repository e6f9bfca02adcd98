"""Rebellions' Rebel100 ("REBEL-Quad"), modelled from public facts; see README.md."""

from __future__ import annotations

from kcompiler.machine.generic.constraints import CONSTRAINTS
from kcompiler.machine.generic.target import GenericTarget
from kcompiler.targets.rebel.chip import CHIP
from kcompiler.targets.rebel.isa import INSTRUCTIONS, Rebel

PRECISIONS = (
    *("f16", "bf16", "f32", "int8", "mixed", "fp8"),
    *("int8-weights", "int4-weights", "fp8-weights"),
)
TARGET = GenericTarget("rebel", CHIP, Rebel, PRECISIONS, CONSTRAINTS, instructions=INSTRUCTIONS)
