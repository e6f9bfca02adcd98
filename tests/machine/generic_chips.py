"""Chips of no vendor, to compile for on the generic core."""

from collections.abc import Mapping
from typing import Any

from kcompiler.machine.chip import Chip, DmaEngine, MacRate, MatrixEngine, Memory, VectorEngine
from kcompiler.machine.facts import Fact


def known(value: Any) -> Fact[Any]:
    return Fact(value, "A", "a test")


def chip(
    *,
    cores: int = 2,
    pad: int = 64 << 10,
    shared: int | None = 1 << 20,
    rates: Mapping[str, float] | None = None,
    array: int = 16,
    lanes: int = 16,
    alignment: int = 16,
    overlap: bool = True,
) -> Chip:
    """A small chip; no `shared`: a chip without such a memory."""
    memories = [
        Memory("pad", known(pad), known(64.0), known(4), known(alignment), per_core=True),
        Memory("ddr", known(1 << 30), known(16.0), known(100), known(64)),
    ]
    if shared is not None:
        memories.append(Memory("l2", known(shared), known(64.0), known(20), known(64)))
    given = {"f16": 1.0, "i8": 2.0, "u8": 2.0} if rates is None else rates
    return Chip(
        name="own",
        title="A test's chip",
        clock=known(1e9),
        cores=known(cores),
        matrix=MatrixEngine(
            "matrix",
            known(array),
            known(array),
            tuple(MacRate(name, known(rate)) for name, rate in given.items()),
            overlap,
            known(10),
        ),
        vector=VectorEngine("vector", known(lanes), known(4), known(10)),
        dma=DmaEngine("dma", known(16.0), known(32), known(10)),
        memories=tuple(memories),
        scratchpad="pad",
        dram="ddr",
        shared=None if shared is None else "l2",
        sync_cycles=known(10),
    )
