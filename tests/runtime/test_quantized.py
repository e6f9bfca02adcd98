"""Quantized models from end to end: the interface, packages, and forged reports."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.artifact import pack
from kcompiler.errors import PackageError, UsageError
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array
from kcompiler.package import to_bytes
from tests.runtime import dynamic_models
from tests.runtime.models import model as model_of
from tests.runtime.models import node, values


@pytest.fixture(scope="module")
def digits(examples: Path) -> Array:
    found: Array = np.load(examples / "digits.npy")
    return found


@pytest.fixture(scope="module")
def model(examples: Path, digits: Array) -> CompiledModel:
    labels = np.load(examples / "digits_labels.npy")
    return kcompiler.compile(
        examples / "mnistnet.onnx",
        precision="int8",
        dims={"s77": 1},
        calibration={"input": digits, "labels": labels},
    )


def test_it_verifies_on_a_sample_of_the_data(model: CompiledModel) -> None:
    found = model.verify()
    assert found.ok
    assert found.generated == ()
    (error,) = found.outputs.values()
    assert error.sqnr_db is not None
    assert error.sqnr_db > 40


def test_the_program_is_the_graph_bit_for_bit(model: CompiledModel, digits: Array) -> None:
    (segment,) = model.programs
    assert segment.graph is not None
    for digit in digits[:4]:
        ours = model.run({"input": digit[None]})
        expected = run_graph(segment.graph, {"input": digit[None]})
        assert all(np.array_equal(ours[name], expected[name]) for name in expected)


def test_the_report_goes_with_the_package(model: CompiledModel, digits: Array) -> None:
    report = model.report().quantization
    assert report is not None
    (output,) = report["outputs"]
    assert (output["count"], output["agreement"]) == (16, 16)
    assert output["correct"] == output["correct_float"] >= 15
    loaded = kcompiler.load(model.to_bytes())
    assert loaded.report().quantization == report
    assert loaded.compilation.notes == model.compilation.notes
    ours, theirs = (m.run({"input": digits[0][None]}) for m in (model, loaded))
    assert np.array_equal(ours["logits"], theirs["logits"])


def test_the_same_data_give_the_same_bytes(
    model: CompiledModel, examples: Path, digits: Array
) -> None:
    def drawn() -> Iterator[Array]:
        yield from digits

    again = kcompiler.compile(
        examples / "mnistnet.onnx", precision="int8", dims={"s77": 1}, calibration=drawn()
    )
    labels = ("correct", "correct_float")
    manifests = [pack(m.compilation, m.target)[0] for m in (model, again)]
    for manifest in manifests:
        for row in manifest["facts"]["quantization"]["outputs"]:
            for name in labels:
                row[name] = None
    one, other = (
        to_bytes(found, pack(m.compilation, m.target)[1])
        for m, found in zip((model, again), manifests, strict=True)
    )
    assert one == other


def test_its_layers_are_in_its_report(model: CompiledModel) -> None:
    with pytest.raises(UsageError, match="a quantized model has no layers to compare"):
        model.layers()


@pytest.mark.parametrize("precision", ["int8", "mixed", "fp8"])
def test_buckets_share_what_calibration_decides(precision: str) -> None:
    """A row is the same bytes whatever program computes it, and weights lie in a package once."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 96, 80)).astype(np.float32)
    model = long_rows()
    made = kcompiler.compile(
        model, precision=precision, dims={"seq": "1..96:32"}, calibration=iter(data)
    )
    whole = kcompiler.compile(model, precision=precision, dims={"seq": 96}, calibration=data)
    exact = kcompiler.compile(model, precision="f32", dims={"seq": 96})
    x = rng.normal(size=(96, 80)).astype(np.float32)
    found = {n: made.run({"x": x[:n]}) for n in (5, 32, 33, 90, 96)}
    for n, results in found.items():
        assert len(results) == 2
        for name, value in results.items():
            assert value.shape[0] == n
            assert np.array_equal(value, found[96][name][:n])
    for name, value in whole.run({"x": x}).items():
        assert np.array_equal(value, found[96][name])
        assert not np.array_equal(value, exact.run({"x": x})[name])
    assert made.verify().ok
    assert made.report().quantization == whole.report().quantization
    assert len(made.to_bytes()) < 2.2 * len(whole.to_bytes())


