"""8-bit floats (e4m3): rounding as ONNX's, products of them as they are, models that bring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

import kcompiler
from kcompiler import cli
from kcompiler.calibration import Range
from kcompiler.compilation import NpuSegment
from kcompiler.frontend import load_model
from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Op
from kcompiler.graph.operators import (
    Add,
    Contract,
    Conv,
    Fused,
    Mul,
    Quantize,
    Relu,
)
from kcompiler.graph.types import F32, parse_dtype
from kcompiler.passes.integer import Integer
from kcompiler.passes.integer.quantized import dequantized
from kcompiler.passes.quantize import Quantize as QuantizePass
from kcompiler.passes.quantize import Report
from kcompiler.passes.quantize.formats import FP8
from kcompiler.passes.quantize.scheme import Scheme
from kcompiler.passes.simplify import Simplify
from kcompiler.sample import tensor
from tests.passes.qdq import Model
from tests.passes.quantized import conv, decibels

E4M3, E5M2 = parse_dtype("f8e4m3fn"), parse_dtype("f8e5m2")
F8 = {"e4m3": E4M3, "e5m2": E5M2}
SPECIAL = (448.0, 464.0, 465.0, 1e9, np.inf, -np.inf, np.nan, 0.0, -0.0, 2.0**-10, 3 * 2.0**-10)


def products(graph: Graph) -> list[Op]:
    return [n for n in graph.nodes if isinstance(n, Conv | Contract)]


def multiplied(model: kcompiler.CompiledModel) -> list[Op]:
    """The products of all kernels."""
    (segment,) = model.compilation.segments
    assert isinstance(segment, NpuSegment)
    assert segment.graph is not None
    kernels = (n for n in segment.graph.nodes if isinstance(n, Fused))
    return [p for kernel in kernels for p in products(kernel.body)]


@given(
    values=st.lists(st.floats(-600, 600, width=32), min_size=1, max_size=30),
    scale=st.sampled_from([1.0, 0.25, 0.013, 3.0]),
    name=st.sampled_from(sorted(F8)),
)
def test_rounding_is_onnxs(values: list[float], scale: float, name: str) -> None:
    """Halves to even, saturation, what is no number; and so do the operators that it consists of.

    ml_dtypes and ONNX's reference are the oracles; every half between two numbers is tried too.
    """
    kind = F8[name]
    every = np.arange(256).astype(np.uint8).view(kind).astype(np.float32)
    known = np.sort(every[np.isfinite(every)])
    halves = (known[1:] + known[:-1]) / 2
    x = np.array([*values, *halves, *SPECIAL], np.float32) * np.float32(scale)
    m = Model(x=x)
    step, zero = m.constant(scale), m.constant(0, kind)
    whole = m("QuantizeLinear", "x", step, zero)
    data = m.done(whole, m("DequantizeLinear", whole, step, zero), opset=19)
    expected = ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"x": x})
    graph = load_model(data).graph
    spelled = Integer().run(graph)
    assert not any(isinstance(n, Quantize) for n in spelled.nodes)
    for each in (graph, spelled):
        for found, wanted in zip(run_graph(each, {"x": x}).values(), expected, strict=True):
            wide = np.asarray(wanted).astype(np.float32)
            assert np.array_equal(np.asarray(found).astype(np.float32), wide, equal_nan=True)


def quantized_network(name: str, *, by_channel: bool) -> tuple[bytes, dict[str, Array]]:
    """A product with bias and relu, and a convolution, all of 8-bit floats."""
    kind, rng = F8[name], np.random.default_rng(3)
    x = rng.normal(size=(8, 96)).astype(np.float32)
    m = Model(x=x)

    def through(x: str, scale: float) -> str:
        step, zero = m.constant(scale), m.constant(0, kind)
        return m("DequantizeLinear", m("QuantizeLinear", x, step, zero), step, zero)

    def weights(w: Array, axis: int) -> str:
        others = tuple(d for d in range(w.ndim) if d != axis) if by_channel else None
        scale = np.asarray(np.abs(w).max(others, keepdims=True) / 400, np.float32)
        flat = scale.reshape(-1 if by_channel else ())
        return m.weights((w / scale).astype(kind), flat, axis=axis)

    dense = m("MatMul", through("x", 0.013), weights(rng.normal(size=(96, 48)), 1))
    y = m("Relu", m("Add", dense, m.constant(rng.normal(size=48))))
    image = m("Reshape", through(y, 0.125), m.constant([2, 4, 4, 12], np.int64))
    y = m("Conv", image, weights(rng.normal(size=(16, 4, 3, 3)), 0), pads=[1, 1, 1, 1])
    return m.done(y, opset=19), {"x": x}


@pytest.mark.parametrize("by_channel", [True, False])
@pytest.mark.parametrize("name", sorted(F8))
def test_models_that_bring_eight_bit_floats(name: str, *, by_channel: bool) -> None:
    """Their scales are law: the program multiplies what they store, and equals ONNX's reference.

    The relu before a quantization is there: onnxruntime's optimizer takes it for an integer's.
    """
    data, feeds = quantized_network(name, by_channel=by_channel)
    model = kcompiler.compile(data, target="rebel")
    found = multiplied(model)
    assert len(found) == 2
    assert {o.dtype for p in found for o in p.operands} == {F8[name]}
    (wanted,) = ReferenceEvaluator(onnx.load_from_string(data)).run(None, feeds)
    (result,) = model.run(feeds).values()
    assert np.abs(result - wanted).max() <= 2.0**-18 * np.abs(wanted).max()
    verification = model.verify(feeds)
    assert verification.ok
    assert verification.reference == "onnxruntime"


def test_chips_without_them_multiply_numbers() -> None:
    """What the array does not multiply is made of numbers that it does."""
    data, feeds = quantized_network("e4m3", by_channel=True)
    graph = Simplify().run(load_model(data).graph)
    plain = Integer(eights=("f8e5m2",)).run(graph)
    assert {o.dtype for p in products(plain) for o in p.operands} == {F32}
    whole = [run_graph(g, feeds) for g in (graph, plain)]
    for one, other in zip(*(w.values() for w in whole), strict=True):
        assert np.allclose(one, other, rtol=1e-5, atol=1e-4)


def test_factors_stay_out_of_weights_of_eight_bits() -> None:
    """Four bits have no room for a factor: it is multiplied afterwards."""
    w = Constant(np.random.default_rng(0).normal(size=(32, 8)).astype(E4M3))
    x = tensor("x", 4, 32, dtype=E4M3)
    y = Mul(Contract(x, w, "ij,jk->ik", F32), constant(0.3, F32))
    graph = Graph("g", (x,), (("y", y),))
    feeds = {"x": np.random.default_rng(1).normal(size=(4, 32)).astype(E4M3)}
    simple = Simplify().run(graph)
    assert np.array_equal(run_graph(simple, feeds)["y"], run_graph(graph, feeds)["y"])


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_factors_beyond_float32_stay_in_the_scales(scale: float) -> None:
    """The product of both scales is infinite, or nothing: numbers are multiplied, as ONNX says."""
    rng = np.random.default_rng(0)
    x = tensor("x", 4, 96, dtype=E4M3)
    w = dequantized(constant(rng.normal(size=(96, 8)), E4M3), scale, 0)
    data = dequantized(x, scale, 0)
    graph = Graph("g", (x,), (("y", Contract(data, w, "ij,jk->ik", F32)),))
    made = Integer().run(graph)
    assert {o.dtype for p in products(made) for o in p.operands} == {F32}
    small = {"x": np.full((4, 96), 2.0**-9, np.float32).astype(E4M3)}
    with np.errstate(over="ignore"):
        found, wanted = (run_graph(g, small)["y"] for g in (made, graph))
    assert np.array_equal(found, wanted, equal_nan=True)


def residual(seed: int = 0) -> Graph:
    """Two convolutions, the second around by a sum; a depthwise one and a short one before."""
    rng = np.random.default_rng(seed)

    def w(*shape: int) -> Array:
        return np.asarray(rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])), np.float32)

    x = tensor("x", 1, 4, 12, 12)
    stem = Relu(conv(x, w(16, 4, 3, 3), name="stem"))
    deep = Relu(conv(stem, w(16, 1, 3, 3), groups=16, name="deep"))
    first = Relu(Add(conv(deep, w(16, 16, 3, 3), name="first"), constant(w(16, 1, 1), F32)))
    second = conv(first, w(16, 16, 3, 3), name="second")
    return Graph("residual", (x,), (("y", Add(second, first)),))


def narrowed(graph: Graph, **options: Any) -> tuple[Graph, Report]:
    log: list[Report] = []
    made = QuantizePass(kind="fp8", samples=samples(6), log=log, **options).run(graph)
    return made, log[0]


def samples(count: int, seed: int = 0) -> tuple[dict[str, Array], ...]:
    rng = np.random.default_rng(seed)
    return tuple({"x": rng.normal(size=(1, 4, 12, 12)).astype(np.float32)} for _ in range(count))


@pytest.mark.parametrize("size", [3.4e38, 7.1e37, 6e34, 1.0, 2e-33, 1e-36, 1e-37])
def test_scales_of_the_largest_and_the_smallest_numbers(size: float) -> None:
    """A scale that float32 cannot divide by gives way to the nearest that it can, not to 1."""
    x = np.float32(size) * np.array([1, -0.7, 0.3, 0], np.float32)
    scheme = Scheme.of(Range(float(x.min()), float(x.max())), kind=FP8)
    found = scheme.near(x)
    assert np.isfinite(found).all()
    assert np.abs(found - x).max() <= size / 8
    assert np.array_equal(
        found, run_graph(Graph("g", (), (("y", scheme.apply(constant(x, F32))),)), {})["y"]
    )


def test_products_alone_are_narrow() -> None:
    """Sums that the array does not do faster stay float; so does what others than products read."""
    graph = residual()
    made, report = narrowed(graph, rows=40)
    assert [row.name for row in report.layers] == ["first", "second"]
    assert any(n.startswith("2 products of at most 40 terms stay float") for n in report.notes())
    kinds = {n.origin[0]: {o.dtype for o in n.operands} for n in products(Integer().run(made))}
    assert kinds == {"stem": {F32}, "deep": {F32}, "first": {E4M3}, "second": {E4M3}}
    total = made.outputs[0][1]
    assert isinstance(total, Add)
    assert isinstance(total.y, Relu)  # not what the product reads of it
    for row in report.tensors:
        assert np.frexp(row.scale)[0] == 0.5
        assert row.zero == 0


def by_hand(made: Graph, feeds: dict[str, Array]) -> Array:
    """The network with ml_dtypes alone: numpy sums, nothing of ours."""
    scales = [float(n.scale.evaluate()) for n in made.nodes if isinstance(n, Quantize)]
    weights = [p.operands[1] for p in products(made)]

    def convolve(x: Array, w: Array, groups: int = 1) -> Array:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[0]
        if groups > 1:
            return np.asarray(np.einsum("chwij,cij->chw", seen, w[:, 0])[None])
        return np.asarray(np.einsum("chwij,mcij->mhw", seen, w)[None])

    def narrow(x: Array, scale: float) -> Array:
        return np.asarray((x / scale).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * scale)

    def wide(op: Op) -> Array:
        if isinstance(op, Constant):
            return op.value.astype(np.float64)
        value, scale, _ = (np.asarray(o.evaluate()).astype(np.float64) for o in op.operands)
        return np.asarray(value * scale)

    stem = np.maximum(convolve(feeds["x"].astype(np.float64), wide(weights[0])), 0)
    deep = np.maximum(convolve(stem, wide(weights[1]), 16), 0)
    biases = [n.y for n in made.nodes if isinstance(n, Add)][:2]
    shifts = [np.asarray(b.evaluate(), np.float64) for b in biases if isinstance(b, Constant)]
    first = np.maximum(convolve(narrow(deep, scales[0]), wide(weights[2])) + shifts[0], 0)
    return np.asarray(convolve(narrow(first, scales[1]), wide(weights[3])) + shifts[1] + first)


def test_the_network_is_what_numpy_makes_of_it() -> None:
    graph = residual()
    made, _ = narrowed(graph, rows=40)
    (feeds,) = samples(1, seed=9)
    found = run_graph(Integer().run(made), feeds)["y"]
    wanted = by_hand(made, feeds)
    # A sum on the border between two numbers may fall on either side of it.
    assert decibels_of(wanted, found) > 60
    assert np.median(np.abs(found - wanted)) < 1e-6


def decibels_of(wanted: Array, found: Array) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((found - wanted) ** 2)))


def test_what_is_reported_is_what_is_computed() -> None:
    """The walk's ratio over its samples is that of the graph that it leads to."""
    graph = residual()
    made, report = narrowed(graph, rows=40)
    found = decibels(graph, Integer().run(made), samples(6))
    assert report.outputs[0].sqnr_db == pytest.approx(found, abs=0.05)
    assert found > 25


