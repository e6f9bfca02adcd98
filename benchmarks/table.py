"""Compile, simulate and verify the project's models for a target, and print the table.

    python -m benchmarks.table [--target rebel] [--calibrate] [--models FOLDER] [--json FILE]
        [--all] [NAME ...]

Each model runs as `kcompile MODEL --json` in a process of its own, on natural inputs where it has
some. Below the table stand the layers of the models whose outputs agree with onnxruntime to less
than 40 dB: where the error arises. Exit code 1 when a model does not verify, or has less than 99 %
of its multiply-accumulates on the NPU. `--calibrate` makes int8 models, which targets without
floats need: from the natural inputs where there are some, else from random ones, which say nothing
of accuracy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import natural_inputs
from benchmarks.models import MODELS, ROOT, SHARED, VARIANTS, Model, find, obtain
from kcompiler.compiler import Options, import_model
from kcompiler.graph.node import Array
from kcompiler.verify.inputs import sample_inputs

ENOUGH_DB = 40.0
"""An output below this is explained layer by layer."""
LEAST_SHARE = 0.99
SHOWN = 12  # layers of a model
COLUMNS = (
    ("model", 28), ("NPU/host", 8), ("MACs NPU", 8), ("us", 9), ("bound us", 9), ("DRAM MB", 8),
    ("compuls.", 8), ("SQNR dB", 7), ("max err", 8), ("cpu s", 5), ("ok", 3),
)  # fmt: skip


@contextmanager
def arguments(
    model: Model, path: Path, target: str, *, calibrate: bool = False
) -> Iterator[list[str]]:
    """The command that compiles a model; its input and package files live as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kcompiler.cli", str(path), "--target", target, "--json"]
        command += ["-o", str(Path(folder) / "model.kpkg")]
        command += [a for n, v in model.dims.items() for a in ("--dim", f"{n}={v}")]
        command += [a for n, v in model.values.items() for a in ("--value", f"{n}={v}")]
        for name, shape in model.shapes.items():
            command += ["--shape", f"{name}={','.join(map(str, shape))}"]
        natural = natural_inputs(model.name, SHARED / "data")
        if calibrate:
            file = Path(folder) / "samples.npz"
            np.savez(file, **samples(model, path, natural))  # type: ignore[arg-type]  # any names
            command += ["--precision", "int8", "--calibration", str(file)]
        for i, (name, value) in enumerate(natural.items()):
            file = Path(folder) / f"{i}.npy"
            np.save(file, value)
            command += ["--input", f"{name}={file}"]
        yield command


def samples(model: Model, path: Path, natural: Mapping[str, Array]) -> dict[str, Array]:
    """One run's inputs: the natural ones, random ones for the rest."""
    known = {name: np.asarray(v) for name, v in model.values.items()}  # inputs no more
    options = Options(dims=model.dims, shapes=model.shapes, values=known)
    return sample_inputs(import_model(path, options).graph, natural)


def compiled(
    model: Model, path: Path, target: str, *, explain: bool = True, calibrate: bool = False
) -> dict[str, Any]:
    """The JSON object that `kcompile` prints for a model, with its layers where they `explain`."""
    with arguments(model, path, target, calibrate=calibrate) as command:
        done = _run(command)
        if not done.stdout.strip():
            return {"model": model.name, "failure": done.stderr.strip()[-2000:]}
        result = {**json.loads(done.stdout), "model": model.name, "exit": done.returncode}
        if not result["verify"]["ok"]:
            result["failure"] = done.stderr.strip()[-2000:]
        worst = least_sqnr(result)
        if explain and worst is not None and worst < ENOUGH_DB:
            again = _run([*command, "--layers"]).stdout
            result["layers"] = json.loads(again)["layers"] if again.strip() else []
    return result


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def least_sqnr(result: dict[str, Any]) -> float | None:
    """The least of the outputs' ratios; None when all are exact."""
    outputs = result["verify"]["outputs"].values()
    found: list[float] = [o["sqnr_db"] for o in outputs if o["sqnr_db"] is not None]
    return min(found, default=None)


