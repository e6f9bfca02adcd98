"""Convolutional networks in int8: each kernel of the program is what its integers give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import kcompiler
from benchmarks import int8
from benchmarks.models import ROOT, find, obtain
from kcompiler.graph.node import Array
from kcompiler.kernel.interpreter import run_kernel
from kcompiler.kernel.statements import Kernel

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
