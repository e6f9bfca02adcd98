"""Measure how fast kcompiler is, and print each figure with its limit.

    python -m benchmarks.speed [--models FOLDER] [--repeat N]

Everything runs in fresh processes, whose CPU seconds and peak resident set the system counts:
imports belong to the figure. The figure is the median of N runs (of the ratios, for the ratio).
Exit code 1 when a limit is exceeded. The limits hold on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.models import ROOT, find, obtain
from benchmarks.stack import write_stack

RESNET = "resnet50-v1.5-dynamo"
SIMULATE = """
import resource, sys
import numpy as np
import kcompiler
session = kcompiler.Session(sys.argv[1])
feeds = {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs()}
before = resource.getrusage(resource.RUSAGE_SELF)
session.run(None, feeds)
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float
    output: str


@dataclass(frozen=True)
class Figure:
    """A measured value and the most that it may be."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def ok(self) -> bool:
        """Whether the limit holds."""
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "pass" if self.ok else "FAIL"
        return f"{self.what:58} {self.value:8.2f} {self.unit:4} of {self.limit:6.2f}  {verdict}"


def cost_of(command: Sequence[str]) -> Cost:
    """Run a command to its end and say what it took; raises `CalledProcessError`."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, list(command), text)
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    wall = time.perf_counter() - start
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / scale, text)


def kcompile(model: Path, package: Path) -> list[str]:
    """The command that compiles a model without verifying it."""
    command = [sys.executable, "-m", "kcompiler.cli", str(model), "--target", "rebel"]
    return [*command, "--no-verify", "-o", str(package)]


def repeated(times: int, command: Sequence[str]) -> list[Cost]:
    """The costs of several runs."""
    return [cost_of(command) for _ in range(times)]


def resnet(models: Path, folder: Path, times: int) -> list[Figure]:
    """Compiling and simulating ResNet-50."""
    path = obtain(find(RESNET), models).resolve()
    package = folder / "resnet.kpkg"
    compiled = repeated(times, kcompile(path, package))
    simulated = repeated(times, [sys.executable, "-c", SIMULATE, str(package)])
    return [
        Figure(f"{RESNET}: compile, CPU", median(c.cpu_seconds for c in compiled), 8, "s"),
        Figure(f"{RESNET}: compile, peak resident", median(c.peak_mb for c in compiled), 800, "MB"),
        Figure(
            f"{RESNET}: simulate one inference, CPU",
            median(float(c.output) for c in simulated), 6, "s",
        ),
    ]  # fmt: skip


def help_text(_: Path, __: Path, times: int) -> list[Figure]:
    """`kcompile --help`; one more run first, which may have to write byte code."""
    command = [sys.executable, "-m", "kcompiler.cli", "--help"]
    costs = repeated(times + 1, command)[1:]
    return [Figure("kcompile --help, wall", median(c.wall_seconds for c in costs), 0.3, "s")]


def stack(_: Path, folder: Path, times: int) -> list[Figure]:
    """Twelve equal transformer layers beside two."""
    ratios = []
    models = [folder / f"stack{layers}.onnx" for layers in (2, 12)]
    for path, layers in zip(models, (2, 12), strict=True):
        write_stack(path, layers)
    for _run in range(times):
        few, many = (cost_of(kcompile(p, p.with_suffix(".kpkg"))).cpu_seconds for p in models)
        ratios.append(many / few)
    return [Figure("12 transformer layers beside 2: compile, CPU", median(ratios), 1.5, "x")]


PARTS: tuple[Callable[[Path, Path, int], list[Figure]], ...] = (help_text, stack, resnet)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "models")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            found += (figures := part(options.models, Path(folder), options.repeat))
            for figure in figures:
                print(figure, flush=True)
    return 0 if all(f.ok for f in found) else 1


if __name__ == "__main__":
    sys.exit(main())
