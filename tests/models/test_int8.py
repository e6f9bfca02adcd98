"""Convolutional networks in int8: each kernel of the program is what its integers give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

import kcompiler
from benchmarks import int8
from benchmarks.models import ROOT, Model, find, obtain
from benchmarks.table import samples
from kcompiler.compilation import HostSegment
from kcompiler.graph.node import Array
from kcompiler.kernel.interpreter import run_kernel
from kcompiler.kernel.statements import Kernel
from tests.models import nets

PREPROCESS = "scale=255,mean=0.45,std=0.225,layout=NHWC"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("mobilenetv2-dynamo", "rebel"),
        ("mobilenetv2-dynamo", "warboy"),
        ("resnet50-v1.5-dynamo", "rebel"),
    ],
)
def test_networks_verify(shared: Path, name: str, target: str) -> None:
    path = obtain(find(name), ROOT / "build" / "models")
    pixels = np.load(shared / "data" / "calib_imagenet_like_48.npy")[::12]
    model = kcompiler.compile(
        path, target, precision="int8", calibration=pixels, preprocess=PREPROCESS
    )
    found = model.verify()
    assert found.ok, found.first_failure
    (error,) = found.outputs.values()
    assert error.sqnr_db is not None
    assert error.sqnr_db > 20
    assert model.report().mac_share == 1


@pytest.mark.parametrize("name", ["mnistnet-dynamo", "crepe-tiny-dynamo"])
def test_the_table_counts_equal_bits_and_says_why_the_host_works(shared: Path, name: str) -> None:
    model = find(name)
    found = int8.measure(model, shared / "models" / "trained" / f"{name}.onnx", "warboy", runs=2)
    assert found.ok
    assert found.bits.total == len(found.compiled.programs[0].program.kernels) > 5
    assert f"{found.bits.total}/{found.bits.total}" in found.row()
    assert "100.00%" in found.row()
    (why,) = found.reasons()  # the border alone
    assert "Warboy is an int8 chip" in why


def test_an_input_with_a_value_gets_no_data(tmp_path: Path) -> None:
    """The compiled model does not take it: feeding it would be an error."""
    kinds = {"x": onnx.TensorProto.FLOAT, "k": onnx.TensorProto.INT64}
    shapes = {"x": [1, 3], "k": [1]}
    inputs = [onnx.helper.make_tensor_value_info(n, t, shapes[n]) for n, t in kinds.items()]
    end = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("Tile", ["x", "r"], ["y"])
    twice = onnx.helper.make_node("Concat", ["k", "k"], ["r"], axis=0)
    graph = onnx.helper.make_graph([twice, node], "tiled", inputs, [end])
    path = tmp_path / "tiled.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    model = Model("tiled", "trained", values={"k": 2})
    assert set(samples(model, path, {})) == {"x"}


def on_warboy(source: bytes, **inputs: Array) -> tuple[kcompiler.CompiledModel, dict[str, str]]:
    """A float model, calibrated on its inputs and verified, and what the host keeps, with why."""
    model = kcompiler.compile(source, "warboy", precision="int8", calibration=(inputs,))
    found = model.verify(inputs)
    assert found.ok, found.first_failure
    segments = (s for s in model.compilation.segments if isinstance(s, HostSegment))
    return model, {name: why for s in segments for name, _, why in s.operators}


def test_gates_and_hard_swish_are_the_chip_s() -> None:
    """Squeeze and excitation between int8 products: one program, and the border on the host."""
    source = nets.convolutional()
    (given,) = onnx.load_from_string(source).graph.input
    shape = [d.dim_value for d in given.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    model, kept = on_warboy(source, **{given.name: x})
    assert len(model.programs) == 1
    assert len(kept) == 2
    assert all(why.startswith("Warboy is an int8 chip") for why in kept.values())


def test_the_host_keeps_a_transformer_s_norms_and_attention() -> None:
    """Its products run on the NPU; each node of the host has a reason that names what it is."""
    source = nets.small_transformer()
    (given,) = onnx.load_from_string(source).graph.input
    x = np.random.default_rng(0).normal(size=(1, 24, 32)).astype(np.float32)
    model, kept = on_warboy(source, **{given.name: x})
    assert any(why.startswith("Warboy has no attention, LayerNorm") for why in kept.values())
    assert all(
        why.startswith(("Warboy has no", "Warboy is an int8", "Between two"))
        for why in kept.values()
    )
    assert model.report().npu_macs > 0


def test_a_bit_that_differs_is_seen(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(kernel: Kernel, operands: Mapping[str, Array]) -> Array:
        result = run_kernel(kernel, operands)
        result.reshape(-1)[-1] ^= kernel.name == "k2"
        return result

    monkeypatch.setattr(int8, "run_kernel", wrong)
    path = shared / "models" / "trained" / "mnistnet-dynamo.onnx"
    found = int8.measure(find("mnistnet-dynamo"), path, "warboy", runs=2)
    assert not found.ok
    assert "DIFFERS: 1/k2 differs from its tiled kernel" in "\n".join(found.reasons())
