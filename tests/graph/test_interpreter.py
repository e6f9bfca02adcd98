"""The interpreter: inputs are checked, values are freed, host operators run elsewhere."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from kcompiler.errors import IRError, UsageError
from kcompiler.graph import operators as ops
from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph, run_nodes
from kcompiler.graph.node import Array, Graph, Input, Op
from kcompiler.graph.types import F32, I64, TensorType

X = Input("x", TensorType(F32, (2, 3)))
ONES = np.ones((2, 3), np.float32)


class Wrong(Op):
    """A planted fault: the value is not of the inferred type."""

    x: ops.Input

    def infer(self) -> TensorType:
        return TensorType(F32, ())

    def evaluate(self) -> Array:
        return np.zeros(3, np.float32)


def test_outputs_by_name() -> None:
    double = ops.Add(X, X)
    graph = Graph("g", (X,), (("twice", double), ("same", X), ("again", double)))
    results = run_graph(graph, {"x": ONES, "unused": ONES})
    assert list(results) == ["twice", "same", "again"]
    np.testing.assert_array_equal(results["twice"], 2 * ONES)
    assert results["same"] is ONES


def test_a_missing_input() -> None:
    with pytest.raises(UsageError) as caught:
        run_graph(Graph("g", (X,), (("y", X),)), {"z": ONES})
    assert str(caught.value) == "error: an input is missing\n  at: x\n  because: given: z"


@pytest.mark.parametrize("value", [ONES[:1], ONES.astype(np.float64)])
def test_an_input_of_another_type(value: Array) -> None:
    with pytest.raises(UsageError, match="an input has the wrong type") as caught:
        run_graph(Graph("g", (X,), (("y", X),)), {"x": value})
    assert "declared f32[2,3]" in caught.value.why


def test_values_of_another_type_than_inferred_are_seen() -> None:
    graph = Graph("g", (X,), (("y", Wrong(X, origin=("bad",))),))
    with pytest.raises(IRError, match="values have the inferred type") as caught:
        run_graph(graph, {"x": ONES})
    assert caught.value.node == "bad"


def test_host_operators_run_elsewhere() -> None:
    host = ops.Host((X,), b"model", (TensorType(F32, (2, 3)), TensorType(I64, ())), "why")
    graph = Graph("g", (X,), (("a", ops.Item(host, 1)), ("b", ops.Relu(ops.Item(host, 0)))))
    seen = []

    def runner(node: ops.Host, operands: Sequence[Array]) -> list[Array]:
        seen.append(node)
        return [-operands[0], np.array(7)]

    results = run_graph(graph, {"x": ONES}, runner)
    assert seen == [host]
    assert int(results["a"]) == 7
    assert not results["b"].any()
    with pytest.raises(UsageError, match="nothing was given to run it") as caught:
        run_graph(graph, {"x": ONES})
    assert caught.value.why == "why"


def test_values_are_freed_after_their_last_use() -> None:
    node: Op = X
    for _ in range(6):
        node = ops.Exp(node)
    alive: list[weakref.ref[Array]] = []
    most = 0
    for op, value in run_nodes(Graph("g", (X,), (("y", node),)), {"x": ONES}):
        if op is not X:
            alive.append(weakref.ref(value))
        del value
        gc.collect()
        most = max(most, sum(r() is not None for r in alive))
    assert most <= 2


def test_a_deep_graph_does_not_exhaust_the_stack() -> None:
    node: Op = X
    for _ in range(5000):
        node = ops.Neg(node)
    results = run_graph(Graph("g", (X,), (("y", node),)), {"x": ONES})
    np.testing.assert_array_equal(results["y"], ONES)


def test_a_fused_operator_means_its_body() -> None:
    inner = Input("in0", TensorType(F32, (2, 3)))
    body = Graph("body", (inner,), (("out", ops.Mul(inner, constant(3, F32))),))
    graph = Graph("g", (X,), (("y", ops.Fused((X,), body)),))
    np.testing.assert_array_equal(run_graph(graph, {"x": ONES})["y"], 3 * ONES)
