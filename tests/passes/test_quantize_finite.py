"""Numbers that are none: what has them stays float, the rest becomes integers all the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Graph, Op
from kcompiler.graph.operators import Contract, Div, Host, Item, Log, Mul, Relu, Sqrt
from kcompiler.graph.types import F32, TensorType
from kcompiler.passes.quantize import Quantize, Report
from kcompiler.passes.quantize.measure import Ratio, report_output
from kcompiler.sample import tensor

RNG = np.random.default_rng(0)
W = RNG.normal(size=(8, 8)).astype(np.float32)
FEEDS = tuple({"x": RNG.normal(size=(4, 8)).astype(np.float32)} for _ in range(4))
CHOICES: list[dict[str, Any]] = [{}, {"min_sqnr": 20.0}, {"adaptive_rounding": False}]


def product(x: Op, w: Array, name: str) -> Op:
    return Contract(x, constant(w, F32), "ij,jk->ik", F32).with_origin((name,))


def made_of(graph: Graph, feeds: Any = FEEDS, **options: Any) -> tuple[Graph, Report]:
    log: list[Report] = []
    made = Quantize(samples=feeds, log=log, **options).run(graph)
    json.dumps(log[0].json(), allow_nan=False)
    return made, log[0]


@pytest.mark.parametrize("options", [*CHOICES, {"equalize": True}])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_that_are_not_finite(wrong: float, options: dict[str, Any]) -> None:
    x, w = tensor("x", 4, 8), W.copy()
    w[2, 3] = wrong
    outputs = ("y", product(Relu(product(x, W, "a")), W, "b")), ("z", product(x, w, "bad"))
    graph = Graph("g", (x,), outputs)
    made, report = made_of(graph, **options)
    assert "bad stays float: its weights are not all finite" in report.notes()
    assert {row.name for row in report.layers} == {"a", "b"}
    expected, found = (run_graph(g, FEEDS[0]) for g in (graph, made))
    assert np.isfinite(found["y"]).all()
    assert np.array_equal(expected["z"], found["z"], equal_nan=True)


@pytest.mark.parametrize("options", CHOICES)
def test_data_that_are_not_finite(options: dict[str, Any]) -> None:
    x = tensor("x", 4, 8)
    inverse = Div(constant(1.0, F32), Relu(x))
    graph = Graph("g", (x,), (("y", product(x, W, "a")), ("z", product(inverse, W, "bad"))))
    made, report = made_of(graph, **options)
    assert "bad stays float: its data are not all finite" in report.notes()
    expected, found = (run_graph(g, FEEDS[0]) for g in (graph, made))
    assert np.isfinite(found["y"]).all()
    assert np.array_equal(np.isfinite(expected["z"]), np.isfinite(found["z"]))


def test_data_whose_squares_overflow() -> None:
    x = tensor("x", 4, 8)
    graph = Graph("g", (x,), (("y", product(Mul(x, constant(1e25, F32)), W, "far")),))
    assert "far stays float: its data go beyond 1e+15" in made_of(graph)[1].notes()


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize("function", [Log, Sqrt])
def test_numbers_that_rounding_destroys(function: type[Log | Sqrt], options: Any) -> None:
    """In integers the small become 0 or less, of which there is no logarithm and no root."""
    feeds = tuple({"x": np.exp(RNG.normal(-4, 3, (4, 8))).astype(np.float32)} for _ in range(4))
    x = tensor("x", 4, 8)
    first = product(x, np.eye(8, dtype=np.float32), "first")
    last = product(function(first), W, "last")
    _, report = made_of(Graph("g", (x,), (("y", last),)), feeds, **options)
    if options.get("min_sqnr"):
        assert "first" in {row.name for row in report.sensitivity if row.kept}
    else:
        assert len(report.layers) == 2


def test_a_ratio_of_what_is_comparable() -> None:
    ratio = Ratio()
    ratio.add(np.array([3.0, np.nan, np.inf]), np.array([3.0, np.nan, np.inf]))
    assert (ratio.sqnr_db, ratio.broken) == (None, 0)
    ratio.add(np.array([4.0, np.inf, np.nan]), np.array([np.nan, 5.0, 5.0]))
    assert (ratio.signal, ratio.noise, ratio.broken) == (25.0, 16.0, 3)


def test_noise_without_signal_does_not_reach_anything() -> None:
    """Filters whose sums are 0 in float32, and not in integers."""
    x = tensor("x", 1, 2)
    feeds = ({"x": np.array([[1.0, 0.013]], np.float32)},)
    graph = Graph("g", (x,), (("y", product(x, np.array([[-0.013], [1]], np.float32), "a")),))
    assert run_graph(graph, feeds[0])["y"] == 0
    _, report = made_of(graph, feeds, min_sqnr=20.0, bias_correction=False)
    (row,) = report.sensitivity
    assert row.kept
    assert "nothing but noise, 100% of the noise" in row.why


def test_the_host_is_run_to_see_what_a_layer_costs() -> None:
    def host(node: Host, values: Sequence[Array]) -> Sequence[Array]:
        assert node.reason == "no kernel"
        return [np.tanh(values[0])]

    x = tensor("x", 4, 8)
    hosted = Host((product(x, W, "a"),), b"", (TensorType(F32, (4, 8)),), "no kernel")
    graph = Graph("g", (x,), (("y", product(Item(hosted, 0), W, "b")),))
    _, report = made_of(graph, min_sqnr=20.0, host=host)
    found = {row.name: row for row in report.sensitivity}
    assert found["a"].alone_db is not None
    assert 20 < found["a"].alone_db < 60
    assert 0.05 < found["a"].share < 0.95


def test_text_has_no_ratio() -> None:
    """An output of text is the same or not; numbers beside it keep their ratio."""
    ratio = Ratio()
    words = np.array(["one", "two"], object)
    ratio.add(words, words.copy())
    ratio.add(np.ones(4, np.float32), np.full(4, 1.1, np.float32))
    assert ratio.broken == 0
    assert ratio.sqnr_db == pytest.approx(20, abs=0.1)
    ratio.add(words, words[::-1])
    assert ratio.broken == 1
    row = report_output("text", [words.reshape(1, 2)], [words.reshape(1, 2)], None)
    assert row.sqnr_db is None
    assert row.agreement is None
