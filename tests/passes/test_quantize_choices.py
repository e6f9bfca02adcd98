"""The pass quantize: observers, improvements, and what stays float and why."""

from __future__ import annotations

import numpy as np
import pytest

from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Graph
from kcompiler.graph.operators import (
    Mul,
    Relu,
    Sigmoid,
)
from kcompiler.graph.operators import Quantize as QuantizeOp
from kcompiler.graph.types import F32
from kcompiler.passes.quantize import Quantize
from kcompiler.passes.quantize.channels import find_groups
from kcompiler.passes.quantize.equalize import equalized
from kcompiler.passes.quantize.scheme import Scheme
from kcompiler.sample import tensor
from tests.passes.quantized import (
    contents,
    conv,
    decibels,
    float_products,
    images,
    mobile,
    quantized,
)

# ---- choices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("observer", ["min-max", "percentile", "entropy", "mse", "auto"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_observers(observer: str, symmetric: bool) -> None:
    graph = mobile()
    made, report = quantized(graph, observer=observer, symmetric=symmetric)
    least = 15 if observer == "entropy" else 20  # it cuts most, from few samples
    assert decibels(graph, made, images(8, seed=2)) > least
    if observer != "auto":
        assert {t.observer for t in report.tensors} == {observer}
    if symmetric:
        assert {t.zero for t in report.tensors} == {0}


def test_a_scalar_is_a_tensor() -> None:
    near = Scheme(0.5, 3).near(np.array(0.8, np.float32))
    assert near.shape == ()
    assert near.dtype == F32
    assert near == 1.0


def test_auto_is_no_worse_than_the_worst() -> None:
    graph, held = mobile(), images(16, seed=3)
    one = {o: decibels(graph, quantized(graph, observer=o)[0], held)
           for o in ("min-max", "percentile", "entropy", "mse", "auto")}  # fmt: skip
    assert one["auto"] > np.median([v for k, v in one.items() if k != "auto"]) - 1


def test_each_improvement_improves() -> None:
    """Factors between channels, corrected biases and rounding for the data, on held inputs."""
    graph, held = mobile(spread=1.5), images(16, seed=3)
    plain = {"bias_correction": False, "adaptive_rounding": False, "equalize": False}

    def measured(**options: bool) -> tuple[float, float]:
        made, report = quantized(graph, **{**plain, **options})
        rows = [row.sqnr_db for row in report.layers if row.sqnr_db is not None]
        return float(np.mean(rows)), decibels(graph, made, held)

    base = measured()
    for name in plain:
        inside, outside = measured(**{name: True})
        assert inside > base[0] + 0.2, name
        assert outside > base[1] - 1, name
    inside, outside = measured(bias_correction=True, adaptive_rounding=True, equalize=True)
    assert inside > base[0] + 1
    assert outside > base[1]


def test_long_filters_are_rounded_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = mobile()
    plain = contents(quantized(graph, adaptive_rounding=False)[0])
    assert contents(quantized(graph)[0]) != plain
    monkeypatch.setattr("kcompiler.passes.quantize.rounding._LONGEST", 0)
    assert contents(quantized(graph)[0]) == plain


def test_bias_correction_centres_the_error() -> None:
    graph, samples = mobile(), images(16)
    means = []
    for correct in (False, True):
        made, _ = quantized(graph, bias_correction=correct)
        errors = [run_graph(made, f)["y"] - run_graph(graph, f)["y"] for f in samples]
        means.append(float(np.abs(np.mean(errors, 0)).max()))
    assert means[1] < 0.5 * means[0]


def test_equalization_changes_nothing_but_ranges() -> None:
    graph = mobile(spread=1.5)
    after = equalized(graph, images(4))
    assert after is not graph
    assert decibels(graph, after, images(4, seed=5)) > 110


def test_factors_do_not_pass_what_is_not_linear() -> None:
    """A sigmoid, an output, a product with data: their tensors keep their ranges."""
    rng = np.random.default_rng(0)
    w = [rng.normal(size=(4, 4, 1, 1)).astype(np.float32) for _ in range(3)]
    x = tensor("x", 1, 4, 4, 4)
    first = conv(x, w[0])
    second = conv(Sigmoid(first), w[1])
    third = conv(Relu(second), w[2])
    assert not find_groups(Graph("g", (x,), (("y", third), ("z", second))))
    assert len(find_groups(Graph("g", (x,), (("y", third),)))) == 1


# ---- mixed ---------------------------------------------------------------------------------------


def outlier_net() -> Graph:
    """One layer whose filter sums cancel: in integers it spoils everything."""
    rng = np.random.default_rng(0)
    x = tensor("x", 1, 3, 16, 16)
    first = Relu(conv(x, rng.normal(size=(8, 3, 3, 3)).astype(np.float32), name="first"))
    w = rng.normal(size=(8, 8, 1, 1)).astype(np.float32)
    bad = conv(first, w - w.mean(1, keepdims=True) * 0.99, name="second")
    wild = Mul(Sigmoid(Mul(bad, constant(4.0, F32))), constant(1.0, F32))
    y = conv(wild, rng.normal(size=(4, 8, 1, 1)).astype(np.float32), name="third")
    return Graph("g", (x,), (("y", y),))


def test_mixed_keeps_the_most_sensitive_and_says_why() -> None:
    graph = outlier_net()
    plain, _ = quantized(graph)
    reached = decibels(graph, plain, images(4))
    wanted = reached + 6
    made, report = quantized(graph, min_sqnr=wanted)
    kept = [row for row in report.sensitivity if row.kept]
    assert kept
    assert len(kept) < 3
    assert [r.share for r in report.sensitivity] == sorted(
        (r.share for r in report.sensitivity), reverse=True
    )
    assert kept[0] is report.sensitivity[0]
    assert decibels(graph, made, images(4)) >= wanted - 0.5
    assert len(float_products(made)) == len(kept)
    assert any(f"{kept[0].name} stays float: alone it leaves" in n for n in report.notes())


def test_mixed_keeps_nothing_that_it_need_not() -> None:
    made, report = quantized(mobile(), min_sqnr=10.0)
    assert report.sensitivity
    assert not any(row.kept for row in report.sensitivity)
    assert not float_products(made)


def test_mixed_may_keep_everything() -> None:
    graph = mobile()
    made, report = quantized(graph, min_sqnr=120.0)
    assert all(row.kept for row in report.sensitivity)
    assert not any(isinstance(n, QuantizeOp) for n in made.nodes)
    assert decibels(graph, made, images(2)) > 110


@pytest.mark.parametrize("spread", [1e-3, 1e-5])
def test_data_that_hardly_change_have_moments(spread: float) -> None:
    """Channels of 5, 10, 15, give or take little: large sums may leave more than rounding."""
    chance = np.random.default_rng(1)
    samples = [
        {"x": (x * spread + 5.0 * np.arange(1, 4).reshape(1, 3, 1, 1)).astype(np.float32)}
        for x in chance.standard_normal((2, 1, 3, 16, 16))
    ]
    made = Quantize(samples=tuple(samples), log=[]).run(mobile())
    assert np.isfinite(run_graph(made, samples[0])["y"]).all()