@pytest.mark.parametrize("precision", ["int8-weights", "int4-weights", "fp8-weights"])
def test_buckets_of_narrow_weights(precision: str) -> None:
    x = np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32)
    recipe = kcompiler.Quantization(group_size=16)
    ranges: dict[str, Any] = {"seq": "1..64:32"}
    made, whole = (
        kcompiler.compile(long_rows(), precision=precision, dims=dims, quantization=recipe)
        for dims in (ranges, {"seq": 64})
    )
    for n in (7, 40, 64):
        for name, value in made.run({"x": x[:n]}).items():
            assert np.allclose(value, whole.run({"x": x})[name][:n], atol=2e-3)
    assert made.verify().ok


def test_rows_that_a_mask_hides() -> None:
    """A projection before an attention of two: padding is without effect, data are read once."""
    rng = np.random.default_rng(0)
    hidden = attention_by_hand()
    data = (
        {"x": rng.normal(size=(64, 80)).astype(np.float32), "mask": np.ones(64, np.float32)}
        for _ in range(6)
    )
    made = kcompiler.compile(hidden, precision="int8", dims={"seq": "1..64:32"}, calibration=data)
    assert "2 tensors" in " ".join(made.compilation.notes)
    session = ort.InferenceSession(hidden)
    for n in (7, 40, 64):
        x = {"x": rng.normal(size=(n, 80)).astype(np.float32), "mask": np.ones(n, np.float32)}
        (found,), (wanted,) = made.run(x).values(), session.run(None, x)
        assert np.sum((found - wanted) ** 2) < 1e-3 * np.sum(wanted**2)


def attention_by_hand(*, relu: bool = False) -> bytes:
    """Rows that attend to each other where a mask has ones; with a relu it is no composite."""
    return model_of(
        [
            node("MatMul", "x w", "h", "first"),
            node("Transpose", "h", "t", perm=[1, 0]),
            node("MatMul", "h t", "scores", "scores"),
            node("Sub", "one mask", "off"),
            node("Mul", "off far", "bias"),
            node("Add", "scores bias", "masked"),
            node("Softmax", "masked", "p", axis=-1),
            node("Relu" if relu else "Identity", "p", "q", "relu"),
            node("MatMul", "q h", "mixed", "mixed"),
            node("MatMul", "mixed v", "y", "second"),
        ],
        [("x", TensorProto.FLOAT, ["seq", 80]), ("mask", TensorProto.FLOAT, ["seq"])],
        [("y", TensorProto.FLOAT, ["seq", 8])],
        w=values(80, 96) / 4,
        v=values(96, 8),
        one=np.ones((), np.float32),
        far=np.array(-10000.0, np.float32),
    )


def masked_rows(count: int, n: int, seed: int) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(n, 80)).astype(np.float32) for _ in range(count))
    return [{"x": x, "mask": np.ones(n, np.float32)} for x in rows]


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_sums_along_rows_are_narrow_in_all_buckets_or_in_none(precision: str) -> None:
    """Short sums stay float in fp8: what is short for the largest extents is so for all."""
    data, model = masked_rows(3, 128, 0), attention_by_hand(relu=True)
    made, whole = (
        kcompiler.compile(model, precision=precision, dims={"seq": seq}, calibration=iter(data))
        for seq in ("1..128:32", 128)
    )
    assert made.compilation.notes == whole.compilation.notes
    for n in (7, 32, 64, 90):
        (rows,) = masked_rows(1, n, n)
        padded = {k: np.pad(v, [(0, 128 - n), (0, 0)][: v.ndim]) for k, v in rows.items()}
        assert np.array_equal(made.run(rows)["y"], whole.run(padded)["y"][:n])
    assert made.verify().ok


def test_what_one_bucket_has_otherwise_is_said() -> None:
    """One row has no transpose, by which the product is known: it stays float, as a note says."""
    data = masked_rows(3, 128, 0)
    made = kcompiler.compile(
        attention_by_hand(relu=True),
        precision="fp8",
        dims={"seq": "1,128"},
        calibration=iter(data),
    )
    assert "transpose stays float (in the program for seq=1)" in made.compilation.notes


def test_nothing_to_calibrate_in_any_bucket() -> None:
    """Attention alone stays float in all of them, and data are read once."""
    words = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    made = kcompiler.compile(
        dynamic_models.causal(),
        precision="int8",
        dims={"seq": "1..64:32"},
        calibration=iter([words]),
    )
    assert "nothing of the model is int8: it has no products" in made.compilation.notes


