"""Limits of the last rung: every precision has one, and scales far too small do not pass it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kcompiler
from kcompiler.graph.node import Array
from kcompiler.graph.types import parse_dtype
from kcompiler.passes import group_weights
from kcompiler.passes.group_weights.groups import Groups, quantize_groups
from kcompiler.passes.quantize import scheme
from kcompiler.passes.quantize.formats import FP8
from kcompiler.registry import find_target, targets
from kcompiler.scalar import convert
from kcompiler.verify import Verification, verify
from kcompiler.verify.limits import LEAST_SQNR, limits, one_step
from tests.passes.qdq import Model


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


def rounded(kind: Any, *, last: bool, fault: float = 1.0) -> tuple[bytes, dict[str, Array]]:
    """A mean of nine numbers of 8 bits, which lies halfway between two for one in some; rounded.

    What is rounded last is the output itself, or a term of it.
    """
    x = np.random.default_rng(0).normal(size=(2, 8, 6, 6)).astype(np.float32)
    m = Model(x=x)

    def through(y: str, factor: float = 1.0) -> str:
        zero = m.constant(0, kind)
        whole = m("QuantizeLinear", y, m.constant(0.02), zero)
        return m("DequantizeLinear", whole, m.constant(0.02 * factor), zero)

    mean = m("AveragePool", through(m("Sigmoid", through("x"))), kernel_shape=[3, 3], pads=[1] * 4)
    y = through(mean, fault)
    return m.done(y if last else m("Add", m("Sigmoid", y), y), opset=19), {"x": x}


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("kind", ["f8e4m3fn", "f8e5m2", "i8", "u8"])
def test_a_model_that_rounds_may_be_a_step_off(kind: str, *, last: bool) -> None:
    """One step where a sum lies on the border is no error in float32 either; a factor is one."""
    dtype = parse_dtype(kind)
    data, feeds = rounded(dtype, last=last)
    found = kcompiler.compile(data, precision="f32").verify(feeds)
    assert found.ok
    (error,) = found.outputs.values()
    assert error.sqnr_db is None or one_step(dtype).decibels < error.sqnr_db < 60
    model = kcompiler.compile(data, precision="f32")
    wrong, _ = rounded(dtype, last=last, fault=2.0)
    failure = verify(model.compilation, model.target, wrong, feeds).first_failure
    assert failure is not None
    least = one_step(dtype).decibels
    assert failure.text.endswith(
        f"a model that rounds to {kind} should give {least:.0f} dB at least"
    )


def test_one_step_of_every_number() -> None:
    """The limit by its words: of no number of a type is the step to the next a larger part."""
    for kind, least in (("f8e4m3fn", 2.0**-6), ("f8e5m2", 2.0**-14)):
        dtype = parse_dtype(kind)
        every = np.arange(128).astype(np.uint8).view(dtype).astype(np.float64)
        known = np.sort(every[np.isfinite(every)])
        normal = known[known >= least]
        steps = np.diff(normal)
        worst = 20 * np.log10((normal[:-1] / steps).min())
        assert worst == pytest.approx(one_step(dtype).decibels)


def test_what_nothing_rounds_has_the_limit_of_the_precision() -> None:
    """An output beside the rounding, of the same model, keeps its 60 dB."""
    m = Model(x=np.ones((4, 64), np.float32))
    zero = m.constant(0, parse_dtype("f8e4m3fn"))
    whole = m("QuantizeLinear", "x", m.constant(0.02), zero)
    outputs = m("DequantizeLinear", whole, m.constant(0.02), zero), m("Sigmoid", "x")
    model = kcompiler.compile(m.done(*outputs, opset=19), precision="f32")
    found = limits(model.compilation)
    assert [found[name].decibels for name in outputs] == [
        one_step(parse_dtype("f8e4m3fn")).decibels,
        60,
    ]
