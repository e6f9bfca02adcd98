"""Quantized models from end to end: the interface, packages, and forged reports."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.artifact import pack
from kcompiler.errors import PackageError, UsageError
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array
from kcompiler.package import to_bytes


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


def test_buckets_have_no_calibration(examples: Path, digits: Array) -> None:
    with pytest.raises(UsageError, match="calibration needs one extent of each dimension"):
        kcompiler.compile(
            examples / "mnistnet.onnx", precision="int8", dims={"s77": "1,2"}, calibration=digits
        )


FORGED: list[tuple[str, Any]] = [
    ("samples", "many"),
    ("more", 1),
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
