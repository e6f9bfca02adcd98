"""Convolutional networks in int8: each kernel of the program is what its integers give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kcompiler
from benchmarks.models import ROOT, find, obtain

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
