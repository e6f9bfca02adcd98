"""The pass group_weights: integers in groups, packed, and numbers again inside of the program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import kcompiler
from kcompiler.errors import UsageError
from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Op
from kcompiler.graph.operators import Concat, Contract, Gather, Relu, Transpose
from kcompiler.graph.types import F16, F32, I64
from kcompiler.passes.group_weights import GroupWeights
from kcompiler.passes.group_weights.groups import KINDS, quantize_groups
from kcompiler.passes.quantize import Report
from kcompiler.sample import tensor

U8 = np.dtype(np.uint8)


def product(k: int, n: int, *, turned: bool = False, seed: int = 0) -> tuple[Graph, Array]:
    """X @ w, with w as it is or turned."""
    w = np.random.default_rng(seed).normal(size=(k, n)).astype(np.float32)
    x = tensor("x", 3, k)
    given = constant(w.T.copy() if turned else w, F32)
    equation = "ij,kj->ik" if turned else "ij,jk->ik"
    return Graph("g", (x,), (("y", Contract(x, given, equation, F32)),)), w


def narrowed(graph: Graph, kind: str, size: int) -> tuple[Graph, Report]:
    log: list[Report] = []
    made: Graph = GroupWeights(kind=kind, size=size, log=log).run(graph)
    return made, log[0]


def weights_of(graph: Graph, k: int) -> Array:
    """The numbers that the product reads: the result for unit vectors."""
    eye = np.eye(k + 2, k, dtype=np.float32)
    found = [run_graph(graph, {"x": eye[i : i + 3]})["y"] for i in range(0, k, 3)]
    return np.concatenate(found)[:k]


@given(
    groups=st.integers(1, 3),
    size=st.sampled_from([2, 6, 32]),
    n=st.integers(1, 5),
    kind=st.sampled_from(KINDS),
    turned=st.booleans(),
    seed=st.integers(0, 99),
)
def test_numbers_are_those_of_the_groups(
    groups: int, size: int, n: int, kind: str, turned: bool, seed: int
) -> None:
    """Whatever the order of dimensions, packing loses nothing."""
    k = groups * size
    graph, w = product(k, n, turned=turned, seed=seed)
    made, report = narrowed(graph, kind, size)
    assert len(report.layers) == 1
    if turned:  # sums in another order round in another way
        near = quantize_groups(w.T.copy().reshape(n, groups, size), 2, kind).near
        expected = near.reshape(n, k).T
    else:
        expected = quantize_groups(w.reshape(groups, size, n), 1, kind).near.reshape(k, n)
    assert np.array_equal(weights_of(made, k), expected)
    stored = [o for o in made.nodes if isinstance(o, Constant) and o.dtype.itemsize == 1]
    assert stored[0].type.nbytes * 8 == (4 if kind == "int4" else 8) * k * n


@pytest.mark.parametrize("size", [16, 32, 128])
def test_groups_are_nearer_than_onnxruntimes(size: int) -> None:
    """MatMulNBits rounds to the range of a group; the best scale is a little less."""
    from onnxruntime.quantization import matmul_nbits_quantizer as quantizer

    w = np.random.default_rng(0).normal(size=(256, 24)).astype(np.float32)
    kind = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", kind, [256, 256])],
            [helper.make_tensor_value_info("y", kind, [256, 24])],
            [numpy_helper.from_array(w, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    made = quantizer.MatMulNBitsQuantizer(model, 4, size, False)
    made.process()
    data = made.model.model.SerializeToString()
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": np.eye(256, dtype=np.float32)})
    ours = quantize_groups(w.reshape(-1, size, 24), 1, "int4").near.reshape(w.shape)
    assert np.sum((ours - w) ** 2) < 0.93 * np.sum((theirs - w) ** 2)


@given(values=st.lists(st.floats(-1e4, 1e4, width=32), min_size=8, max_size=8))
@pytest.mark.parametrize("kind", KINDS)
def test_any_group(kind: str, values: list[float]) -> None:
    """Zeros, constants, outliers: at most a step and a half away from any weight."""
    w = np.array(values, np.float32)
    found = quantize_groups(w, 0, kind)
    assert np.isfinite(found.near).all()
    span = max(float(w.max()), 0.0) - min(float(w.min()), 0.0)
    largest = float(np.abs(w).max())
    step = {"int4": span / 15, "int8": largest / 127, "fp8": largest / 16}[kind]
    plain = np.sum(np.square(np.full(8, step, np.float64)))
    assert np.sum(np.square(found.near.astype(np.float64) - w)) <= plain * 1.01 + 1e-12


def test_what_keeps_its_weights() -> None:
    """Sums that do not fill groups, and tables that something else reads too, turned or not."""
    graph, _ = product(40, 4)
    made, report = narrowed(graph, "int4", 32)
    assert made is graph or not report.layers
    nothing = "no weights are int4 in groups of 32"
    why = "of 1 products, sums that are no multiple of 32 (1)"
    assert report.notes() == (f"{nothing}: {why}",)
    table = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    at = tensor("at", 5, dtype=I64)
    rows = Gather(constant(table, F32), at, 0)
    head = Contract(rows, Constant(table.T), "ij,jk->ik", F32)
    tied = Graph("g", (at,), (("y", head),))
    report = narrowed(tied, "int4", 32)[1]
    assert not report.layers
    assert report.notes()[0].endswith("of 1 products, weights that something else reads too (1)")
    empty = Graph("g", (at,), (("y", Relu(rows)),))
    why = "the model has no products of matrices"
    assert narrowed(empty, "int4", 32)[1].notes() == (f"{nothing}: {why}",)
    x = tensor("x", 4, 4)
    free = Graph("g", (x,), (("y", Contract(x, x, "ij,jk->ik", F32)),))
    assert "no constant matrix of floats (1)" in narrowed(free, "int4", 32)[1].notes()[0]
    moved = Contract(rows, Transpose(constant(table, F32), (1, 0)), "ij,jk->ik", F32)
    assert not narrowed(Graph("g", (at,), (("y", moved),)), "int4", 32)[1].layers


def test_weights_of_two_products_are_narrowed_once() -> None:
    w = constant(np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32), F32)
    x = tensor("x", 3, 32)
    y = Contract(Contract(x, w, "ij,jk->ik", F32), w, "ij,jk->ik", F32)
    made, report = narrowed(Graph("g", (x,), (("y", y),)), "int4", 32)
    assert len(report.layers) == 1
    assert sum(isinstance(n, Concat) for n in made.nodes) == 1


def test_half_precision_weights_stay_what_they_were() -> None:
    x = tensor("x", 3, 32, dtype=F16)
    w = Constant(np.random.default_rng(0).normal(size=(32, 4)).astype(np.float16))
    graph = Graph("g", (x,), (("y", Contract(x, w, "ij,jk->ik", F16)),))
    made, report = narrowed(graph, "int8", 32)
    assert made.outputs[0][1].dtype == F16
    assert report.layers[0].sqnr_db is not None
    assert report.layers[0].sqnr_db > 40


def test_planted_faults_show() -> None:
    """Halves of groups that change places, and bytes that are read the wrong way round."""
    graph, w = product(64, 8)
    made, _ = narrowed(graph, "int4", 32)

    def swapped(op: Op) -> Op:
        return Concat(op.xs[::-1], op.axis) if isinstance(op, Concat) else op

    def turned(op: Op) -> Op:
        if isinstance(op, Constant) and op.dtype == U8 and op.type.rank == 3:
            return Constant((op.value >> 4) | (op.value << 4))
        return op

    right = np.square(weights_of(made, 64) - w).mean()
    for fault in (swapped, turned):
        wrong = np.square(weights_of(made.rewrite(fault), 64) - w).mean()
        assert wrong > 50 * right


def test_refusals() -> None:
    graph, _ = product(32, 4)
    with pytest.raises(UsageError, match="there are no weights of the kind 'int3'"):
        GroupWeights(kind="int3").run(graph)
    with pytest.raises(UsageError, match="a group of 5 weights does not fill bytes"):
        GroupWeights(size=5).run(graph)


@pytest.mark.parametrize(
    ("precision", "least"), [("int8-weights", 35), ("int4-weights", 15), ("fp8-weights", 25)]
)
def test_programs_hold_bytes_and_verify(examples: Path, precision: str, least: float) -> None:
    digits = np.load(examples / "digits.npy")
    whole = kcompiler.compile(examples / "mnistnet.onnx", dims={"s77": 16})
    made = kcompiler.compile(examples / "mnistnet.onnx", precision=precision, dims={"s77": 16})
    checked = made.verify({"input": digits})
    assert checked.ok
    (error,) = checked.outputs.values()
    assert error.sqnr_db is not None
    assert error.sqnr_db > least
    assert len(made.to_bytes()) < len(whole.to_bytes()) * (0.75 if "8" in precision else 0.6)
    report = made.report().quantization
    assert report is not None
    assert report["weights"] == f"{precision.removesuffix('-weights')} in groups of 32"
    assert any("2 products are " in note for note in made.compilation.notes)
    labels = np.load(examples / "digits_labels.npy")
    assert np.array_equal(made.run({"input": digits})["logits"].argmax(1), labels)
