"""Predict the latencies that are published for FuriosaAI's Warboy, and compare.

    python -m benchmarks.warboy [--fit] [--write] [NAME ...]
    python -m benchmarks.warboy --rates [NAME ...]

Every second row of each target, in the order of the published tables, serves to fit three
parameters of the chip (`PARAMETERS`), the others are held back. Without an option the table is
printed for the chip as it is; with `--fit` for parameters that are looked for anew. `--write`
records the table that `kcompile targets warboy --calibration` prints, always the whole of it, and
with it the parameters, which the chip reads from there; `--rates` prints which part of the chip's
peak a published time means, and the time predicted without `sustained`. Names keep the rows whose
text contains all of them. With --fit --write: about five minutes.

A network runs on the NPU alone, int8 in and out. Where a measurement includes the transfers over
PCIe, the prediction adds one for the inputs and one for the outputs. A batch runs as a whole or in
equal parts one after the other, whichever takes less time at the full rate: where all pictures do
not fit on the chip together, fewer at once are faster.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from rich.console import Console

from benchmarks.architectures import NETWORKS
from benchmarks.models import ROOT
from kcompiler.compilation import NpuSegment
from kcompiler.compiler import Options, compile_model
from kcompiler.machine.chip import Chip
from kcompiler.machine.crossing import link_seconds
from kcompiler.machine.facts import facts
from kcompiler.machine.instruction import Isa
from kcompiler.machine.measured import Measured, Parameter, Row, write_measured
from kcompiler.machine.program import Program
from kcompiler.machine.simulator.time import simulate_time
from kcompiler.machine.target import Target
from kcompiler.registry import find_target
from kcompiler.report.measured import measured_table
from kcompiler.targets.warboy.engines import DotEngine

FILE = ROOT / "targets" / "warboy" / "calibration.json"
ONE, BOTH = "warboy", "warboy-2pe"
PARAMETERS = (
    ("matrix.sustained", ONE, "the part of the rate that real programs reach"),
    ("matrix.sustained", BOTH, "the same for both elements fused"),
    ("host.bandwidth", BOTH, "bytes/s over PCIe, layouts changed on the way"),
)
DIGITS = 3  # of a parameter: more would claim that it is known so well
SUSTAINED = np.geomspace(0.15, 1.0, 7)
LINK = np.geomspace(1e9, 16e9, 33)


@dataclass(frozen=True)
class Published:
    """A published time of a network: `milliseconds` for a batch on a target.

    `link`: it includes the transfers over PCIe. `shared`: so many processing elements work at once
    on batches of their own and share the DRAM.
    """

    what: str
    network: str
    target: str
    milliseconds: float
    source: str
    batch: int = 1
    link: bool = True
    shared: int = 1


_MLPERF = "MLPerf Inference v2.0, closed, edge: means, and batches on both elements [ML20]"
_PROFILE = "profiler.rst of the SDK's documentation [FSDK]"
_ZOO = "README of warboy-vision-models [WVM]"
_YOLO = {
    "yolov5n": (1.09, 1.26), "yolov5s": (1.93, 2.45), "yolov5m": (4.44, 5.88),
    "yolov5l": (7.70, 10.33), "yolov5x": (14.39, 20.49), "yolov8n": (1.51, 1.89),
    "yolov8s": (2.97, 4.17), "yolov8m": (8.22, 11.67), "yolov8l": (15.22, 24.69),
    "yolov8x": (26.81, None),
}  # fmt: skip


def published() -> Iterator[Published]:
    """All rows, in the order of their sources."""
    for network, mean, throughput, batch in (
        ("resnet50-v1.5", 0.7119, 2758.4, 8),
        ("ssd-mobilenet-v1", 0.3621, 8762.2, 8),
        ("ssd-resnet34", 13.357, None, 1),
    ):
        yield Published(f"{network} SingleStream", network, BOTH, mean, _MLPERF)
        if throughput is not None:
            what = f"{network} Offline, batch {batch}"
            time = 2e3 * batch / throughput  # one on each of two elements
            yield Published(what, network, ONE, time, _MLPERF, batch, link=False, shared=2)
    for network, (fused, single) in _YOLO.items():
        yield Published(f"{network} 640 x 640", network, BOTH, fused, _ZOO)
        if single is not None:
            yield Published(f"{network} 640 x 640", network, ONE, single, _ZOO)
    yield Published(
        "mobilenet-v1, all operators", "mobilenet-v1", ONE, 0.108134, _PROFILE, link=False
    )


def halves() -> tuple[list[Published], list[Published]]:
    """(rows to fit, rows held back): of each target's rows, in their order, every second one."""
    found: tuple[list[Published], list[Published]] = ([], [])
    for target in (ONE, BOTH):
        for number, row in enumerate(r for r in published() if r.target == target):
            found[number % 2].append(row)
    return found


@cache
def program_of(network: str, target: str, batch: int) -> Program:
    """A network's program: one segment, all of it on the NPU."""
    model = NETWORKS[network](batch).model()
    segments = compile_model(model, find_target(target), Options()).segments
    (segment,) = segments
    if not isinstance(segment, NpuSegment):
        raise TypeError(f"{network}: the host runs it")
    return segment.program


@lru_cache(maxsize=1)
def code_of(network: str, target: str, batch: int) -> Sequence[Isa]:
    """The instructions of a program: decoding takes longer than one simulation."""
    return find_target(target).isa.decode_program(program_of(network, target, batch).code)


