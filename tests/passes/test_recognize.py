"""The pass recognize: what exporters write out becomes one operator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from kcompiler.graph.build import mean, reshape, scalar, swap_axes, transpose
from kcompiler.graph.node import Graph, Input, Op
from kcompiler.graph.operators import (
    Add,
    Attention,
    Broadcast,
    Contract,
    Div,
    Erf,
    Gelu,
    GeluTanh,
    HardSwish,
    LayerNorm,
    LessEqual,
    Max,
    Min,
    Mul,
    Pow,
    RmsNorm,
    Silu,
    Softmax,
    Sqrt,
    Sub,
    Tanh,
    Where,
)
from kcompiler.graph.types import F32
from kcompiler.passes.recognize import Recognize
from kcompiler.passes.simplify import Simplify
from kcompiler.sample import number, tensor, weight
from tests.passes.text import assert_same, becomes

RNG = np.random.default_rng(0)
X = tensor("x", 2, 3, 8)
W = weight(RNG, 8, 8)


def model(output: Op) -> Graph:
    nodes = Graph("g", (), (("y", output),)).nodes
    inputs = tuple(n for n in nodes if isinstance(n, Input))
    return Graph("g", inputs, (("y", output),))


def recognized(output: Op) -> Graph:
    before = model(output)
    after = Recognize().run(Simplify().run(before))
    assert_same(before, after, tolerance=1e-4)
    return after


def kinds(graph: Graph, *wanted: type[Op]) -> list[str]:
    """The operators of some classes, in order."""
    return [type(n).__name__ for n in graph.nodes if isinstance(n, wanted)]


def elementwise_left(graph: Graph) -> list[str]:
    return kinds(graph, Add, Mul, Sub, Div, Pow, Min, Max, Tanh, Erf, Sqrt)


def gelu_of_torch(x: Op) -> Op:
    """X * 0.5 * (1 + erf(x / sqrt(2))), as the legacy exporter writes it."""
    gate = Add(Erf(Div(x, scalar(x, math.sqrt(2)))), scalar(x, 1))
    return Mul(Mul(x, gate), scalar(x, 0.5))


def gelu_of_gpt2(x: Op) -> Op:
    """0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x ** 3)))."""
    cubic = Mul(Pow(x, scalar(x, 3)), scalar(x, 0.044715))
    gate = Tanh(Mul(Add(x, cubic), scalar(x, math.sqrt(2 / math.pi))))
    return Mul(Mul(scalar(x, 0.5), x), Add(scalar(x, 1), gate))


def gelu_of_flax(x: Op) -> Op:
    """X * (0.5 * (1 + tanh(...)))."""
    cubic = Mul(x, Mul(x, Mul(scalar(x, 0.044715), x)))
    gate = Add(Tanh(Mul(scalar(x, 0.7978845608), Add(x, cubic))), scalar(x, 1))
    return Mul(x, Mul(scalar(x, 0.5), gate))


def hard_swish_of_paddle(x: Op) -> Op:
    """X * clip(x + 3, 0, 6) / 6."""
    clipped = Min(Max(Add(x, scalar(x, 3)), scalar(x, 0)), scalar(x, 6))
    return Div(Mul(x, clipped), scalar(x, 6))


def hard_swish_of_torch(x: Op) -> Op:
    """X * hardsigmoid(x), with alpha 1/6."""
    line = Add(Mul(x, scalar(x, 1 / 6)), scalar(x, 0.5))
    return Mul(x, Max(Min(line, scalar(x, 1)), scalar(x, 0)))


ACTIVATIONS = [
    (gelu_of_torch, Gelu),
    (gelu_of_gpt2, GeluTanh),
    (gelu_of_flax, GeluTanh),
    (hard_swish_of_paddle, HardSwish),
    (hard_swish_of_torch, HardSwish),
]


@pytest.mark.parametrize(("write", "kind"), ACTIVATIONS, ids=lambda v: v.__name__)
def test_activations(write: Callable[[Op], Op], kind: type[Op]) -> None:
    graph = recognized(write(X))
    assert kinds(graph, kind) == [kind.__name__]
    assert elementwise_left(graph) == []


@pytest.mark.parametrize(("write", "kind"), ACTIVATIONS, ids=lambda v: v.__name__)
def test_activations_between_weights(write: Callable[[Op], Op], kind: type[Op]) -> None:
    """Biases and weights around it pull constants out of the pattern; it is found all the same."""
    before = Add(Contract(X, W, "bik,kj->bij", F32), weight(RNG, 8))
    after = Contract(write(before), W, "bik,kj->bij", F32)
    graph = recognized(after)
    assert kinds(graph, kind) == [kind.__name__]
    assert elementwise_left(graph) == ["Add"]


def test_gelu_with_another_constant_stays() -> None:
    gate = Add(Erf(Mul(X, number(0.75))), number(1))
    assert kinds(recognized(Mul(X, gate)), Gelu) == []


def test_silu() -> None:
    becomes(
        Recognize(),
        """
        (%0)
        %0: f32[2,3] = input("x")
        %1: f32[2,3] = Sigmoid(%0)  # "sigmoid"
        %2: f32[2,3] = Mul(%0, %1)  # "mul"
        return "y" = %2
        """,
        """
        (%0)
        %0: f32[2,3] = input("x")
        %1: f32[2,3] = Silu(%0)  # "sigmoid", "mul"
        return "y" = %1
        """,
    )


def test_a_gate_that_is_used_elsewhere_stays() -> None:
    from kcompiler.graph.operators import Sigmoid

    gate = Sigmoid(X)
    graph = Recognize().run(Graph("g", (X,), (("y", Mul(X, gate)), ("z", gate))))
    assert kinds(graph, Silu) == []


@pytest.mark.parametrize("power", [True, False])
def test_layer_norm(power: bool) -> None:
    centred = Sub(X, mean(X, (2,)))
    square = Pow(centred, number(2)) if power else Mul(centred, centred)
    normal = Div(centred, Sqrt(Add(mean(square, (2,)), number(1e-5))))
    graph = recognized(Add(Mul(normal, weight(RNG, 8)), weight(RNG, 8)))
    assert [n for n in map(type, graph.nodes) if n.__name__ not in {"Input", "Constant"}] == [
        LayerNorm
    ]


def test_a_norm_with_a_wrong_mean_stays() -> None:
    centred = Sub(X, Mul(mean(X, (2,)), number(1.1)))
    normal = Div(centred, Sqrt(Add(mean(Mul(centred, centred), (2,)), number(1e-5))))
    assert kinds(recognized(normal), LayerNorm) == []


def test_rms_norm() -> None:
    root = Sqrt(Add(mean(Pow(X, number(2)), (2,)), number(1e-6)))
    graph = recognized(Mul(weight(RNG, 8), Mul(X, Div(number(1), root))))
    assert kinds(graph, RmsNorm) == ["RmsNorm"]
    assert elementwise_left(graph) == []


def heads(name: str, length: int) -> Op:
    """[1, length, 32] as four heads: [1, 4, length, 8]."""
    return transpose(reshape(tensor(name, 1, length, 32), (1, length, 4, 8)), (0, 2, 1, 3))


def finished(logits: Op, v: Op) -> Op:
    """Softmax, weighted sum, and heads side by side again."""
    out = Contract(Softmax(logits, 3), v, "bhqk,bhkd->bhqd", F32)
    return reshape(transpose(out, (0, 2, 1, 3)), (1, 5, 32))


def product(q: Op, k: Op) -> Op:
    """Q times the transpose of k, as a matmul of [1, 4, ...] without the batch of one."""
    keys = swap_axes(k, 2, 3)
    flat = Contract(reshape(q, q.shape[1:]), reshape(keys, keys.shape[1:]), "hqd,hdk->hqk", F32)
    return reshape(flat, (1, *flat.shape))


ROOT = 8**-0.25
MASK = tensor("m", 1, 1, 5, 7)


@pytest.mark.parametrize(
    "logits",
    [
        lambda q, k: Div(product(q, k), number(math.sqrt(8))),
        lambda q, k: product(Mul(q, number(8**-0.5)), k),
        lambda q, k: product(Mul(q, number(ROOT)), Mul(k, number(ROOT))),
        lambda q, k: Add(Mul(product(q, k), number(8**-0.5)), MASK),
        lambda q, k: Mul(Add(MASK, product(q, k)), number(8**-0.5)),
        lambda q, k: Where(
            LessEqual(number(0.0), tensor("c", 5, 7)),
            Mul(product(q, k), number(8**-0.5)),
            number(-3.4e38),
        ),
    ],
)
def test_attention(logits: Callable[[Op, Op], Op]) -> None:
    graph = recognized(finished(logits(heads("q", 5), heads("k", 7)), heads("v", 7)))
    assert kinds(graph, Attention, Contract, Softmax) == ["Attention"]
    (attention,) = (n for n in graph.nodes if isinstance(n, Attention))
    assert attention.scale == pytest.approx(8**-0.5)


def test_attention_of_grouped_heads_repeats_without_a_copy() -> None:
    q = heads("q", 5)
    k, v = (
        reshape(Broadcast(tensor(n, 1, 2, 1, 7, 8), (1, 2, 2, 7, 8)), (1, 4, 7, 8)) for n in "kv"
    )
    graph = recognized(finished(product(q, k), v))
    (attention,) = (n for n in graph.nodes if isinstance(n, Attention))
    assert attention.k.shape == (1, 2, 2, 7, 8)
    assert isinstance(attention.k, Broadcast)


def test_logits_that_are_used_elsewhere_stay() -> None:
    logits = product(heads("q", 5), heads("k", 7))
    out = finished(logits, heads("v", 7))
    before = model(Add(out, reshape(mean(logits, (1, 2, 3)), (1, 1, 1))))
    assert kinds(Recognize().run(before), Attention) == []


def test_a_softmax_over_queries_is_no_attention() -> None:
    logits = product(heads("q", 5), heads("k", 7))
    out = Contract(Softmax(logits, 2), heads("v", 7), "bhqk,bhkd->bhqd", F32)
    assert kinds(recognized(out), Attention) == []