@pytest.mark.parametrize("option", ["adaptive_rounding", "bias_correction"])
def test_what_each_choice_is_good_for(option: str) -> None:
    """Nearer on the samples, which is what each is chosen by, and no farther on others."""
    graph = residual()
    with_it, without = (narrowed(graph, **{option: on})[0] for on in (True, False))
    seen, unseen = samples(6), samples(8, seed=5)
    assert decibels(graph, with_it, seen) > decibels(graph, without, seen) + 0.1
    assert decibels(graph, with_it, unseen) > decibels(graph, without, unseen)


def test_mnistnet(examples: Path) -> None:
    """From the file to verified bytes; the digits stay what they are."""
    digits, labels = (np.load(examples / f"digits{n}.npy") for n in ("", "_labels"))
    data = {"input": digits, "labels": labels}
    model = kcompiler.compile(
        examples / "mnistnet.onnx", "rebel", precision="fp8", dims={"s77": 1}, calibration=data
    )
    verification = model.verify()
    assert verification.ok
    assert verification.audit is not None
    assert not verification.audit.findings
    (row,) = model.report().quantization["outputs"]  # type: ignore[index]
    assert row["correct"] == row["correct_float"] == len(labels)
    found = [p.operands[0].dtype for p in multiplied(model)]
    assert found.count(E4M3) == 3
    assert len(found) == 5


def test_a_chip_without_them(examples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(examples / "mnistnet.onnx"), "-t", "warboy", "-p", "fp8"]
    assert cli.main([*arguments, "--calibration", str(examples / "digits.npy")]) == 2
    error = capsys.readouterr().err
    assert error == "error: warboy has no precision 'fp8'\n  try: one of: int8\n"


def test_a_planted_fault_shows() -> None:
    """A product of numbers that were not rounded is another network."""
    graph = residual()
    made, _ = narrowed(graph, rows=40)
    (feeds,) = samples(1, seed=9)
    wanted = by_hand(made, feeds)

    def unrounded(op: Op) -> Op:
        if isinstance(op, Conv) and op.origin == ("first",):
            x = op.x.operands[0].operands[0]
            return op.with_operands((x, op.w))
        return op

    broken = run_graph(made.rewrite(unrounded), feeds)["y"]
    assert decibels_of(wanted, broken) < 45