@cache
def parts_of(row: Published) -> int:
    """In how many parts a batch runs fastest, whatever the fitted parameters are."""
    chip = with_sustained(find_target(row.target).chip, 1.0)
    parts = [n for n in range(1, row.batch + 1) if row.batch % n == 0]
    return min(parts, key=lambda n: n * _run(row, chip, row.batch // n)) if parts[1:] else 1


def seconds(row: Published, chip: Chip) -> float:
    """The predicted time of a row on a chip, whose parameters may differ from the target's."""
    parts = parts_of(row)
    return parts * _run(row, chip, row.batch // parts) + link(row, chip)


def _run(row: Published, chip: Chip, batch: int) -> float:
    """The time of one run on the NPU."""
    memories = tuple(
        replace(m, bandwidth=replace(m.bandwidth, value=m.bandwidth.value / row.shared))
        if m.name == chip.dram
        else m
        for m in chip.memories
    )
    key = row.network, row.target, batch
    target: Target = replace(find_target(row.target), chip=replace(chip, memories=memories))
    return simulate_time(program_of(*key), target, code_of(*key)).seconds


def link(row: Published, chip: Chip) -> float:
    """The time of its transfers over PCIe."""
    if not row.link:
        return 0.0
    parts = parts_of(row)
    program = program_of(row.network, row.target, row.batch // parts)
    moved = [sum(b.nbytes for b in part) for part in (program.inputs, program.outputs)]
    return parts * link_seconds(moved, chip.host)


def with_sustained(chip: Chip, value: float) -> Chip:
    """The chip with another part of its rate."""
    if not isinstance(chip.matrix, DotEngine):
        raise TypeError(f"{chip.name} has no dot products")
    engine = replace(chip.matrix, sustained=replace(chip.matrix.sustained, value=value))
    return replace(chip, matrix=engine)


def with_link(chip: Chip, value: float) -> Chip:
    """The chip with another bandwidth of its link."""
    if chip.host is None:
        raise TypeError(f"{chip.name} has no link")
    return replace(
        chip, host=replace(chip.host, bandwidth=replace(chip.host.bandwidth, value=value))
    )


def fit(rows: Sequence[Published]) -> tuple[Parameter, ...]:
    """The parameters with the least sum of squared logarithms of predicted over published.

    Times between those that were simulated are interpolated.
    """
    sustained = np.geomspace(SUSTAINED[0], SUSTAINED[-1], 191)
    errors = {target: np.zeros((len(sustained), len(LINK))) for target in (ONE, BOTH)}
    for row in rows:
        chip = find_target(row.target).chip
        alone = replace(row, link=False)
        npu = np.log([seconds(alone, with_sustained(chip, s)) for s in SUSTAINED])
        npu = np.exp(np.interp(np.log(sustained), np.log(SUSTAINED), npu))
        predicted = npu[:, None] + [link(row, with_link(chip, b)) for b in LINK]
        errors[row.target] += np.log(predicted / (row.milliseconds / 1e3)) ** 2
        print(".", end="", flush=True, file=sys.stderr)
    best = int((errors[ONE].min(0) + errors[BOTH].min(0)).argmin())
    one, both = (float(sustained[errors[t][:, best].argmin()]) for t in (ONE, BOTH))
    found = zip(PARAMETERS, (one, both, float(LINK[best])), strict=True)
    return tuple(
        Parameter(fact, target, float(f"{value:.{DIGITS}g}"), meaning)
        for (fact, target, meaning), value in found
    )


def parameters() -> tuple[Parameter, ...]:
    """The parameters as the chip has them."""
    return tuple(
        Parameter(fact, target, float(facts(find_target(target).chip)[fact].value), meaning)
        for fact, target, meaning in PARAMETERS
    )


def chip_with(target: str, fitted: Sequence[Parameter]) -> Chip:
    """The chip of a target with these parameters."""
    values = {(p.fact, p.target): p.value for p in fitted}
    chip = with_sustained(find_target(target).chip, values["matrix.sustained", target])
    return with_link(chip, values["host.bandwidth", BOTH])


def measured(rows: Sequence[Published], fitted: Sequence[Parameter]) -> Measured:
    """The table for the chip with these parameters."""
    found, chosen = [], halves()[0]
    for row in rows:
        predicted = seconds(row, chip_with(row.target, fitted))
        time = row.milliseconds / 1e3
        found.append(Row(row.what, row.target, time, row.source, predicted, row in chosen))
    return Measured(tuple(fitted), tuple(found))


def rates(row: Published) -> str:
    """A line: the part of the peak that the published time means, the time without `sustained`."""
    chip = find_target(row.target).chip
    cells = chip.matrix.rows.value * chip.matrix.columns.value * chip.cores.value
    parts = parts_of(row)
    program = program_of(row.network, row.target, row.batch // parts)
    macs = parts * sum(kernel.macs for kernel in program.kernels)
    part = macs / (row.milliseconds / 1e3 * cells * chip.clock.value)
    without = 1e3 * seconds(row, with_sustained(chip, 1.0))
    return (
        f"{row.what} on {row.target}: {row.milliseconds:.4g} ms are {part:.1%} of the peak; "
        f"without sustained {without:.4g} ms predicted"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table or the rates."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.warboy",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--fit", action="store_true", help="look for the parameters anew")
    parser.add_argument("--write", action="store_true", help="record table and parameters")
    parser.add_argument("--rates", action="store_true", help="parts of the peak instead")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args(arguments)
    if options.write and (options.names or options.rates):
        parser.error("--write records every row: leave the names out, and --rates")
    chosen = [
        r for r in published() if all(name in f"{r.what} {r.target}" for name in options.names)
    ]
    if options.rates:
        for row in chosen:
            print(rates(row))
        return 0
    table = measured(chosen, fit(halves()[0]) if options.fit else parameters())
    Console(width=160).print(measured_table(table))
    if options.write:
        write_measured(table, FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
