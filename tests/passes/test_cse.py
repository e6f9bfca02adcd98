"""The pass cse: what is equal is computed once."""

from __future__ import annotations

import numpy as np
import pytest

from kcompiler.graph.node import Constant, Graph, Op
from kcompiler.graph.operators import Add, Host, Item, LayerNorm, Tanh
from kcompiler.graph.types import F32
from kcompiler.passes.cse import Cse
from kcompiler.sample import tensor
from tests.passes.text import assert_same, becomes

X, Y = tensor("x", 2, 3), tensor("y", 2, 3)


def merged(*outputs: Op) -> Graph:
    before = Graph("g", (X, Y), tuple((f"y{i}", o) for i, o in enumerate(outputs)))
    return Cse().run(before)


def test_whole_chains_are_merged() -> None:
    becomes(
        Cse(),
        """
        (%0)
        %0: f32[2] = input("x")
        %1: f32[] = const(2.0)
        %2: f32[2] = Mul(%0, %1)  # "a"
        %3: f32[2] = Tanh(%2)  # "b"
        %4: f32[] = const(2.0)
        %5: f32[2] = Mul(%0, %4)  # "c"
        %6: f32[2] = Tanh(%5)  # "d"
        %7: f32[2] = Mul(%3, %6)  # "e"
        return "y" = %7
        """,
        """
        (%0)
        %0: f32[2] = input("x")
        %1: f32[] = const(2.0)
        %2: f32[2] = Mul(%0, %1)  # "a", "c"
        %3: f32[2] = Tanh(%2)  # "b", "d"
        %4: f32[2] = Mul(%3, %3)  # "e"
        return "y" = %4
        """,
    )


@pytest.mark.parametrize(
    "pair",
    [
        (Add(X, Y), Add(Y, X)),
        (LayerNorm(X, None, None, (1,), 1e-5), LayerNorm(X, None, None, (1,), 1e-6)),
        (LayerNorm(X, Y, None, (1,), 1e-5), LayerNorm(X, None, Y, (1,), 1e-5)),
        (Constant(np.array([0.0])), Constant(np.array([-0.0]))),
        (Constant(np.array([1], np.int32)), Constant(np.array([1], np.int64))),
        (Constant(np.zeros((2, 3))), Constant(np.zeros((3, 2)))),
    ],
)
def test_what_differs_stays(pair: tuple[Op, Op]) -> None:
    assert len({id(v) for _, v in merged(*pair).outputs}) == 2


def test_large_constants_are_compared_whole() -> None:
    a = np.arange(100_000, dtype=np.float32)
    b, c = a.copy(), a.copy()
    b[54_321] = -1
    graph = merged(Constant(a), Constant(b), Constant(c), Constant(a.reshape(2, -1)[:, ::2]))
    ids = [id(v) for _, v in graph.outputs]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3


def test_nan_equals_itself() -> None:
    nan = np.array([np.nan, 1.0], np.float32)
    assert len({id(v) for _, v in merged(Constant(nan), Constant(nan.copy())).outputs}) == 1


def test_host_nodes_are_never_merged() -> None:
    kind = X.type
    one, two = (Item(Host((X,), b"model", (kind,), "random"), 0) for _ in range(2))
    assert len({id(v) for _, v in merged(one, two).outputs}) == 2


def test_inputs_stay_apart_and_in_order() -> None:
    graph = merged(Add(Tanh(X), Tanh(X)), Y)
    assert [i.name for i in graph.inputs] == ["x", "y"]
    assert graph.inputs[0].dtype == F32
    assert_same(Graph("g", (X, Y), (("y0", Add(Tanh(X), Tanh(X))), ("y1", Y))), graph)
