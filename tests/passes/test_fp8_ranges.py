"""Ranges for 8-bit floats: steps of these are not equal, so observers weigh what floats lose."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from kcompiler.calibration import Histogram
from kcompiler.errors import UsageError
from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Graph
from kcompiler.graph.operators import Contract
from kcompiler.graph.types import F32
from kcompiler.passes.quantize import Quantize, Report
from kcompiler.passes.quantize.formats import FP8
from kcompiler.passes.quantize.ranges import observed
from kcompiler.passes.quantize.scheme import Scheme
from kcompiler.sample import tensor

RNG = np.random.default_rng(0)
VALUES = {
    "normal": RNG.normal(size=20_000),
    "student": np.random.default_rng(5).standard_t(3, 200_000),
    "relu": np.maximum(RNG.laplace(size=20_000), 0),
    "just above a power": np.append(RNG.normal(size=20_000) * 4, 449 / 32),
    "tiny beside an outlier": np.append(RNG.normal(size=200_000) * 1e-4, 20.0),
}


def noise(x: Array, scale: float) -> float:
    """The squared error by ml_dtypes alone."""
    stored = np.clip(x / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn)
    return float(np.sum(np.square(stored.astype(np.float64) * scale - x)))


def seen(x: Array) -> Histogram:
    found = Histogram()
    found.add(x)
    return found


@pytest.mark.parametrize("name", VALUES)
def test_mean_square_is_the_best_power_of_two(name: str) -> None:
    x = VALUES[name].astype(np.float32)
    found = Scheme.of(observed(seen(x), "mse", FP8), kind=FP8)
    best = min(noise(x, 2.0**n) for n in range(-40, 10))
    assert noise(x, found.scale) <= 1.02 * best


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("observer", ["auto", "mse"])
def test_nothing_is_lost_against_all_that_was_seen(observer: str, name: str) -> None:
    """As the pass chooses: of Student's t, steps of equal size would cost mse 3 dB."""
    x = VALUES[name].astype(np.float32)
    x = x[x.size % 80 :].reshape(-1, 80)
    scales = [chosen(x, each) for each in (observer, "min-max")]
    assert noise(x, scales[0]) <= 1.02 * noise(x, scales[1])


def chosen(x: Array, observer: str) -> float:
    log: list[Report] = []
    data = tensor("x", *x.shape)
    product = Contract(data, constant(RNG.normal(size=(80, 4)), F32), "ij,jk->ik", F32)
    graph = Graph("g", (data,), (("y", product),))
    Quantize(kind="fp8", samples=({"x": x},), observer=observer, log=log).run(graph)
    (row,) = log[0].tensors
    return row.scale


def test_entropy_counts_equal_steps() -> None:
    with pytest.raises(UsageError, match="entropy is no observer of 8-bit floats") as caught:
        chosen(VALUES["normal"].astype(np.float32).reshape(-1, 80), "entropy")
    assert str(caught.value).endswith("try: one of: min-max, percentile, mse, auto")
