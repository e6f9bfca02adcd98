"""The Python interface as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.errors import UsageError
from tests.conftest import ROOT
from tests.runtime import models


def python(code: str, **env: str) -> str:
    """The standard output of a fresh interpreter."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_targets() -> None:
    assert "rebel" in kcompiler.targets()


def test_targets_can_be_called_whatever_was_imported() -> None:
    code = "import kcompiler, kcompiler.targets.rebel; print(kcompiler.targets())"
    assert "rebel" in python(code)


def test_importing_the_package_is_light() -> None:
    heavy = "{'numpy', 'onnx', 'onnxruntime', 'rich', 'click'}"
    code = f"import sys, kcompiler; print(sorted({heavy} & set(sys.modules)))"
    assert python(code).strip() == "[]"


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'kcompiler' has no attribute 'compiles'"):
        _ = kcompiler.compiles


def test_models_from_paths_bytes_and_messages(tmp_path: Path) -> None:
    data = models.linear()
    (tmp_path / "m.onnx").write_bytes(data)
    found = [kcompiler.compile(source).to_bytes() for source in (data, onnx.load_from_string(data))]
    assert found[0] == found[1]
    by_path = kcompiler.compile(tmp_path / "m.onnx")
    assert by_path.compilation.model == "m.onnx"
    x = np.ones((50, 96), np.float32)
    np.testing.assert_array_equal(
        by_path.run({"x": x})["y"], kcompiler.load(found[0]).run({"x": x})["y"]
    )


def test_dims_and_shapes() -> None:
    by_dim = kcompiler.compile(models.open_linear(), dims={"batch": 3})
    by_shape = kcompiler.compile(models.open_linear(), shapes={"x": (3, 96)})
    assert by_dim.to_bytes() == by_shape.to_bytes()
    assert by_dim.run({"x": np.zeros((3, 96), np.float32)})["y"].shape == (3, 40)


@pytest.mark.parametrize("precision", ["f16", "bf16", "f32"])
def test_precisions(precision: str) -> None:
    model = kcompiler.compile(models.linear(), precision=precision)
    result = model.verify()
    assert result.first_failure is None
    ratio = result.outputs["y"].sqnr_db
    assert ratio is not None
    least, most = {"f16": (55, 90), "bf16": (35, 60), "f32": (100, 200)}[precision]
    assert least < ratio < most


def test_an_unknown_target() -> None:
    with pytest.raises(UsageError) as caught:
        kcompiler.compile(models.linear(), "rebbel")
    known = ", ".join(kcompiler.targets())
    assert str(caught.value) == (
        f"error: there is no target 'rebbel'\n  because: known: {known}\n  try: did you mean rebel?"
    )


def test_an_unknown_precision() -> None:
    with pytest.raises(UsageError) as caught:
        kcompiler.compile(models.linear(), precision="f12")
    assert str(caught.value) == (
        "error: rebel has no precision 'f12'\n"
        "  try: one of: f16, bf16, f32, int8, mixed, fp8, int8-weights, int4-weights, fp8-weights"
    )


def test_a_loaded_model_has_nothing_to_verify_against(linear: CompiledModel) -> None:
    with pytest.raises(UsageError) as caught:
        kcompiler.load(linear.to_bytes()).verify()
    assert str(caught.value) == (
        "error: a package holds no model to verify against\n"
        "  try: verify the model when you compile it"
    )


def test_the_report_of_a_loaded_model_is_the_same(linear: CompiledModel) -> None:
    loaded = kcompiler.load(linear.to_bytes())
    fresh = linear.report().json()
    again = loaded.report().json()
    for part in ("verify", "compile", "package"):
        fresh.pop(part)
        again.pop(part)
    assert fresh == again


COMPILE = """
import hashlib, kcompiler
from tests.runtime import models
for source in (models.linear(), models.divided(), "examples/mnistnet.onnx"):
    dims = {"s77": 2} if isinstance(source, str) else {}
    print(hashlib.sha256(kcompiler.compile(source, dims=dims).to_bytes()).hexdigest())
"""


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    first, second = (python(COMPILE, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert len(first.split()) == 3
    assert first == second


CALIBRATED = """
import hashlib, kcompiler
for precision in ("int8", "mixed"):
    made = kcompiler.compile(
        "examples/mnistnet.onnx", dims={"s77": 16}, precision=precision,
        calibration="examples/digits.npy",
    )
    print(hashlib.sha256(made.to_bytes()).hexdigest())
"""


def test_the_same_bytes_whatever_the_number_of_threads() -> None:
    many = [{"OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n} for n in ("1", "2")]
    first, second = (python(CALIBRATED, **settings) for settings in many)
    assert len(first.split()) == 2
    assert first == second


def test_the_number_of_threads_is_put_back() -> None:
    from threadpoolctl import threadpool_info, threadpool_limits

    from kcompiler.threads import one_thread

    def counts() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(2, "blas"):
        before = counts()
        with one_thread():
            assert set(counts()) == {1}
        assert counts() == before


PLUGIN = """
from dataclasses import replace
from kcompiler.targets.rebel import TARGET as REBEL
TARGET = replace(REBEL, name="mychip")
"""
REGISTRATION = (
    "[kcompiler.targets]\nmychip = mychip_plugin\nbroken = mychip_absent\nodd = math:pi\n"
    "rebel = mychip_plugin\n"
)


def test_a_target_of_another_package(tmp_path: Path) -> None:
    (tmp_path / "mychip_plugin.py").write_text(PLUGIN)
    info = tmp_path / "mychip-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mychip\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(REGISTRATION)
    code = """
import kcompiler
from kcompiler.errors import UsageError
from tests.runtime import models
print(*kcompiler.targets())
print(kcompiler.compile(models.linear(), "mychip").report().target)
for name in ("broken", "odd", "rebel"):
    try:
        kcompiler.compile(models.linear(), name)
    except UsageError as error:
        print(error)
"""
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    lines = python(code, PYTHONPATH=path).splitlines()
    assert {"broken", "mychip", "odd", "rebel"} <= set(lines[0].split())
    assert lines[1:] == [
        "mychip",
        "error: the target 'broken' cannot be loaded",
        "  at: mychip_absent",
        "  because: ModuleNotFoundError: No module named 'mychip_absent'",
        "  try: this is a bug in the package that registers it, not in kcompiler",
        "error: the target 'odd' cannot be loaded",
        "  because: what it names is 3.141592653589793, not a Target called 'odd'",
        "error: two packages register a target 'rebel'",
        "  because: kcompiler (kcompiler.targets.rebel), mychip (mychip_plugin)",
        "  try: uninstall one of them",
    ]
    listed = subprocess.run(
        [sys.executable, "-m", "kcompiler.cli", "targets"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 1
    assert "mychip" in listed.stdout
    assert "odd" not in listed.stdout
    assert listed.stderr.count("error: ") == 3
