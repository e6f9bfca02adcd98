"""Compile float models in int8 for a chip of bytes, verify them, and say what the host keeps.

    python -m benchmarks.int8 [--target warboy] [--models FOLDER] [--runs 8] [--observer auto]
                              [NAME ...]

Each model is calibrated on some runs' inputs (column `data`: natural ones of the kind named, else
random ones, which say nothing of accuracy) and verified on another. `SQNR` is that of the worst
output beside onnxruntime's float32. `same bits` counts the kernels whose result on the simulated
program, on the tiled kernel run as written and on the graph are equal bit for bit, of all kernels
of the NPU. Times are predicted: the NPU's, and that of transfers over the link. Below the table
stands why the host keeps what it keeps. Exit code 1 when a model does not verify or a bit differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kcompiler
from benchmarks.inputs import INPUTS, Array, natural_inputs
from benchmarks.models import MODELS, ROOT, SHARED, VARIANTS, Model, find, obtain
from benchmarks.table import samples
from kcompiler.compilation import HostSegment
from kcompiler.graph.node import Constant
from kcompiler.kernel.interpreter import run_kernel
from kcompiler.runtime import Executor
from kcompiler.verify.kernels import Plan

if TYPE_CHECKING:
    from kcompiler.api import CompiledModel
    from kcompiler.build import Part
    from kcompiler.machine.program import KernelInfo
    from kcompiler.machine.simulator.function import Simulation

Feeds = dict[str, Array]
RUNS = 8
SHOWN = 3  # nodes of a group
QUANTIZED = ("-qdq", "-qop")  # in a model's name: its scales are its own
FLOATS = tuple(m for m in (*MODELS, *VARIANTS) if not any(q in m.name for q in QUANTIZED))
COLUMNS = (
    ("model", 28), ("data", 14), ("NPU/host", 8), ("MACs NPU", 8), ("SQNR dB", 7), ("NPU ms", 8),
    ("link ms", 7), ("same bits", 9), ("compile s", 9), ("verify s", 8), ("ok", 3),
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Inputs of a model: runs to calibrate on, what they are, and another run to verify with."""

    kind: str
    runs: tuple[Feeds, ...]
    witness: Feeds


@dataclass
class Bits:
    """Counts kernels whose result is the same in program, tiled kernel and graph."""

    model: CompiledModel
    total: int = 0
    differing: list[str] = field(default_factory=list)
    _plans: dict[int, tuple[Plan, tuple[Part, ...]]] = field(default_factory=dict)
    _expected: list[tuple[str, Array]] = field(default_factory=list)

    def before(self, segment: int, machine: Simulation, kernel: KernelInfo) -> None:
        """What the operands give: the kernel may write over them."""
        if segment not in self._plans:
            plan = Plan.of(self.model.compilation, segment)
            self._plans[segment] = plan, self.model.parts(plan.segment)
        plan, parts = self._plans[segment]
        part, fused = parts[plan.numbers[kernel.first]], plan.fused(kernel)
        places = zip(part.bound.operands, kernel.inputs, strict=True)
        values = [o.value if isinstance(o, Constant) else machine.get(at) for o, at in places]
        tiled = run_kernel(part.kernel, dict(zip(part.operand_names, values, strict=True)))
        graph = fused.evaluate(*plan.operands(fused, machine))
        self._expected = [("tiled kernel", tiled), ("graph", graph)]

    def after(self, segment: int, machine: Simulation, kernel: KernelInfo) -> None:
        """Compare the program's result with both."""
        found = machine.get(kernel.output)
        self.total += 1
        wrong = [level for level, value in self._expected if value.tobytes() != found.tobytes()]
        if wrong:
            self.differing.append(f"{segment}/{kernel.name} differs from its {', '.join(wrong)}")

    def __str__(self) -> str:
        return f"{self.total - len(self.differing)}/{self.total}"


def data_of(model: Model, path: Path, runs: int) -> Data:
    """The data of a model: random numbers take the place of what is not natural."""
    folder = SHARED / "data"
    found = [samples(model, path, natural_inputs(model.name, folder, n)) for n in range(runs + 1)]
    if model.name in INPUTS:
        return Data(f"{runs} {INPUTS[model.name].kind}", tuple(found[1:]), found[0])
    return Data(f"{runs} random", tuple(_rolled(f, n) for n, f in enumerate(found))[1:], found[0])


