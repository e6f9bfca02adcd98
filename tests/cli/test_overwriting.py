"""No output of the command line overwrites what it reads, or another output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from kcompiler import cli
from kcompiler.api import compile as compile_model
from tests.runtime import models

Capture = pytest.CaptureFixture[str]
T = ("--target", "rebel")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, where a model is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(models.linear())
    return tmp_path


def _overwritten(what: str, path: str, other: str) -> str:
    return (
        f"error: {what} cannot be written\n  at: {path}\n"
        f"  because: it is {other} too, which it would overwrite\n"
        "  try: choose another file name\n"
    )


WORK = ["m.onnx", *T, "-p", "int8", "--calibration"]
EXTERNAL = "the model's external data"
OWN_INPUTS = {
    "model": (["m.onnx", *T, "-o", "m.onnx"], ("the package", "m.onnx", "the model")),
    "another way": (
        ["m.onnx", *T, "-o", "../{here}/m.onnx"],
        ("the package", "../{here}/m.onnx", "the model"),
    ),
    "trace": (["m.onnx", *T, "--trace", "m.onnx"], ("the trace", "m.onnx", "the model")),
    "link": (["m.onnx", *T, "-o", "soft"], ("the package", "soft", "the model")),
    "hard link": (["m.onnx", *T, "-o", "hard"], ("the package", "hard", "the model")),
    "input": (
        ["m.onnx", *T, "-i", "x=x.npy", "-o", "x.npy"],
        ("the package", "x.npy", "the file of --input x"),
    ),
    "value": (
        ["m.onnx", *T, "--value", "x=x.npy", "--trace", "x.npy"],
        ("the trace", "x.npy", "the file of --value x"),
    ),
    "calibration": (
        [*WORK, "x.npy", "-o", "x.npy"],
        ("the package", "x.npy", "the calibration data"),
    ),
    "folder": (
        [*WORK, "data", "-o", "data/1.npy"],
        ("the package", "data/1.npy", "a file of the calibration data"),
    ),
    "each other": (["m.onnx", *T, "-o", "o", "--trace", "o"], ("the trace", "o", "the package")),
    "external": (["e.onnx", *T, "-o", "e.bin"], ("the package", "e.bin", EXTERNAL)),
    "external, by a hard link": (["e.onnx", *T, "-o", "far/e"], ("the package", "far/e", EXTERNAL)),
    "external of a branch": (["if.onnx", *T, "-o", "if.bin"], ("the package", "if.bin", EXTERNAL)),
    "package": (
        ["run", "k.kpkg", "-i", "x=x.npy", "-o", "{out}=k.kpkg"],
        ("the output '{out}'", "k.kpkg", "the package"),
    ),
    "input of a run": (
        ["run", "k.kpkg", "-i", "x=x.npy", "-o", "{out}=x.npy"],
        ("the output '{out}'", "x.npy", "the file of --input x"),
    ),
}


@pytest.mark.parametrize("case", OWN_INPUTS)
def test_no_input_is_overwritten(case: str, scratch: Path, capsys: Capture) -> None:
    out = _files_of_every_kind(scratch)
    words = {"here": scratch.name, "out": out}
    arguments, (what, path, other) = OWN_INPUTS[case]
    before = {p: p.read_bytes() for p in scratch.rglob("*") if p.is_file()}
    assert cli.main([a.format(**words) for a in arguments]) == 2
    expected = _overwritten(what.format(**words), path.format(**words), other)
    assert capsys.readouterr().err == expected
    assert before == {p: p.read_bytes() for p in scratch.rglob("*") if p.is_file()}


def test_an_older_package_is_written_again(scratch: Path, capsys: Capture) -> None:
    _files_of_every_kind(scratch)
    assert cli.main(["e.onnx", *T, "--no-verify", "-o", "k.kpkg"]) == 0
    capsys.readouterr()


def _files_of_every_kind(folder: Path) -> str:
    """What `OWN_INPUTS` names; the name of the package's output."""
    made = compile_model(models.linear(), "rebel")
    made.save(folder / "k.kpkg")
    (folder / "soft").symlink_to("m.onnx")
    (folder / "hard").hardlink_to(folder / "m.onnx")
    np.save(folder / "x.npy", np.ones((50, 96), np.float32))
    (folder / "data").mkdir()
    np.save(folder / "data/1.npy", np.ones((50, 96), np.float32))
    _save_external(onnx.load_from_string(models.linear()), folder / "e.onnx", "e.bin")
    (folder / "far").mkdir()
    (folder / "far/e").hardlink_to(folder / "e.bin")
    _save_external(_branching(), folder / "if.onnx", "if.bin")
    return made.compilation.outputs[0][0]


def _save_external(model: onnx.ModelProto, path: Path, location: str) -> None:
    """All weights in one file, as onnx does it for large ones."""
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        convert_attribute=True,
    )


def _branching() -> onnx.ModelProto:
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    node = onnx.helper.make_node
    value = onnx.helper.make_tensor_value_info
    ends = [value("r", onnx.TensorProto.FLOAT, [4, 4])]
    branches = [
        onnx.helper.make_graph([node("Constant", [], ["r"], value=weight)], "then", [], ends),
        onnx.helper.make_graph([node("Identity", ["x"], ["r"])], "else", [], ends),
    ]
    choice = node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    ins = [value("c", onnx.TensorProto.BOOL, []), value("x", onnx.TensorProto.FLOAT, [4, 4])]
    outs = [value("y", onnx.TensorProto.FLOAT, [4, 4])]
    graph = onnx.helper.make_graph([choice], "g", ins, outs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
