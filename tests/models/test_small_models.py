"""Small models from ONNX to simulated numbers, beside onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import kcompiler
from kcompiler.graph.node import Array
from tests.models import nets
from tests.runtime.models import model, node

LEAST_DB = {"f32": 110.0, "f16": 60.0, "bf16": 42.0}


def check(source: bytes | Path, precision: str, least: float, **options: object) -> None:
    """Compile, verify, and hold the outputs against a limit."""
    data = source.read_bytes() if isinstance(source, Path) else source
    compiled = kcompiler.compile(data, precision=precision, **options)  # type: ignore[arg-type]
    result = compiled.verify()
    result.raise_for_failure()
    assert result.reference == "onnxruntime"
    assert result.kernels == sum(len(s.program.kernels) for s in compiled.programs)
    for name, error in result.outputs.items():
        assert error.max_abs_err == 0 or (error.sqnr_db or 0) >= least, name


@pytest.mark.parametrize("precision", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("name", ["convolutional", "small_transformer"])
def test_networks(name: str, precision: str) -> None:
    check(getattr(nets, name)(), precision, LEAST_DB[precision])


def test_integers_are_exact() -> None:
    result = kcompiler.compile(nets.integer()).verify()
    result.raise_for_failure()
    assert {name: e.max_abs_err for name, e in result.outputs.items()} == {"y": 0, "z": 0}


def test_the_example_reads_its_digits(examples: Path) -> None:
    digits = np.load(examples / "digits.npy")[:4]
    labels = np.load(examples / "digits_labels.npy")[:4]
    compiled = kcompiler.compile(examples / "mnistnet.onnx", dims={"s77": 4})
    result = compiled.verify({"input": digits})
    result.raise_for_failure()
    assert (result.outputs["logits"].sqnr_db or 0) > 65
    assert (compiled.run({"input": digits})["logits"].argmax(-1) == labels).all()


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_number_in_memory(zero: float) -> None:
    """A negative zero is no literal of a kernel: it lies in memory, without dimensions."""
    source = model(
        [node("Where", "c x z", "y")],
        [("c", onnx.TensorProto.BOOL, [4]), ("x", onnx.TensorProto.FLOAT, [4])],
        [("y", onnx.TensorProto.FLOAT, [4])],
        z=np.array(zero, np.float32),
    )
    feeds: dict[str, Array] = {
        "c": np.array([True, False, True, False]),
        "x": np.ones(4, np.float32),
    }
    found = kcompiler.compile(source).run(feeds)["y"]
    assert found.tolist() == [1, 0, 1, 0]
    assert (np.signbit(found[1::2]) == np.signbit(zero)).all()
