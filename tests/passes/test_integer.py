"""The pass integer: quantized models in integers, as onnxruntime's integer kernels compute them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import kcompiler
from kcompiler.frontend import load_model
from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Graph, Op
from kcompiler.graph.operators import (
    Add,
    Cast,
    Contract,
    Conv,
    Dequantize,
    Floor,
    Fused,
    Mul,
    Pad,
    Quantize,
    Reduce,
    Round,
    Window,
)
from kcompiler.graph.types import F32, I32, is_float
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.integer import Integer
from kcompiler.passes.integer.quantized import dequantized, integers
from kcompiler.passes.recognize import Recognize
from kcompiler.passes.simplify import Simplify
from kcompiler.pipeline import run
from kcompiler.sample import number, tensor
from tests.passes.qdq import Model, integer_kernels, steps_apart

I8, U8 = np.dtype(np.int8), np.dtype(np.uint8)


def made(model: bytes) -> Graph:
    graph: Graph = run((Simplify(), Recognize(), Integer()), load_model(model).graph)
    return graph


def kinds(graph: Graph) -> set[type[Op]]:
    return {type(n) for n in graph.nodes}


def float_products(graph: Graph) -> list[Op]:
    return [n for n in graph.nodes if isinstance(n, Conv | Contract) and is_float(n.dtype)]


def conv_net(dtype: str, clip: str = "", *, groups: int = 1, seed: int = 0) -> Model:
    """Q, DQ -> Conv with bias, pads and strides -> activation -> Q, DQ."""
    rng = np.random.default_rng(seed)
    net = Model(x=rng.normal(0.3, 1, (2, 4, 9, 8)).astype(np.float32))
    x = net.through("x", 0.021, int(rng.integers(40, 90)), dtype)
    scale = rng.uniform(0.004, 0.02, 8)
    w = net.weights(rng.integers(-127, 128, (8, 4 // groups, 3, 3)).astype(np.int8), scale)
    bias = net.weights(rng.integers(-900, 900, 8).astype(np.int32), np.float32(0.021) * scale)
    y = net("Conv", x, w, bias, pads=[1, 2, 1, 0], strides=[2, 1], group=groups)
    if clip == "relu":
        y = net("Relu", y)
    if clip == "clip":
        y = net("Clip", y, net.constant(0.0), net.constant(3.0))
    zero = 0 if clip and dtype == "uint8" else -128 if clip else 7
    net.done(net.through(y, 0.031, zero, dtype))
    return net


def built(net: Model) -> bytes:
    return net.done(*net.outputs)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("clip", ["", "relu", "clip"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_convolutions_are_onnxruntimes_bit_for_bit(dtype: str, clip: str, groups: int) -> None:
    net = conv_net(dtype, clip, groups=groups, seed=groups)
    graph = made(built(net))
    assert not float_products(graph)
    assert Quantize not in kinds(graph)
    found = [*run_graph(graph, net.feeds).values()]
    assert steps_apart(found, integer_kernels(built(net), net.feeds), 1.0) == 0


def test_programs_are_the_graph_bit_for_bit() -> None:
    net = conv_net("uint8", "relu")
    compiled = kcompiler.compile(built(net), "rebel")
    checked = compiled.verify(net.feeds)
    assert checked.ok
    expected = run_graph(made(built(net)), net.feeds)
    for name, value in compiled.run(net.feeds).items():
        assert np.array_equal(value, expected[name])


def test_padding_is_part_of_the_convolution() -> None:
    fused = Fuse().run(made(built(conv_net("uint8"))))
    kernels = [n for n in fused.nodes if isinstance(n, Fused)]
    assert [str(k.type.dtype) for k in kernels[:-1]] == ["uint8"] * (len(kernels) - 1)
    assert len(kernels) == 2  # the input's quantization, and everything else


@pytest.mark.parametrize("w_zero", [0, 100, 128, 255])
def test_weights_with_a_zero_point(w_zero: int) -> None:
    rng = np.random.default_rng(w_zero)
    net = Model(x=rng.normal(0, 1, (3, 40)).astype(np.float32))
    x = net.through("x", 0.03, 130)
    w = net.weights(rng.integers(0, 256, (40, 7)).astype(np.uint8), 0.01, w_zero)
    net.done(net.through(net("MatMul", x, w), 0.2, 120))
    graph = made(built(net))
    assert {n.operands[1].dtype for n in graph.nodes if isinstance(n, Contract)} <= {I8, U8}
    found = [*run_graph(graph, net.feeds).values()]
    assert steps_apart(found, integer_kernels(built(net), net.feeds), 1.0) == 0


def test_two_computed_operands() -> None:
    rng = np.random.default_rng(3)
    shapes = {"a": (2, 3, 16), "b": (2, 16, 5)}
    net = Model(**{n: rng.normal(0, 1, s).astype(np.float32) for n, s in shapes.items()})
    a, b = net.through("a", 0.03, 130), net.through("b", 0.025, 99)
    net.done(net.through(net("MatMul", a, b), 0.1, 140))
    graph = made(built(net))
    assert not float_products(graph)
    found = [*run_graph(graph, net.feeds).values()]
    assert steps_apart(found, integer_kernels(built(net), net.feeds), 1.0) == 0


def mixed_net() -> Model:
    """Residual sum, maximum, mean, join and reshape between quantized tensors."""
    rng = np.random.default_rng(5)
    net = Model(x=rng.normal(0, 1, (1, 4, 8, 8)).astype(np.float32))
    x = net.through("x", 0.02, 120)
    pooled = net.through(
        net("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 0.02, 120
    )
    other = net.through(net("Relu", pooled), 0.013, 0)
    total = net.through(net("Add", pooled, other), 0.03, 90)
    joined = net.through(net("Concat", total, total, axis=1), 0.03, 90)
    mean = net.through(net("GlobalAveragePool", joined), 0.01, 100)
    net.done(net.through(net("Reshape", mean, net.constant([1, 8], np.int64)), 0.01, 100))
    return net


def test_everything_between_stays_in_bytes() -> None:
    net = mixed_net()
    graph = made(built(net))
    kernels = [n for n in Fuse().run(graph).nodes if isinstance(n, Fused)]
    assert {n.dtype for n in kernels[:-1]} == {U8}
    assert all(n.x.dtype in {U8, I32} for n in graph.nodes if isinstance(n, Window | Reduce))
    found = [*run_graph(graph, net.feeds).values()]
    assert steps_apart(found, integer_kernels(built(net), net.feeds), 0.01) <= 1.001
    assert kcompiler.compile(built(net), "rebel").verify(net.feeds).ok


def test_the_factor_stays_float32_when_floats_are_narrow() -> None:
    compiled = kcompiler.compile(built(conv_net("uint8")), "rebel", precision="f16")
    (segment,) = compiled.programs
    assert segment.graph is not None
    kernel = next(
        n
        for n in segment.graph.nodes
        if isinstance(n, Fused) and any(isinstance(b, Conv) for b in n.body.nodes)
    )
    factors = [x for x in kernel.xs if is_float(x.dtype)]
    assert [x.dtype for x in factors] == [F32]


# ---- closed formulas, and faults that they see ---------------------------------------------------

Change = Callable[[Op], Op]
SUMS = np.array([[-70000, -5, -3, -1, 0, 1, 3, 5, 7, 70000]], np.int32)


def requantized(change: Change = lambda op: op) -> Array:
    """Sums with factor 1/2, so that every second one lies half way."""
    x = tensor("x", *SUMS.shape, dtype=I32)
    scaled = Mul(Cast(x, F32), number(0.125))
    graph = Graph("g", (x,), (("y", Quantize(scaled, number(0.25), constant(3, I8))),))
    return run_graph(Integer().run(graph).rewrite(change), {"x": SUMS})["y"]


def test_rounding_is_half_to_even_and_saturates() -> None:
    assert requantized().tolist() == [[-128, 1, 1, 3, 3, 3, 5, 5, 7, 127]]


def half_away(op: Op) -> Op:
    """A planted fault: floor(x + 1/2)."""
    return Floor(Add(op.x, number(0.5))) if isinstance(op, Round) else op


def unsaturated(op: Op) -> Op:
    """A planted fault: integers wrap."""
    if not isinstance(op, Cast) or op.dtype != I8:
        return op
    limited = op.x.operands[0].operands[0]
    return Cast(Cast(limited, I32), op.dtype)


@pytest.mark.parametrize("fault", [half_away, unsaturated])
def test_planted_faults_show(fault: Change) -> None:
    assert not np.array_equal(requantized(fault), requantized())


def padded_conv(fill: int | None = None) -> Array:
    """An image of zeros under a kernel of ones: padding that stands for 0 leaves it 0."""
    x = tensor("x", 1, 1, 4, 4, dtype=U8)
    ones = dequantized(integers(np.ones((1, 1, 3, 3)), I8), 1.0, 0)
    data = Dequantize(x, number(0.5), constant(77, U8))
    conv = Conv(data, ones, (1, 1), (1, 1), (1, 1), (1, 1), 1, F32)

    def change(op: Op) -> Op:
        if isinstance(op, Pad) and fill is not None:
            return Pad(op.x, op.low, op.high, fill)
        return op

    graph = Integer().run(Graph("g", (x,), (("y", conv),)))
    assert Pad in kinds(graph)
    return run_graph(graph.rewrite(change), {"x": np.full((1, 1, 4, 4), 77, np.uint8)})["y"]


def test_padding_holds_the_zero_point() -> None:
    assert not padded_conv().any()
    assert padded_conv(fill=0).any()  # a planted fault


def test_a_scale_along_the_sum_stays_float() -> None:
    """Each term has another factor: no integer sum exists, and the result is still right."""
    rng = np.random.default_rng(0)
    x = tensor("x", 3, 8, dtype=I8)
    w = dequantized(integers(rng.integers(-9, 9, (8, 4)), I8), rng.uniform(1, 2, (8, 1)), 0)
    y = Contract(dequantized(x, 0.5, 1), w, "ij,jk->ik", F32)
    graph = Graph("g", (x,), (("y", y),))
    after = Integer().run(graph)
    assert float_products(after)
    feeds = {"x": rng.integers(-128, 128, (3, 8)).astype(np.int8)}
    one, other = (run_graph(g, feeds)["y"] for g in (graph, after))
    assert np.allclose(one, other, rtol=1e-6)


def test_sums_that_may_overflow_stay_float() -> None:
    x = tensor("x", 1, 40000, dtype=U8)
    w = dequantized(integers(np.full((40000, 1), 255), U8), 1.0, 0)
    y = Contract(dequantized(x, 1.0, 0), w, "ij,jk->ik", F32)
    assert float_products(Integer().run(Graph("g", (x,), (("y", y),))))


def test_graphs_without_integers_are_left_alone() -> None:
    x = tensor("x", 3, 4)
    graph = Graph("g", (x,), (("y", Add(x, x)),))
    assert Integer().run(graph) is graph
