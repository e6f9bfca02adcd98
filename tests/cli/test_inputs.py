"""Inputs from files: archives, and what is no number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kcompiler
from kcompiler import cli
from kcompiler.errors import UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def compiled(examples: Path, file: str) -> int:
    model = str(examples / "mnistnet.onnx")
    return cli.main([model, "-t", "rebel", "--dim", "s77=16", "-i", f"input={file}"])


@pytest.mark.parametrize("name", ["input", "arr_0"])
def test_archives(examples: Path, capsys: Capture, name: str) -> None:
    """The array of the input's name, or the only one if it has none."""
    np.savez("digits.npz", **{name: np.load(examples / "digits.npy")})
    assert compiled(examples, "digits.npz") == 0
    assert "on the inputs given" in capsys.readouterr().out


def test_an_archive_without_the_input(examples: Path, capsys: Capture) -> None:
    np.savez("digits.npz", x=np.zeros(3), y=np.zeros(3))
    assert compiled(examples, "digits.npz") == 2
    assert capsys.readouterr().err == (
        "error: the archive has no array 'input'\n  at: digits.npz\n  because: it holds x, y\n"
        "  try: write it with numpy.savez(path, NAME=array), or give a .npy file\n"
    )


def test_what_is_no_number_proves_nothing(examples: Path, capsys: Capture) -> None:
    """NaN agrees with whatever the program makes of it: a verification with it says so."""
    digits = np.load(examples / "digits.npy")
    np.save("good.npy", digits)
    digits[3, 0, 5, 5] = np.nan
    np.save("bad.npy", digits)
    remark = "input: NaN among them, and what follows from NaN proves nothing"
    for file, wanted in (("good.npy", False), ("bad.npy", True)):
        assert compiled(examples, file) == 0
        assert (remark in " ".join(capsys.readouterr().out.split())) is wanted


def test_remarks_on_calibration_data_stand_in_the_report(examples: Path) -> None:
    """17 samples of 16, all the same, beside an array that the model does not take."""
    data = {"input": np.zeros((17, 1, 28, 28), np.uint8), "mask": np.ones(17)}
    dims, model = {"s77": 16}, examples / "mnistnet.onnx"
    made = kcompiler.compile(model, "rebel", dims=dims, precision="int8", calibration=data)
    text = "\n".join(made.report().notes)
    for part in ("left out mask", "the last 1 is left out", "from 0 to 0", "are 0 everywhere"):
        assert part in text


def test_labels_of_classes_that_no_output_has(examples: Path) -> None:
    data = {"input": np.load(examples / "digits.npy"), "labels": np.full(16, 10)}
    dims, model = {"s77": 16}, examples / "mnistnet.onnx"
    with pytest.raises(UsageError, match="the largest is 10, and the outputs have 10 classes"):
        kcompiler.compile(model, "rebel", dims=dims, precision="int8", calibration=data)