def test_nothing_is_long_enough_in_any_bucket() -> None:
    """All buckets say the same: what stays float for the largest extents."""
    short = model_of(
        [node("MatMul", "x w", "y", "only")],
        [("x", TensorProto.FLOAT, ["seq", 48])],
        [("y", TensorProto.FLOAT, ["seq", 8])],
        w=values(48, 8),
    )
    data = np.random.default_rng(0).normal(size=(1, 64, 48)).astype(np.float32)
    made = kcompiler.compile(short, precision="fp8", dims={"seq": "1..64:32"}, calibration=data)
    assert "nothing of the model is fp8" in made.compilation.notes
    assert made.compilation.buckets is not None
    assert {b.compilation.notes for b in made.compilation.buckets.members} == {
        made.compilation.notes
    }


def long_rows() -> bytes:
    """Two products of each row: its terms are more than an array's rows."""
    return model_of(
        [
            node("MatMul", "x w", "h", "first"),
            node("Relu", "h", "r"),
            node("MatMul", "r v", "y", "second"),
            node("Softmax", "y", "p", axis=-1),
        ],
        [("x", TensorProto.FLOAT, ["seq", 80])],
        [("p", TensorProto.FLOAT, ["seq", 8]), ("r", TensorProto.FLOAT, ["seq", 96])],
        w=values(80, 96),
        v=values(96, 8),
    )


def test_data_for_buckets_have_the_largest_extents(examples: Path, digits: Array) -> None:
    with pytest.raises(UsageError, match="the calibration data do not fit"):
        kcompiler.compile(
            long_rows(), precision="int8", dims={"seq": "1,40"}, calibration=np.ones((3, 39, 80))
        )
    with pytest.raises(UsageError, match="in no range that was learnt without padding"):
        kcompiler.compile(
            long_rows(), "warboy", dims={"seq": "1,40"}, calibration=np.ones((3, 40, 80))
        )
    with pytest.raises(UsageError, match="equalization needs one extent of each dimension"):
        kcompiler.compile(
            examples / "mnistnet.onnx",
            precision="int8",
            dims={"s77": "1,2"},
            calibration=digits,
            quantization=kcompiler.Quantization(equalize=True),
        )


@pytest.mark.parametrize(
    ("precision", "kind"), [("int8", "int8"), ("fp8", "fp8"), ("fp8-weights", "fp8")]
)
def test_reports_say_what_the_narrow_numbers_are(
    examples: Path, digits: Array, precision: str, kind: str
) -> None:
    """Also those of a package that was read."""
    data = None if "weights" in precision else digits
    made = kcompiler.compile(
        examples / "mnistnet.onnx", precision=precision, dims={"s77": 1}, calibration=data
    )
    for model in (made, kcompiler.load(made.to_bytes())):
        report = model.report().quantization
        assert report is not None
        assert report["kind"] == kind


FORGED: list[tuple[str, Any]] = [
    ("samples", "many"),
    ("more", 1),
    ("kind", 8),
    ("layers", None),
    ("layers", [{"name": "x"}]),
    ("layers", [{"name": "x", "operator": 3, "sqnr_db": None, "cosine": 1.0}]),
    ("tensors", [[]]),
    ("outputs", {"name": "x"}),
    ("outputs", [{"name": "x", "sqnr_db": "high", "cosine": 1.0, "count": 1}]),
]


@pytest.mark.parametrize(("field", "value"), FORGED)
def test_forged_reports_are_refused(model: CompiledModel, field: str, value: object) -> None:
    manifest, sections = pack(model.compilation, model.target)
    manifest = copy.deepcopy(manifest)
    manifest["facts"]["quantization"][field] = value
    with pytest.raises(PackageError, match=f"facts.quantization.{field}"):
        kcompiler.load(to_bytes(manifest, sections))


def test_a_report_with_more_in_it_is_read_as_far_as_known(model: CompiledModel) -> None:
    manifest, sections = pack(model.compilation, model.target)
    manifest = copy.deepcopy(manifest)
    manifest["facts"]["quantization"]["extra"] = [1]
    loaded = kcompiler.load(to_bytes(manifest, sections))
    assert "extra" not in loaded.compilation.facts["quantization"]
