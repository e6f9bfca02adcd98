"""The pass precision: which element types tensors have in memory."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.errors import UsageError
from kcompiler.graph.build import cast, constant, mean, reshape, slice_axis, transpose
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.operators import (
    Add,
    Attention,
    Broadcast,
    Contract,
    Exp,
    Floor,
    Fused,
    Gather,
    Host,
    Item,
    Mul,
    Reduce,
    Relu,
    Rsqrt,
    Sub,
    Tanh,
)
from kcompiler.graph.types import BF16, F16, F32, F64, I32, I64, TensorType
from kcompiler.graph.verify import verify_graph
from kcompiler.kernel.from_graph import region_of
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.precision import Precision
from kcompiler.sample import number, tensor, weight
from tests.passes.text import graph, shown

RNG = np.random.default_rng(0)
X = tensor("x", 2, 8)


def model(*outputs: Op) -> Graph:
    found = Graph("g", (), tuple((f"y{i}", o) for i, o in enumerate(outputs)))
    inputs = tuple(n for n in found.nodes if isinstance(n, Input))
    return Graph("g", inputs, found.outputs)


def converted(*outputs: Op, float_: str = "f16") -> Graph:
    before = model(*outputs)
    after = Precision(float_).run(Fuse().run(before))
    verify_graph(after)
    assert [(n, v.type) for n, v in after.outputs] == [(n, v.type) for n, v in before.outputs]
    assert [i.type for i in after.inputs] == [i.type for i in before.inputs]
    for kernel in kernels(after):
        region_of(kernel)
    return after


def kernels(graph: Graph) -> list[Fused]:
    return [n for n in graph.nodes if isinstance(n, Fused)]


def stored(graph: Graph) -> list[str]:
    """What each kernel is and how it stores its result."""
    return [f"{k.body.name} {k.dtype.name}" for k in kernels(graph)]


def dense(x: Op, width: int = 8) -> Op:
    w = constant(RNG.normal(0, x.shape[-1] ** -0.5, (x.shape[-1], width)), x.dtype)
    return Add(Contract(x, w, "ik,kj->ij", x.dtype), weight(RNG, width, dtype=x.dtype))


def run(graph: Graph, **inputs: Array) -> Array:
    return run_graph(graph, inputs)["y0"]


def test_products_are_f16_and_everything_else_is_f32_inside() -> None:
    before = graph(
        """
        (%0)
        %0: f32[1,2] = input("x")  # "x"
        %1: f32[2,2] = const(1.0, 2.0, 3.0, 4.0)
        %2: f32[1,2] = Fused([%0, %1]) {
            graph "contract"(%0, %1)
            %0: f32[1,2] = input("x0")
            %1: f32[2,2] = input("x1")
            %2: f32[1,2] = Contract(%0, %1, equation="ik,kj->ij", dtype=f32)  # "a"
            %3: f32[] = const(0.5)
            %4: f32[1,2] = Mul(%2, %3)  # "b"
            return "y" = %4
        }  # "a", "b"
        %3: f32[1,2] = Fused([%2]) {
            graph "tanh"(%0)
            %0: f32[1,2] = input("x0")
            %1: f32[1,2] = Tanh(%0)  # "c"
            return "y" = %1
        }  # "c"
        return "y" = %3
        """
    )
    expected = """
        (%0)
        %0: f32[1,2] = input("x")  # "x"
        %1: f16[1,2] = Fused([%0]) {
            graph "cast"(%0)
            %0: f32[1,2] = input("x0")
            %1: f16[1,2] = Cast(%0, dtype=f16)
            return "y" = %1
        }  # "x"
        %2: f16[2,2] = const(1.0, 2.0, 3.0, 4.0)
        %3: f16[1,2] = Fused([%1, %2]) {
            graph "contract"(%0, %1)
            %0: f16[1,2] = input("x0")
            %1: f16[2,2] = input("x1")
            %2: f32[1,2] = Contract(%0, %1, equation="ik,kj->ij", dtype=f32)  # "a"
            %3: f32[] = const(0.5)
            %4: f32[1,2] = Mul(%2, %3)  # "b"
            %5: f16[1,2] = Cast(%4, dtype=f16)
            return "y" = %5
        }  # "a", "b"
        %4: f32[1,2] = Fused([%3]) {
            graph "tanh"(%0)
            %0: f16[1,2] = input("x0")
            %1: f32[1,2] = Cast(%0, dtype=f32)
            %2: f32[1,2] = Tanh(%1)  # "c"
            return "y" = %2
        }  # "c"
        return "y" = %4
        """
    assert shown(Precision().run(before)) == textwrap.dedent(expected).strip()


@pytest.mark.parametrize(("name", "bits"), [("f16", "float16"), ("bf16", "bfloat16")])
def test_results_between_kernels(name: str, bits: str) -> None:
    graph = converted(dense(Relu(dense(dense(X)))), float_=name)
    assert stored(graph) == [
        f"cast {bits}",
        f"contract {bits}",
        f"contract {bits}",
        "contract float32",
    ]


def test_f32_changes_nothing() -> None:
    before = Fuse().run(model(dense(Relu(dense(X)))))
    after = Precision("f32").run(before)
    given_ = {"x": RNG.normal(size=(2, 8)).astype(np.float32)}
    np.testing.assert_array_equal(run(after, **given_), run(before, **given_))


def test_f64_becomes_narrow_too() -> None:
    x = tensor("x", 2, 8, dtype=F64)
    graph = converted(Tanh(Mul(dense(x), number(2, F64))))
    assert all(n.dtype != F64 for k in kernels(graph)[:-1] for n in k.body.nodes[1:])


def test_f32_leaves_f64_as_it_is() -> None:
    """Asking for f32 is asking for what ONNX promises; doubles keep their digits, on the host."""
    x = tensor("x", 2, 8, dtype=F64)
    before = Fuse().run(model(Mul(Exp(dense(x)), number(1e300, F64)), cast(Exp(x), F32)))
    after = Precision("f32").run(before)
    verify_graph(after)
    assert [n.dtype for n in kernels(after)] == [n.dtype for n in kernels(before)]
    x_value = RNG.normal(size=(2, 8))
    np.testing.assert_array_equal(run(after, x=x_value), run(before, x=x_value))


@pytest.mark.parametrize("precision", ["f16", "bf16", "f32"])
def test_a_mask_that_is_computed_has_the_type_of_what_it_masks(precision: str) -> None:
    q, mask = tensor("q", 1, 4, 8, dtype=BF16), tensor("m", 4, 4, dtype=BF16)
    graph = converted(Attention(q, q, q, Mul(mask, mask), 0.5), float_=precision)
    verify_graph(graph)


@pytest.mark.parametrize("to", [F16, F32, F64])
def test_casts_remember_their_node(to: np.dtype[Any]) -> None:
    x = tensor("x", 2, 8, dtype=I32)
    for precision in ("f16", "f32"):
        graph = converted(cast(x, to).with_origin(("cast",)), float_=precision)
        made = [n for k in kernels(graph) for n in k.body.nodes if n.operands]
        assert made
        assert ("cast",) in {n.origin for n in made}


def test_integers_stay() -> None:
    x = tensor("x", 2, 8, dtype=I32)
    graph = converted(Add(x, constant(3, I32)))
    assert stored(graph) == ["add int32"]


def test_finite_masks_stay_finite() -> None:
    q = tensor("q", 1, 4, 8)
    mask = np.where(np.tri(4) > 0, 0, np.finfo(np.float32).min).astype(np.float32)
    mask[0, 3] = -np.inf
    graph = converted(Attention(q, q, q, Constant(mask), 0.5))
    (kept,) = (n for n in graph.nodes if isinstance(n, Constant))
    assert kept.dtype == F16
    assert kept.value[0].tolist() == [0, -65504, -65504, -np.inf]
    assert np.isfinite(run(graph, q=RNG.normal(size=(1, 4, 8)).astype(np.float32))).all()


def test_a_mask_that_is_computed_stays_finite() -> None:
    """-1e9 is -inf in float16: a row where every key is hidden would be NaN, and only here."""
    q, seen = tensor("q", 1, 4, 8), tensor("seen", 4)
    mask = Mul(Sub(number(1.0), seen), number(-1e9))
    graph = converted(Attention(q, q, q, Broadcast(mask, (4, 4)), 0.5))
    query = RNG.normal(size=(1, 4, 8)).astype(np.float32)
    assert np.isfinite(run(graph, q=query, seen=np.zeros(4, np.float32))).all()
    kept = np.array([1, 0, 1, 0], np.float32)
    scores = 0.5 * query[0] @ query[0].T
    weights = np.exp(scores - scores.max(1, keepdims=True)) * kept
    wanted = weights / weights.sum(1, keepdims=True) @ query[0]
    np.testing.assert_allclose(run(graph, q=query, seen=kept)[0], wanted, atol=5e-3)


def test_a_tiny_epsilon_keeps_its_meaning() -> None:
    graph = converted(dense(Rsqrt(Add(dense(X), number(1e-12)))))
    numbers = [n.value for k in kernels(graph) for n in k.body.nodes if isinstance(n, Constant)]
    assert [(n.dtype, n.item()) for n in numbers] == [(F32, float(np.float32(1e-12)))]


def test_small_constants_that_f16_would_lose_stay_f32() -> None:
    scale = constant(np.linspace(1e-7, 1e-6, 8), F32)
    graph = converted(dense(Mul(dense(X), scale)))
    assert any(n.value is scale.value for n in graph.nodes if isinstance(n, Constant))
    big = constant(np.full((2, 1 << 16), 1e-7), F32)
    wide = converted(dense(slice_axis(Mul(tensor("b", 2, 1 << 16), big), 1, 0, 8)))
    assert all(n.dtype == F16 for n in wide.nodes if isinstance(n, Constant) and n.type.size > 99)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Reduce(X, "sum", (1,)), "reduce float32"),
        (Reduce(X, "max", (1,)), "reduce float16"),
        (mean(X, (1,)), "reduce float16"),
        (Exp(X), "exp float32"),
        (Mul(X, X), "mul float32"),
        (Sub(X, number(1e6)), "sub float32"),
        (cast(tensor("i", 2, 8, dtype=I64), F32), "cast float32"),
        (cast(tensor("u", 2, 8, dtype=np.dtype(np.uint8)), F32), "cast float16"),
        (Tanh(X), "tanh float16"),
    ],
)
def test_results_that_a_narrow_type_is_known_to_fail(op: Op, expected: str) -> None:
    assert expected in stored(converted(Tanh(op), Relu(op)))


def test_a_gathered_table_is_narrow() -> None:
    table = weight(RNG, 9, 8)
    graph = converted(dense(Gather(table, tensor("i", 2, dtype=I64), 0)))
    assert stored(graph) == ["gather float16", "contract float32"]
    assert {n.dtype for n in graph.nodes if isinstance(n, Constant) and n.type.size > 8} == {F16}


def test_what_becomes_an_index_stays_wide() -> None:
    """1000.6 is no number of f16; the element that it names must be the right one."""
    x = tensor("x", 5)
    place = Mul(Relu(x), number(1e3))
    index = cast(Floor(place), I64)
    away = Sub(place, Floor(place))
    table = weight(RNG, 4000, 2)
    found = Mul(Gather(table, index, 0), reshape(away, (5, 1)))
    after = converted(Relu(Contract(found, weight(RNG, 2, 3), "ab,bc->ac", F32)))
    given_ = {"x": np.array([0.0001, 0.3337, 1.0006, 2.0489, 3.9], np.float32)}
    before = run_graph(model(found), given_)["y0"]
    kernel = next(k for k in kernels(after) if any(isinstance(n, Gather) for n in k.body.nodes))
    np.testing.assert_allclose(run_graph(after_root(after, kernel), given_)["y"], before, rtol=2e-3)


def after_root(g: Graph, kernel: Op) -> Graph:
    """The graph up to a kernel."""
    return Graph("g", g.inputs, (("y", kernel),))


def test_the_host_reads_and_writes_its_own_types() -> None:
    host = Item(Host((Tanh(dense(X)),), b"", (TensorType(F32, (2, 8)),), "no kernel"), 0)
    graph = Precision().run(Fuse().run(model(dense(host))))
    verify_graph(graph)
    (there,) = (n for n in graph.nodes if isinstance(n, Host))
    assert [x.dtype for x in there.xs] == [F32]
    assert stored(graph) == [
        "cast float16",
        "contract float16",
        "cast float32",
        "cast float16",
        "contract float32",
    ]


def test_an_output_that_others_read_is_converted_for_the_caller() -> None:
    x = dense(X)
    assert stored(converted(x, Tanh(x))) == [
        "cast float16",
        "contract float16",
        "cast float32",
        "tanh float32",
    ]


def test_moved_outputs_are_converted_on_the_way() -> None:
    x = dense(X)
    both = [reshape(slice_axis(x, 1, 4 * i, 4), (8,)) for i in range(2)]
    assert stored(converted(*both))[2:] == ["slice float32"] * 2


def test_products_read_moved_operands_narrow() -> None:
    turned = Contract(transpose(X, (1, 0)), X, "ik,kj->ij", F32)
    graph = converted(turned)
    assert stored(graph) == ["cast float16", "contract float32"]


def test_an_unknown_precision() -> None:
    with pytest.raises(UsageError) as caught:
        Precision("f8").run(model(X))
    assert str(caught.value) == "error: there is no precision 'f8'\n  try: f16, bf16 or f32"


def test_unfused_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="precision works on fused graphs, and Tanh"):
        Precision().run(model(Tanh(X)))


@given(st.integers(0, 10**6), st.sampled_from(["f16", "bf16"]))
def test_values_stay_close(seed: int, name: str) -> None:
    """A network of random width keeps ten bits of float16, seven of bfloat16, at least roughly."""
    rng = np.random.default_rng(seed)
    x: Op = X
    for _ in range(4):
        made = [
            Relu(dense(x)), Tanh(x), Add(dense(x), x), Mul(dense(x), number(0.3)),
            Mul(Tanh(dense(x)), dense(x)),
        ]  # fmt: skip
        x = made[rng.integers(len(made))]
    inputs = {"x": rng.normal(size=(2, 8)).astype(np.float32)}
    before, after = model(x), converted(x, float_=name)
    expected, found = run(before, **inputs), run(after, **inputs)
    error = np.linalg.norm((found - expected).astype(np.float64))
    assert error <= (0.01 if name == "f16" else 0.08) * np.linalg.norm(expected) + 0.02


def test_float64_on_the_host_is_exact() -> None:
    """What the host computes because it is float64 keeps the operands that it has."""
    x, w = tensor("x", 2, 8, dtype=F64), Constant(RNG.normal(size=(8, 8)))
    given_ = RNG.normal(size=(2, 8)) * 1e5
    for name in ("f16", "bf16"):
        product = converted(Contract(x, w, "ik,kj->ij", F64), float_=name)
        np.testing.assert_allclose(run(product, x=given_), given_ @ w.value, rtol=1e-13, atol=1e-8)
        scaled = converted(Mul(x, number(1 + 1e-9, F64)), float_=name)
        np.testing.assert_array_equal(run(scaled, x=given_), given_ * (1 + 1e-9))


def test_float64_in_between_is_float32_and_said() -> None:
    log: list[str] = []
    x = tensor("x", 2, 8)
    wide = Exp(cast(x, F64).with_origin(("up",))).with_origin(("e",))
    before = Fuse().run(model(cast(wide, F32).with_origin(("down",))))
    after = Precision(log=log).run(before)
    assert all(n.dtype != F64 for k in kernels(after) for n in k.body.nodes)
    assert log == ["float64 is computed in float32: up and 2 more"]