def row(result: dict[str, Any]) -> str:
    """A line of the table."""
    if "verify" not in result:
        return f"{result['model']:{COLUMNS[0][1]}} {result['failure'].splitlines()[0]}"
    sqnr = least_sqnr(result)
    errors = [o["max_abs_err"] for o in result["verify"]["outputs"].values()]
    cells = (
        result["model"],
        f"{result['nodes']['npu']}/{result['nodes']['host']}",
        f"{100 * result['mac_share']:.2f}%",
        f"{1e6 * result['time']['seconds']:.1f}",
        f"{1e6 * result['time']['bound_seconds']:.1f}",
        f"{result['traffic']['dram_bytes'] / 1e6:.2f}",
        f"{result['traffic']['compulsory_bytes'] / 1e6:.2f}",
        "exact" if sqnr is None else f"{sqnr:.1f}",
        f"{max((e for e in errors if e is not None), default=0):.1e}",
        f"{result['compile']['cpu_seconds']:.1f}",
        "yes" if result["verify"]["ok"] else "NO",
    )
    return " ".join(f"{c:<{w}}" for c, (_, w) in zip(cells, COLUMNS, strict=True)).rstrip()


def losses(layers: Sequence[dict[str, Any]]) -> list[str]:
    """Lines about the kernels that lose most against their worst operand, in program order."""
    lost = [(_loss(x), i) for i, x in enumerate(layers)]
    chosen = sorted(i for loss, i in sorted(lost, reverse=True)[:SHOWN] if loss > 1)
    lines = ["    kernel   stored    operands       own    result  ONNX nodes"]
    for i in chosen:
        x = layers[i]
        numbers = " ".join(f"{_db(x[key]):>9}" for key in ("operands_db", "own_db", "sqnr_db"))
        nodes = ", ".join(x["origins"])
        nodes = nodes if len(nodes) <= 64 else f"{nodes[:63]}…"
        lines.append(f"    {x['kernel']:8} {x['stored']:8} {numbers}  {nodes}")
    return lines


def _loss(layer: dict[str, Any]) -> float:
    """Decibels from the worst operand to the result; an exact operand counts as 80 dB."""
    if layer["sqnr_db"] is None:
        return 0.0
    before = 80.0 if layer["operands_db"] is None else min(layer["operands_db"], 80.0)
    return float(before - layer["sqnr_db"])


def _db(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"


def is_good(result: dict[str, Any]) -> bool:
    """Whether a model verifies with (nearly) all of its work on the NPU."""
    return bool(result.get("verify", {}).get("ok")) and result["mac_share"] >= LEAST_SHARE


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--target", default="rebel")
    parser.add_argument("--calibrate", action="store_true", help="int8, from a sample")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "models")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--all", action="store_true", help="other forms of the networks too")
    every = (*MODELS, *VARIANTS)
    parser.add_argument("names", nargs="*", choices=[[], *(m.name for m in every)], metavar="NAME")
    options = parser.parse_args()
    chosen = [find(n) for n in options.names] or list(every if options.all else MODELS)
    print(" ".join(f"{name:<{width}}" for name, width in COLUMNS).rstrip())
    results = []
    for model in chosen:
        path = obtain(model, options.models).resolve()
        how = {"explain": not options.calibrate, "calibrate": options.calibrate}
        results.append(compiled(model, path, options.target, **how))
        print(row(results[-1]), flush=True)
    for result in results:
        for line in _explanations(result):
            print(line)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    good = sum(map(is_good, results))
    print(f"{good} of {len(results)} verify with at least 99 % of their MACs on the NPU")
    return 0 if good == len(results) else 1


def _explanations(result: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if "failure" in result:
        lines += ["", f"{result['model']}: {result['failure']}"]
    if "layers" in result:
        total = len(result["layers"])
        lines += ["", f"{result['model']}: where its {total} kernels lose precision"]
        lines += losses(result["layers"])
    return lines


if __name__ == "__main__":
    sys.exit(main())
