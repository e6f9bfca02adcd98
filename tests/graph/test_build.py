"""The short ways to make nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Graph, Input, Op
from kcompiler.graph.types import F16, F32, TensorType

X = Input("x", TensorType(F32, (2, 1, 3)))


def value_of(node: Op, **inputs: Array) -> Array:
    names = {n.name: n for n in Graph("g", (), (("y", node),)).nodes if isinstance(n, Input)}
    return run_graph(Graph("g", tuple(names.values()), (("y", node),)), inputs)["y"]


def test_nothing_is_made_where_nothing_changes() -> None:
    same = [
        build.cast(X, F32),
        build.reshape(X, [2, 1, 3]),
        build.transpose(X, [0, 1, 2]),
        build.swap_axes(X, 1, 1),
        build.slice_(X, [0, 0, 0], [2, 1, 3]),
        build.slice_axis(X, -1, 0, 3),
        build.pad(X, [0, 0, 0], [0, 0, 0], 7),
        build.concat([X], 1),
        build.broadcast(X, [2, 1, 3]),
        build.expand_dims(X, []),
        build.squeeze(X, []),
        build.reduce_sum(X, [1]),
        build.reduce_max(X, []),
    ]
    assert all(node is X for node in same)


def test_axes_may_be_negative_and_extents_numpy_integers() -> None:
    assert build.expand_dims(X, [-1, 0]).shape == (1, 2, 1, 3, 1)
    assert build.squeeze(X, [-2]).shape == (2, 3)
    assert build.reduce_sum(X, [-1, 0]).attributes["axes"] == (0, 2)
    assert build.slice_axis(X, -1, 2, 3, -1).attributes["steps"] == (1, 1, -1)
    assert type(build.reshape(X, list(np.array([3, 2]))).shape[0]) is int
    with pytest.raises(ValueError, match="axis 3 of a tensor of rank 3"):
        build.gather(X, build.constant(0, np.dtype(np.int64)), 3)
    with pytest.raises(ValueError, match="the extents must be 1"):
        build.squeeze(X, [0])


def test_constants_convert_once() -> None:
    weights = np.zeros(3, np.float32)
    assert build.constant(weights, F32).value is weights
    assert build.constant([1.5, 300], np.dtype(np.int8)).value.tolist() == [1, 127]
    half = build.scalar(Input("h", TensorType(F16, (4,))), 0.1)
    assert (half.dtype, half.shape) == (F16, ())


@given(
    left=st.sampled_from([(), (1,), (5,), (2, 5), (2, 1), (1, 5), (1, 1)]),
    right=st.sampled_from([(), (1,), (5,), (2, 5), (2, 1), (3, 2, 5), (1, 1, 1)]),
    vectors=st.tuples(st.booleans(), st.booleans()),
)
def test_matmul_is_that_of_numpy(
    left: tuple[int, ...], right: tuple[int, ...], vectors: tuple[bool, bool]
) -> None:
    shapes = [(4,) if vectors[0] else (*left, 3, 4), (4,) if vectors[1] else (*right, 4, 2)]
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-4, 5, s).astype(np.float32) for s in shapes)
    nodes = [Input(n, TensorType(F32, v.shape)) for n, v in (("x", x), ("y", y))]
    product = build.matmul(nodes[0], nodes[1])
    np.testing.assert_array_equal(value_of(product, x=x, y=y), x @ y)
    made = Graph("g", (), (("y", product),)).nodes
    assert {type(n) for n in made} <= {Input, ops.Contract, ops.Reshape}
    (contract,) = (n for n in made if isinstance(n, ops.Contract))
    assert not [c for c in "ab" if contract.extents.get(c) == 1], "no letter for nothing"


def test_matmul_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="batch dimensions do not broadcast"):
        build.matmul(Input("x", TensorType(F32, (2, 3, 4))), Input("y", TensorType(F32, (5, 4, 2))))
    with pytest.raises(ValueError, match="operands must have dimensions"):
        build.matmul(Input("x", TensorType(F32, ())), X)


def test_mean() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    np.testing.assert_allclose(value_of(build.mean(X, [0, 2]), x=x), [[[2.5]]])
