"""`Session`: like onnxruntime's, with clear errors."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.errors import UsageError
from tests.runtime import models

X = np.random.default_rng(1).standard_normal((50, 96)).astype(np.float32)


def test_a_saved_model_computes_the_same(linear: CompiledModel, tmp_path: Path) -> None:
    info = linear.save(tmp_path / "m.kpkg")
    assert info.bytes == (tmp_path / "m.kpkg").stat().st_size
    expected = linear.run({"x": X})["y"]
    for source in (tmp_path / "m.kpkg", linear.to_bytes()):
        (found,) = kcompiler.Session(source).run(None, {"x": X})
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(kcompiler.load(source).run({"x": X})["y"], expected)


def test_saving_what_was_loaded_gives_the_same_bytes(
    linear: CompiledModel, divided: CompiledModel
) -> None:
    for model in (linear, divided):
        assert kcompiler.load(model.to_bytes()).to_bytes() == model.to_bytes()


def test_it_computes_what_onnxruntime_computes(linear: CompiledModel) -> None:
    (expected,) = ort.InferenceSession(models.linear()).run(None, {"x": X})
    (found,) = kcompiler.Session(linear.to_bytes()).run(["y"], {"x": X})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert (found != expected).any()  # it is not onnxruntime that computes it


def test_a_session_runs_again(linear: CompiledModel) -> None:
    session = kcompiler.Session(linear.to_bytes())
    first = session.run(None, {"x": X})[0]
    session.run(None, {"x": -X})
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], first)


def test_host_parts_run_between_npu_parts(divided: CompiledModel) -> None:
    x = np.eye(6, dtype=np.float32) * 2
    reference = ort.InferenceSession(models.divided()).run(None, {"x": x})
    session = kcompiler.Session(divided.to_bytes())
    for found, expected in zip(session.run(None, {"x": x}), reference, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.01, atol=1e-6)
    kinds = [type(s).__name__ for s in divided.compilation.segments]
    assert kinds == ["NpuSegment", "HostSegment", "NpuSegment"]


def test_outputs_by_name_in_the_order_asked_for(divided: CompiledModel) -> None:
    session = kcompiler.Session(divided.to_bytes())
    x = np.eye(6, dtype=np.float32)
    y, d = session.run(None, {"x": x})
    assert y.shape == (6, 6)
    assert d.shape == ()
    (again,) = session.run(["d"], {"x": x})
    assert again == d
    assert session.run([], {"x": x}) == []


def test_interface_as_onnxruntime_describes_it(divided: CompiledModel) -> None:
    ours, theirs = kcompiler.Session(divided.to_bytes()), ort.InferenceSession(models.divided())
    for own, other in (
        (ours.get_inputs(), theirs.get_inputs()),
        (ours.get_outputs(), theirs.get_outputs()),
    ):
        assert [(a.name, list(a.shape or ()), a.type) for a in own] == [
            (a.name, a.shape, a.type) for a in other
        ]


@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        (
            {},
            """\
error: input 'x' is missing
  because: the model takes x: f32[50,96]""",
        ),
        (
            {"z": X},
            """\
error: input 'x' is missing
  because: the model takes x: f32[50,96], and there is no input 'z'""",
        ),
        (
            {"x": X, "z": X},
            """\
error: the model has no input 'z'
  because: it takes x: f32[50,96]""",
        ),
        (
            {"x": X.astype(np.float64)},
            """\
error: input 'x' has the element type float64
  because: the model takes f32[50,96]
  try: convert it: x.astype('float32')""",
        ),
        (
            {"x": X[:10]},
            """\
error: input 'x' has the shape [10, 96]
  because: the model was compiled for f32[50,96]
  try: reshape it, or compile the model for this shape""",
        ),
    ],
)
def test_wrong_inputs(linear: CompiledModel, feeds: dict[str, object], text: str) -> None:
    session = kcompiler.Session(linear.to_bytes())
    with pytest.raises(UsageError) as caught:
        session.run(None, feeds)
    assert str(caught.value) == text


def test_an_unknown_output(linear: CompiledModel) -> None:
    with pytest.raises(UsageError) as caught:
        kcompiler.Session(linear.to_bytes()).run(["z"], {"x": X})
    assert str(caught.value) == "error: the model has no output 'z'\n  because: its outputs are y"
