"""The pass expand: running sums and the k best in operators that engines have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto

import kcompiler
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Graph, Input, Op
from kcompiler.graph.operators import CumSum, Relu, TopKIndices, TopKValues
from kcompiler.graph.running import running
from kcompiler.graph.types import F32, TensorType, parse_dtype
from kcompiler.passes.expand import MOST_PAIRS, Expand, order
from kcompiler.strict import host_work
from tests.runtime.models import model, node

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, float("inf"), float("-inf"), float("nan")]
BOTH = (TopKValues, TopKIndices)


def expanded(kind: Any, x: Array, *options: Any) -> tuple[Array, Array]:
    """What an operator computes of x, before and after the pass."""
    given_ = Input("x", TensorType(x.dtype, x.shape))
    graph = Graph("g", (given_,), (("y", kind(given_, *options)),))
    after = Expand().run(graph)
    assert not any(isinstance(n, CumSum | TopKValues | TopKIndices) for n in after.nodes)
    return run_graph(graph, {"x": x})["y"], run_graph(after, {"x": x})["y"]


@given(
    x=arrays.arrays(F32, st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(1, 2)),
                    elements=st.sampled_from(SPECIAL)),
    largest=st.booleans(), data=st.data(),
)  # fmt: skip
def test_the_best_of_special_numbers(x: Array, largest: bool, data: st.DataObject) -> None:
    """Ties by index, NaN above all."""
    k = data.draw(st.integers(1, x.shape[1]))
    for kind in BOTH:
        before, after = expanded(kind, x, k, 1, largest)
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf, 0.0])
def test_what_fills_a_block_is_never_chosen(fill: float, largest: bool) -> None:
    """Blocks are filled with what comes last; elements that are equal to it come before it."""
    x = np.full((1, 333, 1), fill, np.float32)
    x[0, 7] = 1
    for kind in BOTH:
        before, after = expanded(kind, x, 30, 1, largest)
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", ["i8", "u8", "i32", "i64"])
@pytest.mark.parametrize("largest", [False, True])
def test_integers_at_their_limits(name: str, largest: bool) -> None:
    info = np.iinfo(parse_dtype(name))
    x = np.resize(np.array([info.max, info.min, 3, 3, info.max], info.dtype), (1, 170, 1))
    for kind in BOTH:
        before, after = expanded(kind, x, 5, 1, largest)
        np.testing.assert_array_equal(before, after)


@given(
    x=arrays.arrays(np.int32, st.tuples(st.integers(1, 2), st.integers(1, 300))),
    exclusive=st.booleans(), reverse=st.booleans(),
)  # fmt: skip
def test_running_sums_of_integers_are_exact(x: Array, exclusive: bool, reverse: bool) -> None:
    before, after = expanded(CumSum, x, 1, exclusive, reverse)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("count", [5, 200])
def test_infinity_reaches_only_what_follows(count: int) -> None:
    x = np.ones((1, count), np.float32)
    x[0, 3] = np.inf
    before, after = expanded(CumSum, x, 1, False, False)
    np.testing.assert_array_equal(before, after)
    assert np.isfinite(after[0, :3]).all()


@pytest.mark.parametrize("count", [4, 150])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_products(count: int, exclusive: bool, reverse: bool) -> None:
    x = np.random.default_rng(0).choice([-1.0, 1.0, 0.5, 2.0], (2, count)).astype(np.float32)
    given_ = Input("x", TensorType(F32, x.shape))
    made = running(given_, 1, "prod", exclusive=exclusive, reverse=reverse)
    found = run_graph(Graph("g", (given_,), (("y", made),)), {"x": x})["y"]
    wanted = np.cumprod(x[:, ::-1] if reverse else x, 1)
    if exclusive:
        wanted = np.concatenate([np.ones((2, 1)), wanted[:, :-1]], 1)
    np.testing.assert_allclose(found, wanted[:, ::-1] if reverse else wanted, rtol=1e-6)


def test_an_operator_that_the_target_has_stays() -> None:
    x = Input("x", TensorType(F32, (2, 8)))
    graph = Graph("g", (x,), (("y", CumSum(x, 1, False, False)),))
    assert Expand(refusal=lambda _: None).run(graph) is graph


def test_what_the_target_takes_in_no_form_stays() -> None:
    """As it is, so that the host runs one operator and the report names it."""
    x = Input("x", TensorType(parse_dtype("f64"), (2, 8)))
    graph = Graph("g", (x,), (("y", CumSum(x, 1, False, False)),))

    def refusal(op: Op) -> str | None:
        return "no f64" if op.dtype.itemsize == 8 else None

    assert Expand(refusal=refusal).run(graph) is graph


def test_too_many_comparisons_stay_on_the_host() -> None:
    x = Input("x", TensorType(F32, (1, 100_000)))
    assert order.comparisons(1, 100_000, 300) > MOST_PAIRS
    graph = Graph("g", (x,), (("y", TopKValues(Relu(x), 300, 1, True)),))
    assert Expand().run(graph) is graph


def test_both_results_share_the_comparisons() -> None:
    nodes = [node("TopK", "x k", "v i", axis=1)]
    ends = [("v", TensorProto.FLOAT, [4, 3]), ("i", TensorProto.INT64, [4, 3])]
    data = model(nodes, [("x", TensorProto.FLOAT, [4, 50])], ends, k=np.array([3]))
    compiled = kcompiler.compile(data, precision="f32")
    assert host_work(compiled.compilation) == []
    x = np.random.default_rng(1).integers(0, 9, (4, 50)).astype(np.float32)
    found = compiled.run({"x": x})
    wanted = np.argsort(-x, 1, kind="stable")[:, :3]
    np.testing.assert_array_equal(found["i"], wanted)
    np.testing.assert_array_equal(found["v"], np.take_along_axis(x, wanted, 1))
    assert sum(len(s.program.kernels) for s in compiled.programs) <= 6


def test_running_sums_stay_wide() -> None:
    """Their parts and their totals are sums that f16 may not hold."""
    nodes = [node("CumSum", "x axis", "s"), node("Mul", "s small", "y")]
    data = model(
        nodes, [("x", TensorProto.FLOAT, [1, 600])], [("y", TensorProto.FLOAT, [1, 600])],
        axis=np.array(1), small=np.array(1e-3, np.float32),
    )  # fmt: skip
    x = np.full((1, 600), 1000, np.float32)
    found = kcompiler.compile(data, precision="f16").run({"x": x})["y"]
    np.testing.assert_allclose(found, np.cumsum(x, 1) * 1e-3, rtol=2e-3)
