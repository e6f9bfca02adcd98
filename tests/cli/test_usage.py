"""The command line as such: help, errors, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kcompiler import __version__, cli
from tests.conftest import ROOT
from tests.runtime import models

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, where a model and its inputs are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(models.linear())
    (tmp_path / "open.onnx").write_bytes(models.open_linear())
    np.save(tmp_path / "x.npy", np.ones((50, 96), np.float32))
    return tmp_path


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The real thing, in a process of its own."""
    command = [sys.executable, "-m", "kcompiler.cli", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_help_is_there_at_once() -> None:
    """The best of some runs: a busy machine makes each longer, and none shorter."""
    assert any(_seconds_of_help() < 0.3 for _ in range(20))


def _seconds_of_help() -> float:
    start = time.perf_counter()
    assert process("--help").returncode == 0
    return time.perf_counter() - start


def test_help(capsys: Capture) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: kcompile MODEL --target T [OPTIONS]\n")
    for word in ("--dim N=V", "--no-verify", "disasm", "explain", "inspect", "run", "targets"):
        assert word in text


def test_nothing_is_help(capsys: Capture) -> None:
    assert cli.main([]) == 0
    assert "Usage: kcompile MODEL" in capsys.readouterr().out


def test_version(capsys: Capture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"kcompile {__version__}\n"


T = ["--target", "rebel"]
ERRORS = {
    "a value that is no number": (
        ["m.onnx", *T, "--value", "x=fast"],
        (
            "error: --value x: 'fast' is no number\n"
            "  try: give numbers, true or false, with commas between them, or a .npy file\n"
        ),
    ),
    "a value of another shape": (
        ["m.onnx", *T, "--value", "x=1,2"],
        (
            "error: shape [2] does not fit input 'x'\n"
            "  at: m.onnx\n"
            "  because: the model declares x[50, 96]\n"
            "  try: give as many extents, the fixed ones as they are\n"
        ),
    ),
    "a value for no input": (
        ["m.onnx", *T, "--value", "z=1"],
        (
            "error: the model has no input 'z'\n"
            "  at: m.onnx\n"
            "  because: its inputs are x\n"
            "  try: use one of these inputs\n"
        ),
    ),
    "no target": (
        ["m.onnx"],
        "error: Missing option '--target' / '-t'.\n  try: kcompile --help\n",
    ),
    "unknown option": (
        ["m.onnx", *T, "--fast"],
        "error: No such option '--fast'.\n  try: kcompile --help\n",
    ),
    "unknown option of a command": (
        ["run", "m.kpkg", "--fast"],
        "error: No such option '--fast'.\n  try: kcompile run --help\n",
    ),
    "int8 without data": (
        ["m.onnx", *T, "--precision", "int8"],
        (
            "error: int8 needs calibration data\n"
            "  because: ranges are learnt from samples of the inputs\n"
            "  try: --calibration DATA\n"
        ),
    ),
    "data without int8": (
        ["m.onnx", *T, "--calibration", "small.npy"],
        "error: calibration data have no use in f16\n  try: say --precision int8, mixed or fp8\n",
    ),
    "data that do not fit": (
        ["m.onnx", *T, "-p", "int8", "--calibration", "small.npy"],
        (
            "error: the calibration data do not fit\n  at: small.npy\n"
            "  because: they are [1, 96], the input is f32[50,96]\n"
            "  try: give 50 or more, or compile for fewer at a time\n"
        ),
    ),
    "unknown observer": (
        ["m.onnx", *T, "-p", "int8", "--calibration", "small.npy", "--observer", "best"],
        (
            "error: there is no observer 'best'\n"
            "  try: one of: min-max, percentile, entropy, mse, auto\n"
        ),
    ),
    "unknown preprocessing": (
        ["m.onnx", *T, "-p", "int8", "--calibration", "small.npy", "--preprocess", "size=3"],
        (
            "error: --preprocess: cannot read 'size=3'\n"
            "  try: write it as scale=255,mean=0.485,0.456,0.406,std=0.229,0.224,0.225,"
            "layout=NHWC\n"
        ),
    ),
    "unknown target": (
        ["m.onnx", "--target", "rebl"],
        "error: there is no target 'rebl'\n  because: known: rebel\n  try: did you mean rebel?\n",
    ),
    "unknown target without neighbours": (
        ["m.onnx", "--target", "xyzzy"],
        "error: there is no target 'xyzzy'\n  because: known: rebel\n  try: take one of these\n",
    ),
    "unknown precision": (
        ["m.onnx", *T, "--precision", "f12"],
        (
            "error: rebel has no precision 'f12'\n"
            "  try: one of: f16, bf16, f32, int8, mixed, fp8, "
            "int8-weights, int4-weights, fp8-weights\n"
        ),
    ),
    "dim without a value": (
        ["m.onnx", *T, "--dim", "batch"],
        "error: --dim 'batch' is not of the form N=V\n",
    ),
    "dim that is no number": (
        ["m.onnx", *T, "--dim", "batch=one"],
        (
            "error: --dim batch=one is no extent, no range and no sum of dimensions given\n"
            "  try: 128, 1..512:128 (buckets of up to 128, 256, 384, 512), 1,32,128, or a sum like "
            "past+seq\n"
        ),
    ),
    "dim twice": (
        ["m.onnx", *T, "--dim", "b=1", "--dim", "b=2"],
        "error: --dim names 'b' twice\n  try: give each name one value\n",
    ),
    "shape that is no shape": (
        ["m.onnx", *T, "--shape", "x=1,b"],
        "error: --shape x=1,b: 'b' is not a whole number\n",
    ),
    "input without a file": (
        ["m.onnx", *T, "--input", "x"],
        "error: --input 'x' is not of the form I=file.npy\n",
    ),
    "input that is not there": (
        ["m.onnx", *T, "--input", "x=none.npy"],
        "error: there is no such file\n  at: none.npy\n",
    ),
    "input of another shape": (
        ["m.onnx", *T, "--input", "x=small.npy"],
        (
            "error: input 'x' has the shape [1, 96]\n"
            "  because: the model was compiled for f32[50,96]\n"
            "  try: reshape it, or compile the model for this shape\n"
        ),
    ),
    "input of another name": (
        ["m.onnx", *T, "--input", "y=x.npy"],
        "error: the model has no input 'y'\n  because: it takes x: f32[50,96]\n",
    ),
    "input without verification": (
        ["m.onnx", *T, "--input", "x=x.npy", "--no-verify"],
        "error: --input and --no-verify exclude each other: inputs serve to verify\n",
    ),
    "no such model": (
        ["none.onnx", *T],
        (
            "error: there is no such model\n  at: none.onnx\n"
            "  try: check the path; it is relative to the current folder\n"
        ),
    ),
    "no such folder": (
        ["m.onnx", *T, "--no-verify", "-o", "none/m.kpkg"],
        (
            "error: cannot write the package\n  at: none/m.kpkg\n"
            "  because: there is no folder none\n"
            "  try: make the folder first, or choose another one\n"
        ),
    ),
    "no such package": (
        ["run", "none.kpkg"],
        (
            "error: cannot read the package\n  at: none.kpkg\n"
            "  because: No such file or directory\n"
            "  try: check the path, your permissions and the free space of the disk\n"
        ),
    ),
    "not a package": (
        ["inspect", "m.onnx"],
        "error: cannot read the package\n  at: m.onnx\n",
    ),
    "facts of no target": (
        ["targets", "rebl"],
        "error: there is no target 'rebl'\n  because: known: rebel\n  try: did you mean rebel?\n",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kcompiler.registry._registered", dict)
    monkeypatch.setattr("kcompiler.registry._folders", lambda: ("rebel",))
    np.save("small.npy", np.ones((1, 96), np.float32))
    arguments, text = ERRORS[name]
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(text)
    assert captured.err == text or name == "not a package"
    assert not Path("m.kpkg").exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "EOF: reading magic string"),
        (b"PK\3\4" + bytes(50), "the magic string is not correct"),
        (b"\x80\4]\x94.", "EOF: reading magic string"),
    ],
)
def test_an_input_that_is_no_array(data: bytes, why: str, capsys: Capture) -> None:
    Path("bad.npy").write_bytes(data)
    assert cli.main(["m.onnx", *T, "--input", "x=bad.npy"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["error: this is not an array file (.npy)", "  at: bad.npy"]
    assert lines[2].startswith(f"  because: {why}")
    assert lines[3:] == ["  try: write it with numpy.save(path, array)"]


def test_an_input_that_holds_objects_is_not_unpickled(capsys: Capture) -> None:
    np.save("bad.npy", np.array([Exploding()], object), allow_pickle=True)
    assert cli.main(["m.onnx", *T, "--input", "x=bad.npy"]) == 2
    assert "error: this is not an array file (.npy)\n" in capsys.readouterr().err
    assert not Exploding.exploded


class Exploding:
    """Unpickling one is noticed."""

    exploded = False

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return Exploding.explode, ()

    @staticmethod
    def explode() -> None:
        Exploding.exploded = True


def test_an_input_that_claims_to_be_huge(capsys: Capture) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
    header = header.ljust(117) + b"\n"
    Path("bad.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    assert cli.main(["m.onnx", *T, "--input", "x=bad.npy"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_an_open_dimension_says_how_to_fix_it(capsys: Capture) -> None:
    assert cli.main(["open.onnx", *T]) == 2
    text = capsys.readouterr().err
    assert "error: the model leaves open: batch\n" in text
    assert "--dim batch=1" in text


BAD_MODELS = {
    "no protobuf": b"\xff\xff\xff",
    "text": b"this is not a model\n",
    "empty": b"",
    "no graph": models.model([], [], []),
    "truncated": models.linear()[:-100],
    "unknown operator": models.linear().replace(b"Relu", b"Rolu"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models(name: str) -> None:
    Path("bad.onnx").write_bytes(BAD_MODELS[name])
    run = process("bad.onnx", *T)
    assert run.returncode == 2, run.stderr
    assert run.stderr.startswith("error: ")
    assert "internal error" not in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the compiler."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of something\nand more")

    monkeypatch.setattr("kcompiler.registry.find_target", fail)


@pytest.mark.usefixtures("broken")
def test_bugs_are_reported_without_a_traceback(capsys: Capture) -> None:
    assert cli.main(["m.onnx", *T]) == 1
    assert capsys.readouterr().err == (
        "error: internal error\n"
        "  because: ZeroDivisionError: of something\n"
        "  try: --debug shows where it comes from; this is a bug in kcompiler, not in your model: "
        "please report it and attach the model\n"
    )


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("arguments", [["--debug", "m.onnx", *T], ["m.onnx", *T, "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], capsys: Capture) -> None:
    assert cli.main(arguments) == 1
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):\n")
    assert "ZeroDivisionError: of something\nand more\nerror: internal error\n" in text


def test_debug_changes_no_exit_code(capsys: Capture) -> None:
    assert cli.main(["--debug", "none.onnx", *T]) == 2
    assert "UsageError" in capsys.readouterr().err


def test_a_command_with_a_slip(capsys: Capture) -> None:
    assert cli.main(["inpsect", "a.kpkg"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no command 'inpsect'\n"
        "  because: there is no such file either\n"
        "  try: kcompile inspect\n"
    )


def test_models_and_packages_are_told_apart(capsys: Capture) -> None:
    Path("m.kpkg").write_bytes(b"KPKG\r\n\x1a\n and more")
    Path("m.onnx").write_bytes(models.linear())
    assert cli.main(["m.kpkg", *T, "-o", "other.kpkg"]) == 2
    assert capsys.readouterr().err == (
        "error: this is a package of kcompile, not an ONNX model\n"
        "  at: m.kpkg\n"
        "  try: kcompile run and inspect take packages; give the model that it is from\n"
    )
    assert cli.main(["inspect", "m.onnx"]) == 2
    text = capsys.readouterr().err
    assert "if it is an ONNX model, compile it first: kcompile MODEL --target T" in text


def test_an_interrupt(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kcompiler.registry.find_target", interrupted)
    assert cli.main(["m.onnx", *T]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_a_reader_that_goes_away() -> None:
    command = f"{sys.executable} -m kcompiler.cli targets rebel | head -1"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    shell = ["bash", "-o", "pipefail", "-c", command]
    run = subprocess.run(shell, env=env, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode == 0
