"""Rebel100 as modelled: every number with its tag and its source.

Tags: `kcompiler.machine.facts.TAGS`. Keys in brackets: the list of sources in README.md. What is
not public is assumed (tag A); the assumptions are chosen so that the published peak closes, and
README.md argues them.
"""

from __future__ import annotations

from kcompiler.machine.chip import (
    Chip,
    DmaEngine,
    HostLink,
    MacRate,
    MatrixEngine,
    Memory,
    VectorEngine,
)
from kcompiler.machine.facts import Fact

_MIB = 1 << 20
_GIB = 1 << 30

_CORES = 64
_ARRAY = 64  # rows and columns
_PEAK = 1e15  # FP16 operations a second, a multiply and an add for each MAC
_CLOCK = _PEAK / (2 * _CORES * _ARRAY * _ARRAY)  # 1.907 GHz
_HBM = 4.8e12  # bytes a second
_DIE_TO_DIE = 4e12

_NO_RATE = "no rate is published for this type: assumed"

MATRIX = MatrixEngine(
    name="matrix",
    rows=Fact(_ARRAY, "A", "array dimensions are not public (U); 64 x 64 assumed"),
    columns=Fact(_ARRAY, "A", "array dimensions are not public (U); 64 x 64 assumed"),
    rates=(
        MacRate("f16", Fact(1.0, "P2", "1 PF FP16 [ISSCC26]: the unit of these rates")),
        MacRate("bf16", Fact(1.0, "A", f"{_NO_RATE} as f16; bf16 is used by the software [VRB]")),
        MacRate("f8e4m3fn", Fact(2.0, "P2", "2 PF FP8 dense [ISSCC26]")),
        MacRate(
            "f8e5m2", Fact(2.0, "P2", "2 PF FP8 dense [ISSCC26]; which of the formats is not said")
        ),
        MacRate("i8", Fact(2.0, "A", f"{_NO_RATE} as fp8, operands of the same width")),
        MacRate("u8", Fact(2.0, "A", f"{_NO_RATE} as fp8, operands of the same width")),
        MacRate(
            "f32",
            Fact(0.25, "A", f"{_NO_RATE} four passes; FP8/FP16/FP32 in one core is published"),
        ),
    ),
    overlap_fill=True,
    startup=Fact(32, "A", "not public: a task's issue to the array"),
)

VECTOR = VectorEngine(
    name="vector",
    lanes=Fact(_ARRAY, "A", "vector width is not public (U); one lane for each array column"),
    special=Fact(4, "A", "not public: a transcendental takes four times a plain micro-operation"),
    startup=Fact(32, "A", "not public: a task's issue to the vector unit"),
)

DMA = DmaEngine(
    name="dma",
    per_core_bandwidth=Fact(
        64.0, "A", "not public: one 64-byte flit a cycle into each core's mesh port"
    ),
    burst=Fact(64, "A", "not public: an HBM3E access moves 64 bytes"),
    startup=Fact(64, "A", "not public: decoding a descriptor"),
)

L1 = Memory(
    name="l1",
    size=Fact(4 * _MIB, "D", "64 MB L1 per die [RNOTE2] over 16 cores"),
    bandwidth=Fact(512.0, "A", "not public: both operands and the sums of the array each cycle"),
    latency=Fact(8, "A", "not public"),
    alignment=Fact(64, "A", "not public: one flit"),
    per_core=True,
)

SHM = Memory(
    name="shm",
    size=Fact(
        4 * 64 * _MIB, "D", "64 MB L2 per die [RNOTE2] x 4 dies, striped into one address space"
    ),
    bandwidth=Fact(
        _DIE_TO_DIE / 0.75 / _CLOCK,
        "A",
        "not public: 3/4 of striped accesses cross dies, which 4 TB/s of UCIe [ISSCC26] carry",
    ),
    latency=Fact(
        200, "A", "not public: about 100 ns over the mesh; 11 ns of it die to die [ISSCC26]"
    ),
    alignment=Fact(64, "A", "not public: one flit"),
)

HBM = Memory(
    name="hbm",
    size=Fact((144 - 4) * _GIB, "D", "144 GB HBM3E, of which software reserves 4 GB [VRB]"),
    bandwidth=Fact(_HBM / _CLOCK, "D", "4.8 TB/s (published) over the assumed clock"),
    latency=Fact(600, "A", "not public: about 300 ns from request to data"),
    alignment=Fact(512, "A", "512 is the device allocation unit of earlier chips [TRB]"),
)

_LANE = 32e9 * 128 / 130 / 8  # bytes a second of a PCIe 5.0 lane
HOST = HostLink(
    bandwidth=Fact(
        16 * _LANE, "D", "one of two PCIe 5.0 x16 (published): 32 GT/s a lane, 128b/130b encoding"
    ),
    latency=Fact(5e-6, "A", "not public: a driver's call, a doorbell and a DMA over PCIe"),
    macs=Fact(2e11, "A", "of the host, which is the user's: a few cores with wide vectors"),
    memory=Fact(2e10, "A", "of the host, which is the user's: one thread streaming"),
    dispatch=Fact(5e-6, "A", "of the host: one operator of onnxruntime"),
)

CHIP = Chip(
    name="rebel",
    title="Rebellions Rebel100 (REBEL-Quad)",
    clock=Fact(
        _CLOCK,
        "A",
        "not public (U): 1 PF FP16 / (2 x 64 cores x 64 x 64 MAC), so that the peak closes",
    ),
    cores=Fact(_CORES, "D", "4 dies x 16 neural cores [ISSCC26] [RNOTE2]"),
    matrix=MATRIX,
    vector=VECTOR,
    dma=DMA,
    memories=(L1, SHM, HBM),
    scratchpad="l1",
    dram="hbm",
    shared="shm",
    sync_cycles=Fact(
        100,
        "A",
        "not public: a synchronization manager per die [RDOC], 11 ns apart [ISSCC26]",
    ),
    calibrated="not calibrated",
    host=HOST,
    dies=Fact(4, "P2", "4 homogeneous dies [ISSCC26]"),
)
