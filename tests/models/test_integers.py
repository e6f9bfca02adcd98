"""Quantized networks give onnxruntime's integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import kcompiler
from benchmarks import integer_kernels, integers
from benchmarks.models import find

LEFT = {
    "efficientnet-lite0-qdq-int8": {"Conv": 14, "Add": 9},
    "efficientnet-lite0-qop": {},
    "mnistnet-qdq": {"Conv": 2, "Add": 1},
}
"""What onnxruntime runs in float32 of a network as it is."""


def load(shared: Path, name: str) -> onnx.ModelProto:
    return onnx.load(shared / "models" / "trained" / f"{name}.onnx")


@pytest.mark.parametrize("name", integers.QUANTIZED)
def test_integers_are_those_of_onnxruntime(shared: Path, name: str) -> None:
    """Networks have the bits of its integer kernels, layers are a unit from its float ones."""
    if not integer_kernels.sums_are_exact():
        pytest.skip("onnxruntime's sums of bytes saturate on this processor")
    found = integers.compare(load(shared, name), integers.sample(find(name)))
    assert len(found.whole.tensors) == len(found.layers.tensors) >= 10
    assert found.whole.counts.total() > 300_000
    assert found.whole.largest == 0
    assert found.layers.largest <= 1
    assert (
        found.layers.counts.total() - found.layers.counts[0] <= 1e-5 * found.layers.counts.total()
    )
    text = list(integers.lines(name, found, tensors=True))
    assert sum("whole: ours" in line for line in text) == 1


@pytest.mark.parametrize("name", integers.QUANTIZED)
def test_a_node_is_left_in_float_for_two_kinds_of_bytes(shared: Path, name: str) -> None:
    """The reason why onnxruntime's own results spread, and that the rewritten model has none."""
    model = load(shared, name)
    left = integer_kernels.in_float(model)
    counts = {kind: sum(k.op_type == kind for k in left) for kind in ("Conv", "Add")}
    assert {kind: count for kind, count in counts.items() if count} == LEFT[name]
    assert all(len({*k.reads, *k.writes}) == 2 for k in left)
    assert integer_kernels.in_float(integer_kernels.unsigned(model)) == []


def test_unsigned_bytes_stand_for_the_same_numbers(shared: Path) -> None:
    """Without optimization onnxruntime dequantizes both, and all bits are the same."""
    name = "mnistnet-qdq"
    model, feeds = load(shared, name), integers.sample(find(name))
    pair = (model, integer_kernels.unsigned(model))
    (ours,), (theirs,) = (integer_kernels.session(m, False).run(None, feeds) for m in pair)
    assert np.array_equal(ours, theirs)


def test_signed_bytes_that_are_read_as_they_are_stay(shared: Path) -> None:
    model = load(shared, "mnistnet-qdq")
    first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    model.graph.node.append(onnx.helper.make_node("Neg", [first.output[0]], ["negative"]))
    with pytest.raises(ValueError, match="not dequantized"):
        integer_kernels.unsigned(model)


def test_a_wrong_step_is_seen(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: what is compiled has a scale that is 2 % too large."""
    model = load(shared, "mnistnet-qdq")
    compile_ = kcompiler.compile

    def scaled(model: onnx.ModelProto, *arguments: Any, **options: Any) -> Any:
        name = next(n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear")
        (scale,) = (i for i in model.graph.initializer if i.name == name)
        wrong = onnx.numpy_helper.to_array(scale) * np.float32(1.02)
        scale.CopyFrom(onnx.numpy_helper.from_array(wrong, name))
        return compile_(model, *arguments, **options)

    monkeypatch.setattr(kcompiler, "compile", scaled)
    found = integers.compare(model, integers.sample(find("mnistnet-qdq")))
    assert found.whole.largest > 1
    assert found.layers.largest > 0


def test_a_network_in_float16(shared: Path) -> None:
    """As near to float32 as onnxruntime's float16 is, within 3 dB."""
    name = "efficientnet-lite0-fp16"
    wide = load(shared, integers.NARROW[name])
    found = integers.ratios(load(shared, name), wide, integers.sample(find(name)))
    ours, to_wide, theirs = found
    assert ours > 50
    assert to_wide > theirs - 3
    assert integers.narrow_line(name, found).startswith(f"{name}: {ours:.1f} dB")
