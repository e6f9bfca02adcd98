"""Standard streams that are closed, and a reader that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runtime import models

T = "m.onnx --target rebel"
COMMANDS = ["--help", "--version", "targets", "targets rebel", "targets --json", T, f"{T} --json"]


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line for the shell, where `K` is the command."""
    (folder / "m.onnx").write_bytes(models.linear())
    line = text.replace("K ", f"{sys.executable} -m kcompiler.cli ")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_closed_standard_output(command: str, tmp_path: Path) -> None:
    """Nothing is begun: a package would be written where the output goes."""
    done = shell(f"K {command} >&-", tmp_path)
    assert done.stderr == (
        "error: cannot write to standard output\n"
        "  because: it is closed\n"
        "  try: free space where it goes, or send it elsewhere\n"
    )
    assert done.returncode == 2
    assert not list(tmp_path.glob("*.kpkg"))


@pytest.mark.parametrize("command", [f"{T}", f"{T} -v", "targets"])
def test_closed_standard_error(command: str, tmp_path: Path) -> None:
    done = shell(f"K {command} 2>&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert shell("K none.onnx -t rebel 2>&- >&-", tmp_path).returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_goes_away(command: str, tmp_path: Path) -> None:
    """As other programs end then, and not as where a check failed."""
    gone = shell(f"(sleep 0.2; K {command}; echo $? >code) | true", tmp_path)
    assert (tmp_path / "code").read_text() == "141\n"
    assert gone.stderr == ""


NEEDS_FILES = {
    "pipe.onnx": "error: the model is not a regular file\n  at: pipe.onnx\n"
    "  try: write the model to a file first\n",
    "m.onnx -i x=pipe.npy": "error: this is not a regular file\n  at: pipe.npy\n"
    "  try: write the data to a file first\n",
    "m.onnx -i x=pipe.npz": "error: this is not a regular file\n  at: pipe.npz\n"
    "  try: write the data to a file first\n",
    "m.onnx -p int8 --calibration pipe.npy": "error: this is not a regular file\n  at: pipe.npy\n"
    "  try: write the data to a file first\n",
}


@pytest.mark.parametrize("command", NEEDS_FILES)
def test_a_pipe_is_not_waited_for(command: str, tmp_path: Path) -> None:
    for kind in ("onnx", "npy", "npz"):
        os.mkfifo(tmp_path / f"pipe.{kind}")
    done = shell(f"timeout 20 K {command} -t rebel", tmp_path)
    assert done.stderr == NEEDS_FILES[command]
    assert done.returncode == 2
