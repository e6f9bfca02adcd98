"""Warboy as modelled: every number with its tag and its source.

Tags: `kcompiler.machine.facts.TAGS`. Keys in brackets: the list of sources in README.md. FuriosaAI
published its own compiler's machine description [ML11], whose keys the sources name; what it leaves
open is assumed (tag A) or fitted (tag F, read from the table of measurements that they were fitted
to), and README.md argues the assumptions.
"""

from __future__ import annotations

from pathlib import Path

from kcompiler.machine.chip import Chip, DmaEngine, HostLink, MacRate, Memory
from kcompiler.machine.facts import Fact
from kcompiler.machine.measured import read_measured
from kcompiler.targets.warboy.engines import DotEngine, TableEngine

_KIB = 1 << 10
_CLOCK = 2e9
_SLICE = 256 * _KIB  # SRAM of a slice
_BUFFERS = 128 * _KIB  # of which a kernel's tiles take up to so much
_FETCH = 16  # bytes a cycle into a slice
_WARM_UP = 20 + 2
MEASURED = Path(__file__).with_name("calibration.json")
_FIT = {(p.fact, p.target): p.value for p in read_measured(MEASURED).parameters}
_FITTED = "fitted to half of the published latencies (calibration.json)"

VECTOR = TableEngine(
    name="ve",
    lanes=Fact(8, "A", "not public: as many bytes as sram_access_width 8 [ML11] gives a cycle"),
    special=Fact(4, "A", "not public: a function without a table takes four passes"),
    startup=Fact(_WARM_UP, "D", "warmup_base 20 + ctrl_delay 2 [ML11]"),
    ports=Fact(2, "P", "num_table_ports [ML11]: look-ups of a byte in a cycle"),
)

DMA = DmaEngine(
    name="dma",
    per_core_bandwidth=Fact(float(_FETCH), "P", "fetch_network_width [ML11]"),
    burst=Fact(8, "P", "sram_access_width [ML11]"),
    startup=Fact(_WARM_UP, "D", "warmup_base 20 + ctrl_delay 2 [ML11]"),
)

DRAM = Memory(
    name="dram",
    size=Fact(16 << 30, "P", "size_dram [ML11]"),
    bandwidth=Fact(66e9 / _CLOCK, "D", "66 GB/s [FSDK] over the clock"),
    latency=Fact(200, "A", "not public: about 100 ns from request to data"),
    alignment=Fact(64, "P", "io_alignment [ML11]"),
)

_LANE = 16e9 * 128 / 130 / 8  # bytes a second of a PCIe 4.0 lane
HOST = HostLink(
    bandwidth=Fact(
        _FIT["host.bandwidth", "warboy-2pe"],
        "F",
        _FITTED,
    ),
    latency=Fact(5e-6, "A", "not public: a driver's call, a doorbell and a DMA over PCIe"),
    macs=Fact(2e11, "A", "of the host, which is the user's: a few cores with wide vectors"),
    memory=Fact(2e10, "A", "of the host, which is the user's: one thread streaming"),
    dispatch=Fact(5e-6, "A", "of the host: one operator of onnxruntime"),
    peak=Fact(8 * _LANE, "D", "PCIe 4.0 x8 [FSDK]: 16 GT/s a lane, 128b/130b encoding"),
)


def _dot(chip: str) -> DotEngine:
    return DotEngine(
        name="te",
        rows=Fact(32, "P", "mac_width [ML11]: the length of a dot product"),
        columns=Fact(4, "P", "mac_height [ML11]: dot products side by side, one for each output"),
        rates=(
            MacRate(
                "i8", Fact(1.0, "D", "128 slices x 128 MAC x 2.0 GHz is the published 64 TOPS")
            ),
            MacRate("u8", Fact(1.0, "D", "as i8: the width is the same")),
        ),
        overlap_fill=True,
        startup=Fact(
            _WARM_UP + 16,
            "D",
            "warmup_base 20 + ctrl_delay 2 + 128 bytes of weights at te_io_width 8 [ML11]",
        ),
        registers=Fact(8192, "P", "register_file_size [ML11]: bytes of weights in a slice"),
        weight_port=Fact(8, "P", "te_io_width [ML11]: bytes of weights a cycle into the registers"),
        feed=Fact(
            _FETCH, "P", "fetch_network_width [ML11]: bytes of data a cycle into the shifter"
        ),
        shifter=Fact(
            48, "P", "shift_register_width [ML11]: a dot product's data and the next bytes"
        ),
        sustained=Fact(_FIT["matrix.sustained", chip], "F", _FITTED),
    )


def _chip(name: str, title: str, slices: int) -> Chip:
    """One processing element, or both as one: what differs is the number of slices."""
    buffers = Memory(
        name="buffers",
        size=Fact(_BUFFERS, "A", "half of size_actual_sram_slice 262144 [ML11]"),
        bandwidth=Fact(64.0, "A", "not public: data, weights and results of a slice each cycle"),
        latency=Fact(2, "P", "ctrl_delay [ML11]"),
        alignment=Fact(8, "P", "sram_access_width [ML11]"),
        per_core=True,
    )
    sram = Memory(
        name="sram",
        size=Fact((_SLICE - _BUFFERS) * slices, "A", "the other half, over all slices"),
        bandwidth=Fact(
            float(_FETCH * slices), "D", f"fetch_network_width [ML11] x {slices} slices"
        ),
        latency=Fact(
            20 + 2 * 8, "A", "warmup_base + hop_cycles x 8 hops [ML11]; the hops are not public"
        ),
        alignment=Fact(64, "P", "io_alignment [ML11]"),
    )
    return Chip(
        name=name,
        title=title,
        clock=Fact(_CLOCK, "P", "2.0 GHz [FSDK]"),
        cores=Fact(slices, "P", "num_slices [ML11]"),
        matrix=_dot(name),
        vector=VECTOR,
        dma=DMA,
        memories=(buffers, sram, DRAM),
        scratchpad="buffers",
        dram="dram",
        shared="sram",
        sync_cycles=Fact(18, "A", "ctrl_delay + hop_cycles x 8 hops [ML11]; the hops assumed"),
        calibrated="calibrated with published latencies (kcompile targets warboy --calibration)",
        host=HOST,
    )


CHIP = _chip("warboy", "FuriosaAI Warboy, one processing element", 64)
FUSED = _chip("warboy-2pe", "FuriosaAI Warboy, both processing elements fused", 128)