def _rolled(feeds: Feeds, number: int) -> Feeds:
    """The same numbers in another order."""
    return {n: np.roll(v.ravel(), 37 * number).reshape(v.shape) for n, v in feeds.items()}


@dataclass(frozen=True)
class Result:
    """What became of a model."""

    model: str
    data: str
    compiled: CompiledModel
    bits: Bits
    seconds: float  # of verification

    @property
    def ok(self) -> bool:
        """Whether it verifies and no bit differs."""
        found = self.compiled.verification
        return found is not None and found.ok and not self.bits.differing

    def row(self) -> str:
        """A line of the table."""
        report = self.compiled.report()
        outputs = () if report.verification is None else report.verification.outputs.values()
        ratios = [o.sqnr_db for o in outputs if o.sqnr_db is not None]
        cells = (
            self.model,
            self.data,
            f"{report.npu_nodes}/{report.host_nodes}",
            f"{100 * report.mac_share:.2f}%",
            f"{min(ratios):.1f}" if ratios else "exact",
            f"{1e3 * report.seconds:.3f}",
            f"{1e3 * report.link_seconds:.3f}",
            str(self.bits),
            f"{report.cost.cpu_seconds:.1f}" if report.cost else "",
            f"{self.seconds:.1f}",
            "yes" if self.ok else "NO",
        )
        return _line(cells)

    def reasons(self) -> Iterator[str]:
        """Why the host keeps what it keeps, and what is wrong."""
        hosts = [s for s in self.compiled.compilation.segments if isinstance(s, HostSegment)]
        beside = frozenset[str]().union(*(s.beside for s in hosts))
        groups: dict[str, list[tuple[str, str]]] = {}
        for node, kind, why in dict.fromkeys(o for s in hosts for o in s.operators):
            general = _general(why, beside=node in beside)
            groups.setdefault(general, []).append((node, kind))
        for why, nodes in groups.items():
            names = ", ".join(node for node, _ in nodes[:SHOWN])
            more = f" and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
            yield f"    {why} [{names}{more}]"
        found = self.compiled.verification
        if found is not None and found.first_failure is not None:
            yield f"    FAILS: {found.first_failure.text}"
        yield from (f"    DIFFERS: {text}" for text in self.bits.differing)


def _general(why: str, *, beside: bool) -> str:
    """A reason without the shapes or the times of one node."""
    if beside:
        return f"{why.partition(':')[0]}: crossing the link would take longer."
    return why.partition(" (Here")[0]


def _line(cells: Sequence[Any]) -> str:
    return " ".join(f"{c:<{w}}" for c, (_, w) in zip(cells, COLUMNS, strict=True)).rstrip()


def measure(
    model: Model, path: Path, target: str, runs: int = RUNS, observer: str = "auto"
) -> Result:
    """Compile and verify one model."""
    data = data_of(model, path, runs)
    compiled = kcompiler.compile(
        path,
        target,
        precision="int8",
        dims=dict(model.dims),
        shapes=model.shapes,
        values={name: np.asarray(v) for name, v in model.values.items()},
        calibration=data.runs,
        quantization=kcompiler.Quantization(observer=observer),
    )
    start = time.process_time()
    compiled.verify(data.witness)
    bits = Bits(compiled)
    executor = Executor(compiled.compilation, compiled.target)
    executor.run(data.witness, bits.before, bits.after)
    return Result(model.name, data.kind, compiled, bits, time.process_time() - start)


def main() -> int:
    """Print the table, and below it the reasons."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.int8",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--target", default="warboy")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "models")
    parser.add_argument("--runs", type=int, default=RUNS, help="to calibrate on")
    parser.add_argument("--observer", default="auto", help="what chooses ranges")
    parser.add_argument("names", nargs="*", choices=[[], *(m.name for m in FLOATS)], metavar="NAME")
    options = parser.parse_args()
    print(_line([name for name, _ in COLUMNS]))
    good, reasons = True, []
    for model in [find(n) for n in options.names] or FLOATS:
        path = obtain(model, options.models).resolve()
        result = measure(model, path, options.target, options.runs, options.observer)
        print(result.row(), flush=True)
        reasons += [result.model, *result.reasons()]
        good = good and result.ok
    print("\nOn the host:", *reasons, sep="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
