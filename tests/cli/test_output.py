"""Where the command line writes: files that cannot be are told before the work, and JSON parses."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompiler import cli
from kcompiler.api import CompiledModel
from kcompiler.registry import find_target, targets
from tests.conftest import ROOT
from tests.runtime import models

Capture = pytest.CaptureFixture[str]
T = ("--target", "rebel")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, where a model is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(models.linear())
    (tmp_path / "open.onnx").write_bytes(models.open_linear())
    (tmp_path / "empty.onnx").write_bytes(b"")
    return tmp_path


FULL = [
    ["--help"],
    ["--version"],
    ["targets"],
    ["targets", "rebel"],
    ["targets", "--json"],
    ["m.onnx", *T, "--no-verify"],
    ["m.onnx", *T, "--no-verify", "--json"],
    ["m.onnx", *T, "--no-verify", "--emit", "asm"],
]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("arguments", FULL, ids=" ".join)
def test_standard_output_is_full(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "kcompiler.cli", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=env, text=True, check=False
        )
    assert done.stderr == (
        "error: cannot write to standard output\n"
        "  because: No space left on device\n"
        "  try: free space where it goes, or send it elsewhere\n"
    )
    assert done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("option", [["-v"], ["--emit", "asm"]], ids=" ".join)
def test_what_is_said_aside_stops_no_work(option: list[str]) -> None:
    command = [sys.executable, "-m", "kcompiler.cli", "m.onnx", *T, "--no-verify", *option]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=full, env=env, text=True, check=False
        )
    assert done.returncode == 0
    assert done.stdout
    assert Path("m.kpkg").exists()


NO_FOLDER = (
    "  because: there is no folder no\n  try: make the folder first, or choose another one\n"
)
NO_FILE = "  because: it exists and is not a regular file\n  try: choose another file name\n"
NO_NAME = "  because: its file has no name\n  try: name a file, or leave the option out\n"
TOO_LONG = "  because: File name too long\n  try: choose another file name\n"
LENGTHY = "n" * 5000
PLACES = {
    ("-o", "no/m.kpkg"): f"error: cannot write the package\n  at: no/m.kpkg\n{NO_FOLDER}",
    ("-o", "/dev/null"): f"error: cannot write the package\n  at: /dev/null\n{NO_FILE}",
    ("-o", "."): f"error: cannot write the package\n  at: .\n{NO_FILE}",
    ("-o", ""): f"error: cannot write the package\n{NO_NAME}",
    ("--trace", "no/t"): f"error: the trace cannot be written\n  at: no/t\n{NO_FOLDER}",
    ("--trace", "."): f"error: the trace cannot be written\n  at: .\n{NO_FILE}",
    ("-o", LENGTHY): f"error: cannot write the package\n  at: {LENGTHY}\n{TOO_LONG}",
    ("--trace", LENGTHY): f"error: the trace cannot be written\n  at: {LENGTHY}\n{TOO_LONG}",
    ("--trace", ""): f"error: the trace cannot be written\n{NO_NAME}",
}


@pytest.mark.parametrize("option", PLACES, ids=lambda option: " ".join(option)[:20])
def test_places_are_looked_at_before_the_work(
    option: tuple[str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*_: object, **__: object) -> None:
        pytest.fail("the model is compiled, although nothing can be written")

    monkeypatch.setattr("kcompiler.api.compile", compiled)
    assert cli.main(["m.onnx", *T, *option]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", PLACES[option])


@pytest.fixture
def package(capsys: Capture) -> str:
    assert cli.main(["m.onnx", *T, "--no-verify"]) == 0
    capsys.readouterr()
    return "m.kpkg"


def test_a_run_looks_before_it_too(
    package: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        pytest.fail("it runs, although nothing can be written")

    monkeypatch.setattr(CompiledModel, "run", run)
    for place, why in (("no/y.npy", NO_FOLDER), (LENGTHY, TOO_LONG)):
        assert cli.main(["run", package, "-o", f"y={place}"]) == 2
        assert capsys.readouterr().err == f"error: the file cannot be written\n  at: {place}\n{why}"


def test_a_folder_that_may_not_be_searched(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", denied)
    assert cli.main(["m.onnx", *T, "-o", "secret/m.kpkg"]) == 2
    assert capsys.readouterr().err == (
        "error: cannot write the package\n  at: secret/m.kpkg\n"
        "  because: Permission denied\n  try: choose another file name\n"
    )


LONG = "9" * 5000
MODELS: dict[str, tuple[list[str], str]] = {
    "an empty file": (
        ["empty.onnx", *T],
        (
            "error: this is not an ONNX model\n"
            "  at: empty.onnx\n"
            "  because: it is empty\n"
            "  try: give a model exported to ONNX (torch.onnx.export, tf2onnx, paddle2onnx, ...)\n"
        ),
    ),
    "no file": (
        [os.devnull, *T, "-o", "m.kpkg"],
        (
            "error: the model is not a regular file\n"
            f"  at: {os.devnull}\n"
            "  try: write the model to a file first\n"
        ),
    ),
    "no name": (
        ["", *T, "-o", "m.kpkg"],
        "error: the model has no name\n  try: give the path of an .onnx file\n",
    ),
    "an extent beyond ONNX": (
        ["open.onnx", *T, "--dim", f"batch={1 << 63}"],
        (
            "error: dimension 'batch' cannot be 9223372036854775808\n"
            "  at: open.onnx\n"
            "  try: give an extent of 0 to 9,223,372,036,854,775,807\n"
        ),
    ),
    "a number of pages": (
        ["open.onnx", *T, "--dim", f"batch={LONG}"],
        f"error: --dim batch: '{LONG[:40]}...' is not a whole number\n",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_and_extents(name: str, capsys: Capture) -> None:
    arguments, text = MODELS[name]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == text


def test_more_data_than_can_be(capsys: Capture) -> None:
    """It compiles, for the host; only nothing can be made up to verify it with."""
    arguments = ["open.onnx", *T, "--dim", f"batch={(1 << 63) - 1}"]
    assert cli.main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: there is no data to verify with for input 'x'\n  because: f32[")
    assert text.endswith(
        "elements; up to 536,870,912 are made up\n  try: make its dimensions smaller, "
        "give it (--input), or do not verify (--no-verify)\n"
    )


# ------------------------------------------------------------------ JSON


def printed(capsys: Capture, *arguments: str) -> Any:
    assert cli.main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_targets(capsys: Capture) -> None:
    listed = printed(capsys, "targets", "--json")["targets"]
    assert [each["target"] for each in listed] == list(targets())
    chip = find_target("rebel").chip
    one = printed(capsys, "targets", "rebel", "--json")
    assert one["target"] == "rebel"
    assert one["facts"]["cores"]["value"] == chip.cores.value
    assert one["facts"]["cores"]["source"] == chip.cores.source
    rows = printed(capsys, "targets", "warboy", "--calibration", "--json")["rows"]
    assert len(rows) > 20
    assert all(r["error"] == pytest.approx(r["predicted"] / r["published"] - 1) for r in rows)


def test_run(package: str, capsys: Capture) -> None:
    (name, shape) = next((n, t.shape) for n, t in inputs_of(package))
    np.save("x.npy", np.ones(shape, np.float32))
    found = printed(capsys, "run", package, "-i", f"{name}=x.npy", "-o", "y=y.npy", "--json")
    (out,) = found["outputs"]
    values = np.load("y.npy").astype(np.float64)
    assert (out["name"], out["shape"], out["not_finite"]) == ("y", list(values.shape), 0)
    assert (out["min"], out["max"], out["mean"]) == pytest.approx(
        (values.min(), values.max(), values.mean())
    )
    assert found["padding"] is None


def inputs_of(package: str) -> Any:
    import kcompiler

    return kcompiler.load(package).compilation.inputs


def test_disasm(package: str, capsys: Capture) -> None:
    programs = printed(capsys, "disasm", package, "--json")["programs"]
    lines = [x for p in programs for k in p["kernels"] for x in k["instructions"]]
    assert cli.main(["disasm", package]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.rpartition("  ; ")[0] for line in shown if not line.startswith(";")] == lines


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, {"values": None}),
        ([1, 2], {"values": 2}),
        (np.array(["a"], object), {"dtype": "text", "shape": [1]}),
        (np.array([3, -1], np.int8), {"dtype": "i8", "shape": [2], "min": -1, "max": 3}),
        (np.zeros((0, 2), np.int64), {"dtype": "i64", "shape": [0, 2]}),
        (np.full(2, np.nan, np.float32), {"dtype": "f32", "shape": [2], "not_finite": 2}),
    ],
)
def test_facts_of_an_output(value: Any, wanted: dict[str, Any]) -> None:
    from kcompiler.report.arrays import facts

    assert facts(value) == wanted
    assert json.dumps(facts(value))


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint64", "int4", "uint4"])
def test_extremes_take_no_more_memory_than_the_array(dtype: str) -> None:
    from kcompiler.graph.types import parse_dtype
    from kcompiler.report.arrays import facts

    kinds = {"bool": "bool", "int64": "i64", "uint64": "u64", "int4": "i4", "uint4": "u4"}
    numbers = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 7, 1 << 16)
    value = numbers.astype(parse_dtype(kinds[dtype]))
    tracemalloc.start()
    found = facts(value)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found["min"], found["max"]) == (min(value.tolist()), max(value.tolist()))
    assert used < value.nbytes
    assert json.loads(json.dumps(found)) == found


def test_an_output_of_which_nothing_is_compared(capsys: Capture) -> None:
    np.save("nan.npy", np.full((50, 96), np.nan, np.float32))
    assert cli.main(["m.onnx", *T, "-i", "x=nan.npy"]) == 0
    text = capsys.readouterr().out
    assert "y: nothing was compared, no element is finite; give inputs with --input" in text
    assert "y: 2000 of 2000 not finite, not compared against onnxruntime" in text
