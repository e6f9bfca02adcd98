"""Error bounds: nothing correct is outside, nothing wrong is inside."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kcompiler.graph import operators as ops
from kcompiler.graph.bounded import exact, rounded
from kcompiler.graph.bounds import Bounded, bound_graph, error_bound
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Graph, Input, Op
from kcompiler.graph.types import BF16, BOOL, F16, F32, F64, I32, I64, TensorType, is_float
from kcompiler.scalar import convert
from tests.graph.instances import NAMES, instances, node

SEEDS = st.integers(0, 2**32 - 1)
LENGTH = 200


def _product_in_order(x: Array, y: Array, order: Array) -> Array:
    """`x @ y` in float32, the products added one by one in the given order."""
    total = np.zeros((x.shape[0], y.shape[1]), np.float32)
    for k in order:
        total = total + x[:, k : k + 1].astype(np.float32) * y[k : k + 1].astype(np.float32)
    return total


@pytest.mark.parametrize("dtype", [F16, F32, BF16])
@given(seed=SEEDS)
def test_any_order_of_summation_is_inside(dtype: np.dtype, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (convert(rng.standard_normal(s), dtype) for s in ((4, LENGTH), (LENGTH, 5)))
    product = node(lambda a, b: ops.Contract(a, b, "ik,kj->ij", dtype), x, y)
    bound = error_bound(product.op, product.values)
    order = rng.permutation(LENGTH)
    assert bound.contains(convert(_product_in_order(x, y, order), dtype)).all()
    assert bound.contains(product.result).all()
    by_size = np.argsort(-np.abs(x[0].astype(float)))  # one of the worse orders
    assert bound.contains(convert(_product_in_order(x, y, by_size), dtype)).all()


def test_a_bound_is_not_much_more_than_what_happens() -> None:
    rng = np.random.default_rng(0)
    for dtype in (F16, F32):
        x, y = (convert(rng.standard_normal(s), dtype) for s in ((16, LENGTH), (LENGTH, 16)))
        product = node(lambda a, b, t=dtype: ops.Contract(a, b, "ik,kj->ij", t), x, y)
        bound = error_bound(product.op, product.values)
        orders = (rng.permutation(LENGTH) for _ in range(20))
        results = (convert(_product_in_order(x, y, o), dtype).astype(F64) for o in orders)
        worst = max(np.abs(r - bound.value).max() for r in results)
        assert bound.error.max() < 1000 * worst


@given(seed=SEEDS)
def test_one_flipped_product_is_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((4, LENGTH)), rng.standard_normal((LENGTH, 5))
    x, y = x.astype(np.float16), y.astype(np.float16)
    product = node(lambda a, b: ops.Contract(a, b, "ik,kj->ij", F16), x, y)
    k = int(np.argmax(np.abs(x[2])))
    wrong = x.copy()
    wrong[2, k] = -wrong[2, k]
    outside = ~error_bound(product.op, product.values).contains(product.op.evaluate(wrong, y))
    assert outside[2].any()
    assert not np.delete(outside, 2, axis=0).any()


@pytest.mark.parametrize("kind", NAMES)
@given(data=st.data())
def test_operands_within_their_errors_give_results_within_theirs(
    kind: str, data: st.DataObject
) -> None:
    """Each operand moves by up to its error, and the result must stay inside."""
    instance = data.draw(instances(Op.registry[kind]))
    assume(all(v.size for v in instance.values))
    rng = np.random.default_rng(data.draw(SEEDS))
    spread = 2.0 ** data.draw(st.integers(-10, 0))
    moved, errors = [], []
    for value in instance.values:
        with np.errstate(all="ignore"):
            shift = spread * rng.uniform(-1, 1, value.shape) if is_float(value.dtype) else 0
            near = convert(np.asarray(value.astype(F64) + shift), value.dtype)
            distance = np.abs(near.astype(F64) - value.astype(F64))
        moved.append(near)
        errors.append(np.where(near == value, 0.0, np.where(np.isnan(distance), np.inf, distance)))
    bound = error_bound(instance.op, instance.values, errors)
    result = instance.op.evaluate(*moved)
    inside = bound.contains(result)
    if result.dtype == BOOL:
        inside = inside | (bound.error > 0)
    assert inside.all(), (result[~inside], bound.value[~inside], bound.error[~inside])


def _stored_narrow(op: ops.Attention, q: Array, k: Array, v: Array) -> Array:
    """Attention that keeps logits and shares as float16, and sums the shares backwards."""
    scaled = convert(q.astype(np.float32) * np.float32(op.scale), F16).astype(np.float32)
    logits = np.matmul(scaled, np.swapaxes(k.astype(np.float32), -1, -2))
    narrow = convert(logits, F16).astype(np.float32)
    powers = np.exp(narrow - narrow.max(-1, keepdims=True))
    total = np.cumsum(powers[..., ::-1], -1)[..., -1:]
    shares = convert(powers / total, F16).astype(np.float32)
    return convert(np.matmul(shares, v.astype(np.float32)), F16)


@given(seed=SEEDS)
def test_attention_may_store_its_steps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = (convert(rng.standard_normal((2, 16, 64)), F16) for _ in range(3))
    q = q * F16.type(8)  # exactly scaled large queries: storing the logits is what costs
    whole = node(lambda *o: ops.Attention(o[0], o[1], o[2], None, 0.125), q, k, v)
    assert isinstance(whole.op, ops.Attention)
    bound = error_bound(whole.op, whole.values)
    assert bound.contains(_stored_narrow(whole.op, q, k, v)).all()
    shuffled = v[:, rng.permutation(16)]
    assert not bound.contains(whole.op.evaluate(q, k, shuffled)).all()


def _layer_norm_in_halves(x: Array, epsilon: float) -> Array:
    wide, half = x.astype(np.float32), x.shape[-1] // 2

    def mean(v: Array) -> Array:
        parts = v[..., :half].sum(-1), v[..., half:].sum(-1)
        return np.asarray((parts[0] + parts[1]) * np.float32(1 / v.shape[-1]))[..., None]

    centred = wide - mean(wide)
    return np.asarray(centred * (1 / np.sqrt(mean(centred * centred) + np.float32(epsilon))))


@given(seed=SEEDS, offset=st.sampled_from([0.0, 3.0]))
def test_norms_may_sum_and_divide_otherwise(seed: int, offset: float) -> None:
    x = (np.random.default_rng(seed).standard_normal((4, 96)) + offset).astype(np.float32)
    norm = node(lambda v: ops.LayerNorm(v, None, None, (1,), 1e-5), x)
    bound = error_bound(norm.op, norm.values)
    assert bound.contains(_layer_norm_in_halves(x, 1e-5)).all()
    forgotten = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True, ddof=1)  # n - 1 for n
    assert not bound.contains(forgotten).all()


def _net(dtype: np.dtype) -> Graph:
    """conv, add, gelu, maximum over windows, softmax."""
    x = Input("x", TensorType(dtype, (1, 4, 8, 8)))
    w = Input("w", TensorType(dtype, (6, 4, 3, 3)))
    b = Input("b", TensorType(dtype, (6, 1, 1)))
    pair, ones = (1, 1), (1, 1)
    conv = ops.Conv(x, w, pair, ones, ones, pair, 1, dtype)
    act = ops.Gelu(ops.Add(conv, b))
    pool = ops.Window(act, "max", (2, 2), (2, 2), (0, 0), (0, 0), (1, 1))
    return Graph("net", (x, w, b), (("y", ops.Softmax(ops.Reshape(pool, (1, 96)), 1)),))


def _inputs(graph: Graph, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {i.name: convert(rng.standard_normal(i.shape), i.dtype) for i in graph.inputs}


@pytest.mark.parametrize("dtype", [F16, F32, BF16])
@given(seed=SEEDS)
def test_graphs_may_round_between_nodes_or_not(dtype: np.dtype, seed: int) -> None:
    graph = _net(dtype)
    inputs = _inputs(graph, seed)
    (bound,) = bound_graph(graph, {k: exact(v) for k, v in inputs.items()}).values()
    assert bound.contains(run_graph(graph, inputs)["y"]).all()
    wide = {k: v.astype(np.float32) for k, v in inputs.items()}
    unrounded = run_graph(_net(F32), wide)["y"]
    assert bound.contains(convert(unrounded, dtype)).all()
    assert np.isfinite(bound.error).all()


@given(seed=SEEDS)
def test_a_fused_operator_has_the_bound_of_its_body(seed: int) -> None:
    graph = _net(F16)
    inputs = _inputs(graph, seed)
    fused = ops.Fused(tuple(Input(i.name, i.declared) for i in graph.inputs), graph)
    whole = error_bound(fused, list(inputs.values()))
    (parts,) = bound_graph(graph, {k: exact(v) for k, v in inputs.items()}).values()
    np.testing.assert_array_equal(whole.value, parts.value)
    np.testing.assert_array_equal(whole.error, parts.error)


def test_integers_are_exact() -> None:
    x, y = (np.full(s, -128, np.int8) for s in ((2, 2000), (2000, 2)))
    product = node(lambda a, b: ops.Contract(a, b, "ik,kj->ij", I32), x, y)
    bound = error_bound(product.op, product.values)
    assert bound.is_exact
    assert (bound.value == 2000 * 2**14).all()
    assert not bound.contains(product.result + 1).any()


def test_a_doubtful_integer_stays_doubtful() -> None:
    """Quantizing 2.5 plus or minus a little may give 2 or 3, and the product follows."""
    x = Input("x", TensorType(F32, (3,)))
    quantized = ops.Cast(ops.Round(x), np.dtype(np.int8))
    w = Input("w", TensorType(np.dtype(np.int8), (3,)))
    graph = Graph("q", (x, w), (("y", ops.Contract(quantized, w, "k,k->", I32)),))
    near = Bounded(np.array([2.5, 1.0, 1.0]), np.array([0.01, 0.01, 0.0]), F32)
    (bound,) = bound_graph(graph, {"x": near, "w": exact(np.array([5, 7, 9], np.int8))}).values()
    assert (int(bound.value), float(bound.error)) == (26, 5.0)
    results = np.array([26, 31, 32], np.int32)
    assert [bool(bound.contains(r).all()) for r in results] == [True, True, False]


def test_overflow_is_infinite_for_all() -> None:
    x = Bounded(np.array([60000.0, 65519.0, 65519.9, 70000.0]), np.zeros(4), F32)
    stored = rounded(x, F16)
    assert stored.contains(convert(x.value, F16)).all()
    assert np.isinf(stored.value).tolist() == [False, False, False, True]
    sure = np.isfinite(stored.error)
    assert sure[[0, 3]].all()
    doubtful = rounded(dataclasses.replace(x, error=np.full(4, 50.0)), F16)
    assert np.isinf(doubtful.error).tolist() == [False, True, True, False]


def test_close_rivals_make_an_index_doubtful() -> None:
    x = np.array([[1.0, 2.0, 3.0], [1.0, 2.9, 3.0]], np.float32)
    best = node(lambda v: ops.ArgReduce(v, "max", 1, last=False), x)
    bound = error_bound(best.op, best.values, [np.full(x.shape, 0.1)])
    assert bound.error[:, 0].tolist() == [0, 2]
    assert error_bound(best.op, best.values).is_exact


def test_host_operators_have_no_bound() -> None:
    host = ops.Host((), b"", (TensorType(I64, (1,)),), "because")
    with pytest.raises(ValueError, match="has no error bound"):
        error_bound(host, [])
