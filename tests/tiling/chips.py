"""Chips for tests: small enough that tiling matters."""

from __future__ import annotations

from kcompiler.machine.chip import Chip, DmaEngine, MacRate, MatrixEngine, Memory, VectorEngine
from kcompiler.machine.facts import Fact


def _int(value: int) -> Fact[int]:
    return Fact(value, "A", "a test's choice")


def _float(value: float) -> Fact[float]:
    return Fact(value, "A", "a test's choice")


RATES = tuple(MacRate(name, _float(1.0)) for name in ("f16", "bf16", "f32", "i8", "u8"))


def chip(
    *,
    cores: int = 4,
    scratchpad: int = 64 << 10,
    shared: int = 1 << 20,
    bandwidth: float = 16.0,
    array: tuple[int, int] = (16, 16),
    lanes: int = 16,
    overlap_fill: bool = True,
    startup: int = 16,
    burst: int = 32,
    port: float = 16.0,
) -> Chip:
    """A chip; `shared` = 0 leaves the shared memory out; `bandwidth` is that of dram."""
    memories = [
        Memory("sram", _int(scratchpad), _float(256.0), _int(4), _int(32), per_core=True),
        Memory("dram", _int(1 << 30), _float(bandwidth), _int(100), _int(64)),
    ]
    if shared:
        memories.append(Memory("l2", _int(shared), _float(4 * bandwidth), _int(30), _int(64)))
    return Chip(
        name="toy",
        title="Toy",
        clock=_float(1e9),
        cores=_int(cores),
        matrix=MatrixEngine(
            "matrix", _int(array[0]), _int(array[1]), RATES, overlap_fill, _int(startup)
        ),
        vector=VectorEngine("vector", _int(lanes), _int(4), _int(startup)),
        dma=DmaEngine("dma", _float(port), _int(burst), _int(startup)),
        memories=tuple(memories),
        scratchpad="sram",
        dram="dram",
        shared="l2" if shared else None,
        sync_cycles=_int(10),
    )
