"""Compile, simulate and verify the project's models for a target, and print the table.

    python benchmarks/table.py [--target rebel] [--models FOLDER] [--json FILE] [NAME ...]

Each model runs as `kcompile MODEL --json` in a process of its own. Exit code 1 when one of them does not verify.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from models import MODELS, ROOT, Model, find, obtain

COLUMNS = (
    ("model", 30), ("NPU/host", 9), ("MACs NPU", 9), ("us", 9), ("bound us", 9), ("DRAM MB", 8),
    ("compuls.", 8), ("SQNR dB", 8), ("max err", 9), ("cpu s", 6), ("ok", 3),
)  # fmt: skip


def compile_model(model: Model, path: Path, target: str) -> dict[str, Any]:
    """The JSON object that `kcompile` prints for a model."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kcompiler.cli", str(path), "--target", target, "--json"]
        command += ["-o", str(Path(folder) / "model.kpkg")]
        command += [a for n, v in model.dims.items() for a in ("--dim", f"{n}={v}")]
        for name, shape in model.shapes.items():
            command += ["--shape", f"{name}={','.join(map(str, shape))}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if not done.stdout.strip():
        return {"model": model.name, "failure": done.stderr.strip()[-2000:]}
    return {**json.loads(done.stdout), "model": model.name, "exit": done.returncode}


def row(result: dict[str, Any]) -> str:
    """A line of the table."""
    if "failure" in result:
        return f"{result['model']:30} {result['failure'].splitlines()[0] if result['failure'] else 'failed'}"
    outputs = result["verify"]["outputs"].values()
    sqnr = [o["sqnr_db"] for o in outputs if o["sqnr_db"] is not None]
    cells = (
        result["model"],
        f"{result['nodes']['npu']}/{result['nodes']['host']}",
        f"{100 * result['mac_share']:.2f}%",
        f"{1e6 * result['time']['seconds']:.1f}",
        f"{1e6 * result['time']['bound_seconds']:.1f}",
        f"{result['traffic']['dram_bytes'] / 1e6:.2f}",
        f"{result['traffic']['compulsory_bytes'] / 1e6:.2f}",
        f"{min(sqnr):.1f}" if sqnr else "exact",
        f"{max((o['max_abs_err'] for o in outputs), default=0):.2e}",
        f"{result['compile']['cpu_seconds']:.1f}",
        "yes" if result["verify"]["ok"] else "NO",
    )
    return " ".join(f"{c:<{w}}" for c, (_, w) in zip(cells, COLUMNS, strict=True)).rstrip()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--target", default="rebel")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "models")
    parser.add_argument("--json", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    chosen = [find(n) for n in options.names] or list(MODELS)
    print(" ".join(f"{name:<{width}}" for name, width in COLUMNS).rstrip())
    results = []
    for model in chosen:
        results.append(compile_model(model, obtain(model, options.models), options.target))
        print(row(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    good = [r for r in results if r.get("verify", {}).get("ok") and r["mac_share"] >= 0.99]
    print(f"{len(good)} of {len(results)} verify with at least 99 % of their MACs on the NPU")
    return 0 if len(good) == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
