"""Quantized networks give onnxruntime's integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import kcompiler
from benchmarks import integers
from benchmarks.models import find

SLOW = pytest.mark.slow
EXACT = {"mnistnet-qdq", "efficientnet-lite0-qop"}


@pytest.mark.parametrize(
    "name", [n if n == "mnistnet-qdq" else pytest.param(n, marks=SLOW) for n in integers.QUANTIZED]
)
def test_integers_are_those_of_onnxruntime(shared: Path, name: str) -> None:
    """Each layer to one unit in the last place; most networks as a whole to the last bit."""
    model = onnx.load(shared / "models" / "trained" / f"{name}.onnx")
    whole, layers = integers.compare(model, integers.sample(find(name)))
    assert len(whole.tensors) == len(layers.tensors) >= 10
    assert layers.largest <= 1
    assert layers.counts.total() - layers.counts[0] <= 1e-5 * layers.counts.total()
    if name in EXACT:
        assert whole.largest == 0


def test_a_wrong_step_is_seen(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: what is compiled has a scale that is 2 % too large."""
    model = onnx.load(shared / "models" / "trained" / "mnistnet-qdq.onnx")
    compile_ = kcompiler.compile

    def scaled(model: onnx.ModelProto, *arguments: Any, **options: Any) -> Any:
        name = next(n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear")
        (scale,) = (i for i in model.graph.initializer if i.name == name)
        wrong = onnx.numpy_helper.to_array(scale) * np.float32(1.02)
        scale.CopyFrom(onnx.numpy_helper.from_array(wrong, name))
        return compile_(model, *arguments, **options)

    monkeypatch.setattr(kcompiler, "compile", scaled)
    whole, layers = integers.compare(model, integers.sample(find("mnistnet-qdq")))
    assert whole.largest > 1
    assert layers.largest > 0
