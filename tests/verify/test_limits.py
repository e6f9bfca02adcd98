"""Limits of the last rung: every precision has one, and scales far too small do not pass it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kcompiler
from kcompiler.graph.node import Array
from kcompiler.passes import group_weights
from kcompiler.passes.group_weights.groups import Groups, quantize_groups
from kcompiler.passes.quantize import scheme
from kcompiler.passes.quantize.formats import FP8
from kcompiler.registry import find_target, targets
from kcompiler.scalar import convert
from kcompiler.verify import Verification
from kcompiler.verify.ladder import LEAST_SQNR


@pytest.mark.parametrize("name", targets())
def test_every_precision_has_a_limit(name: str) -> None:
    for precision in find_target(name).precisions:
        assert LEAST_SQNR[precision] > 0


def verified(examples: Path, precision: str) -> Verification:
    digits = np.load(examples / "digits.npy")
    data = {"input": digits} if precision == "fp8" else None
    model = kcompiler.compile(
        examples / "mnistnet.onnx", precision=precision, dims={"s77": 1}, calibration=data
    )
    return model.verify({"input": digits[:1].astype(np.float32)})


def saturated(w: Array, axis: int, kind: str) -> Groups:
    """Groups whose scales are a sixteenth of what they should be."""
    found = quantize_groups(w, axis, kind)
    values = convert(FP8.nearest(found.values.astype(np.float32) * 16), FP8.dtype)
    return Groups(values, found.scale / 16, found.zero)


@pytest.mark.parametrize("precision", ["fp8", "fp8-weights"])
def test_eight_bit_floats_that_saturate_are_refused(
    examples: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales a sixteenth of what they should be: every kernel is right, the network is not."""
    assert verified(examples, precision).ok
    right = scheme._power_of_two
    monkeypatch.setattr(scheme, "_power_of_two", lambda size: right(size) / 16)
    monkeypatch.setattr(group_weights, "quantize_groups", saturated)
    failure = verified(examples, precision).first_failure
    assert failure is not None
    assert failure.rung == "model"
    assert f"{precision} should give {LEAST_SQNR[precision]:.0f} dB at least" in failure.text
