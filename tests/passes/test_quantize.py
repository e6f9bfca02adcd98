"""The pass quantize: what becomes integers, how exactly, and what must not be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

import kcompiler
from kcompiler.errors import UsageError
from kcompiler.frontend.export import export_model
from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Op
from kcompiler.graph.operators import (
    Add,
    Contract,
    Conv,
    Dequantize,
    Fused,
    Pad,
    Relu,
    Reshape,
    Softmax,
)
from kcompiler.graph.operators import Quantize as QuantizeOp
from kcompiler.graph.types import BF16, F16, F32
from kcompiler.passes.integer import Integer
from kcompiler.passes.quantize import Quantize
from kcompiler.passes.quantize.insert import Insert
from kcompiler.passes.quantize.layers import Layer
from kcompiler.passes.quantize.weights import quantize_weights
from kcompiler.registry import find_target
from kcompiler.sample import tensor
from kcompiler.verify.ladder import compare
from tests.passes.qdq import integer_kernels
from tests.passes.quantized import (
    I8,
    bias,
    contents,
    conv,
    decibels,
    float_products,
    images,
    kernels,
    mobile,
    quantized,
)

# ---- what becomes integers -----------------------------------------------------------------------


def test_products_become_integers_and_stay_near() -> None:
    graph = mobile()
    made, report = quantized(graph)
    assert not float_products(made)
    assert decibels(graph, made, images(8, seed=2)) > 30
    assert [row.name for row in report.layers] == ["stem", "deep", "point", "last", "head"]
    assert all(row.cosine > 0.999 for row in report.layers)
    (output,) = report.outputs
    assert output.count == 16
    assert (output.agreement or 0) >= 15
    assert report.samples == report.walked == 16


def test_everything_between_kernels_is_bytes() -> None:
    made, _ = quantized(mobile(), everything=True)
    *inner, last = kernels(made)
    assert {k.dtype for k in inner} == {I8}
    assert last.dtype == F32  # the model's output keeps its type
    assert decibels(mobile(), made, images(8, seed=2)) > 28


def test_what_a_product_makes_is_bytes_in_any_shape() -> None:
    x, w = tensor("x", 1, 3, 16, 16), np.random.default_rng(0).normal(size=(8, 3, 3, 3))
    rows = Reshape(Relu(conv(x, w.astype(np.float32))), (1, 8, 256))
    made, _ = quantized(Graph("g", (x,), (("y", Softmax(rows, 2)),)), everything=True)
    assert [k.dtype for k in kernels(made)] == [I8, I8, F32]


def test_what_is_left_float_is_read_once_more_as_numbers() -> None:
    """Without `everything` a softmax reads what it would read in float."""
    x = tensor("x", 2, 8)
    soft = Softmax(Contract(x, constant(np.eye(8), F32), "ij,jk->ik", F32), 1)
    samples = tuple({"x": f["x"]} for f in images(4, shape=(2, 8)))
    made = Quantize(samples=samples).run(Graph("g", (x,), (("y", soft),)))
    assert {n.dtype for n in made.nodes if isinstance(n, Softmax)} == {F32}
    assert sum(isinstance(n, QuantizeOp) for n in made.nodes) == 1


def test_two_computed_operands_are_symmetric() -> None:
    a, b = tensor("a", 2, 4, 8), tensor("b", 2, 8, 5)
    graph = Graph("g", (a, b), (("y", Contract(a, b, "bij,bjk->bik", F32)),))
    rng = np.random.default_rng(0)
    samples = tuple(
        {n.name: rng.normal(3, 1, n.shape).astype(np.float32) for n in (a, b)} for _ in range(4)
    )
    made = Quantize(samples=samples).run(graph)
    zeros = [n.zero for n in made.nodes if isinstance(n, QuantizeOp)]
    assert all(isinstance(z, Constant) and not z.value.any() for z in zeros)
    assert not float_products(made)


@pytest.mark.parametrize("dtype", [F16, BF16])
def test_models_of_narrow_floats(dtype: np.dtype[Any]) -> None:
    x = tensor("x", 1, 3, 8, 8, dtype=dtype)
    w = Constant(np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(dtype))
    y = Relu(Conv(x, w, (1, 1), (1, 1), (1, 1), (1, 1), 1, dtype))
    graph = Graph("g", (x,), (("y", y),))
    samples = tuple({"x": f["x"].astype(dtype)} for f in images(4, shape=(1, 3, 8, 8)))
    made = Quantize(samples=samples).run(graph)
    assert made.outputs[0][1].dtype == dtype
    assert not float_products(made)
    assert decibels(graph, made, samples) > 30


def test_a_quantized_model_is_law() -> None:
    once, _ = quantized(mobile())
    again, report = quantized(once)
    assert again is once
    assert report.given
    assert "taken as they are" in report.notes()[0]


def test_a_model_without_products() -> None:
    x = tensor("x", 3, 4)
    graph = Graph("g", (x,), (("y", Relu(x)),))
    assert Quantize().run(graph) is graph


@pytest.mark.parametrize(("rows", "terms"), [(0, 16), (4, 0)])
def test_products_of_nothing_stay_as_they_are(rows: int, terms: int) -> None:
    x = tensor("x", rows, terms)
    w = np.ones((terms, 8), np.float32)
    graph = Graph("g", (x,), (("y", Contract(x, constant(w, F32), "ij,jk->ik", F32)),))
    feeds = {"x": np.zeros((rows, terms), np.float32)}
    made = Quantize(samples=(feeds,)).run(graph)
    assert np.array_equal(run_graph(made, feeds)["y"], np.zeros((rows, 8)))


def test_constant_channels_and_dead_filters() -> None:
    """Filters of zeros, of one weight, and data that never move."""
    w = np.zeros((3, 2, 1, 1), np.float32)
    w[1, 0], w[2] = 1e-20, 5.0
    x = tensor("x", 1, 2, 4, 4)
    y = bias(conv(x, w), np.array([0.5, 1e6, -3], np.float32))
    graph = Graph("g", (x,), (("y", y),))
    for value in (0.0, 7.0):
        samples = ({"x": np.full((1, 2, 4, 4), value, np.float32)},) * 2
        made = Quantize(samples=samples).run(graph)
        found, exact = (run_graph(g, samples[0])["y"] for g in (Integer().run(made), graph))
        assert np.allclose(found, exact, rtol=1e-2, atol=1e-2)


def test_a_bias_too_small_to_matter_has_a_scale() -> None:
    """A filter of zeros whose bias is next to the smallest float32: its scale was none."""
    x, w = tensor("x", 1, 3, 16, 16), np.ones((2, 3, 1, 1), np.float32)
    w[1] = 0
    y = bias(conv(x, w), np.array([0.5, 1e-42], np.float32))
    made, _ = quantized(Graph("g", (x,), (("y", y),)))
    scales = [n.scale for n in made.nodes if isinstance(n, Dequantize)]
    assert all(isinstance(s, Constant) and (s.value > 0).all() for s in scales)
    assert np.isfinite(run_graph(Integer().run(made), images(1)[0])["y"]).all()


@pytest.mark.parametrize("shape", [(1, 3, 4096, 1), (1, 3, 1, 4096)])
def test_pictures_one_pixel_wide(shape: tuple[int, ...]) -> None:
    """Some positions are looked at to round weights: not none where one axis is short."""
    x, rng = tensor("x", *shape), np.random.default_rng(0)
    y = conv(x, rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    graph = Graph("g", (x,), (("y", y),))
    samples = images(3, shape=shape)
    assert decibels(graph, Quantize(samples=samples).run(graph), samples) > 30


# ---- as ONNX ------------------------------------------------------------------------------------


def test_onnxruntime_computes_what_the_integers_do() -> None:
    """The model as QDQ ONNX: a histogram of differences in steps of the last quantization."""
    rng = np.random.default_rng(0)
    x = tensor("x", 1, 3, 16, 16)
    y = Relu(bias(conv(x, rng.normal(size=(8, 3, 3, 3)).astype(np.float32)), rng.normal(size=8)))
    graph = Graph("g", (x,), (("y", y),))
    made, report = quantized(graph, everything=True)
    model = export_model(made)
    kinds = [n.op_type for n in onnx.load_from_string(model).graph.node]
    assert kinds.count("QuantizeLinear") == 2
    assert kinds.count("DequantizeLinear") == 4  # the data, weights by channel, bias, the result
    integer = Integer().run(made)
    steps: list[Array] = []
    for feeds in images(8, seed=4):
        (theirs,) = integer_kernels(model, feeds)
        steps.append(np.rint((theirs - run_graph(integer, feeds)["y"]) / report.tensors[-1].scale))
    found = np.bincount(np.abs(np.concatenate(steps)).astype(int).ravel())
    assert len(found) <= 2  # nothing differs by more than one step
    assert found[0] > 0.999 * found.sum()


def test_a_whole_network_as_qdq() -> None:
    graph = mobile()
    made, _ = quantized(graph)
    model = export_model(made)
    pairs = [
        (run_graph(Integer().run(made), f)["y"], integer_kernels(model, f)[0]) for f in images(8)
    ]
    ours, theirs = (np.stack(side) for side in zip(*pairs, strict=True))
    between = compare(ours, theirs).sqnr_db
    assert between is None or between > decibels(graph, made, images(8)) + 3


# ---- weights -------------------------------------------------------------------------------------


def test_scales_of_weights_are_nearly_the_best() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_t(4, size=(6, 40)).astype(np.float32)
    found = quantize_weights(w, (0,))
    error = np.sum((found.near - w) ** 2, 1)
    for row, own in zip(w, error, strict=True):
        candidates = np.abs(row).max() / 127 * np.linspace(0.4, 1, 200)
        near = np.clip(np.rint(row / candidates[:, None]), -127, 127) * candidates[:, None]
        assert own <= 1.15 * np.sum((near - row) ** 2, 1).min()


@pytest.mark.parametrize(
    ("equation", "shape", "kept"),
    [("ij,jk->ik", (8, 5), (1,)), ("ij,kj->ik", (5, 8), (0,)), ("bij,bjk->bik", (2, 8, 5), (0, 2))],
)
def test_a_scale_for_each_channel_of_the_result(
    equation: str, shape: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    data = (2, 3, 8) if len(shape) == 3 else (3, 8)
    x = tensor("x", *data)
    op = Contract(x, constant(rng.normal(size=shape).astype(np.float32), F32), equation, F32)
    layer = Layer(op, 1)
    assert layer.kept == kept
    made = Quantize(samples=images(4, shape=data)).run(Graph("g", (x,), (("y", op),)))
    (weights,) = (n for n in made.nodes if isinstance(n, Dequantize) and isinstance(n.x, Constant)
                  and n.x.dtype == I8)  # fmt: skip
    assert weights.scale.shape == tuple(n if i in kept else 1 for i, n in enumerate(shape))
    assert not float_products(made)
    assert decibels(Graph("g", (x,), (("y", op),)), made, images(4, shape=data)) > 35


# ---- planted faults: each shows in the measure that the tests above look at ---------------------


def shifted(op: Op) -> Op:
    """A zero point that is off by one."""
    if isinstance(op, Dequantize) and isinstance(op.zero, Constant) and op.zero.value.any():
        return Dequantize(op.x, op.scale, constant(op.zero.value + np.int8(1), I8))
    return op


def unpadded(op: Op) -> Op:
    """Padding that holds 0 in place of the zero point."""
    return Pad(op.x, op.low, op.high, 0) if isinstance(op, Pad) and op.value else op


def one_scale(op: Op) -> Op:
    """All filters by the scale of the first."""
    if isinstance(op, Dequantize) and isinstance(op.scale, Constant) and op.scale.type.size > 1:
        first = np.broadcast_to(op.scale.value.reshape(-1)[0], op.scale.shape)
        return Dequantize(op.x, constant(first, F32), op.zero)
    return op


@pytest.mark.parametrize("fault", [shifted, one_scale, unpadded])
def test_planted_faults_show(fault: Callable[[Op], Op]) -> None:
    graph = mobile()
    made, _ = quantized(graph)
    broken = (Integer().run(made) if fault is unpadded else made).rewrite(fault)
    assert decibels(graph, broken, images(4)) < decibels(graph, made, images(4)) - 8


def test_a_planted_wrong_bias_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = mobile()

    def doubled(self: Insert, layer: Layer, original: Any = Insert._bias) -> Op:
        return Add(original(self, layer), original(self, layer))

    monkeypatch.setattr(Insert, "_bias", doubled)
    made, _ = quantized(graph)
    assert decibels(graph, made, images(4)) < 25


# ---- refusals, and the whole way -----------------------------------------------------------------


def test_it_needs_data() -> None:
    with pytest.raises(UsageError, match="int8 needs calibration data"):
        Quantize().run(mobile())
    with pytest.raises(UsageError, match="there is no observer 'best'"):
        Quantize(observer="best", samples=images(1)).run(mobile())


def test_the_same_data_give_the_same_graph() -> None:
    one, other = (contents(quantized(mobile())[0]) for _ in range(2))
    assert one == other
    assert contents(quantized(mobile(), observer="min-max")[0]) != one


def test_an_integer_only_target_gets_bytes_between_kernels(examples: Any) -> None:
    target = replace(find_target("rebel"), integer_only=True)
    digits = np.load(examples / "digits.npy")
    made = kcompiler.compile(
        examples / "mnistnet.onnx", target, precision="int8", dims={"s77": 1}, calibration=digits
    )
    (segment,) = made.programs
    assert segment.graph is not None
    *inner, last = (n for n in segment.graph.nodes if isinstance(n, Fused))
    assert {n.dtype for n in inner} == {I8}
    assert last.dtype == F32
    assert made.verify().ok
