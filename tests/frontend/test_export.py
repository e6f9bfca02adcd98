"""`export_model`: what a graph means, onnxruntime computes of its export."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from kcompiler.errors import CapacityError, UnsupportedError
from kcompiler.frontend import export, load_model
from kcompiler.frontend.export import export_model
from kcompiler.frontend.export_operators import operators_of
from kcompiler.graph import operators as ops
from kcompiler.graph.bounds import error_bound
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.types import (
    F16,
    F32,
    F64,
    is_float,
    is_integer,
)
from tests.frontend.exported import graph_of, of, run
from tests.graph.instances import NAMES, Draw, Instance, instances, kinds

# onnxruntime has them for float32 only, and onnx.reference computes some of them in it.
_NO_F64 = {
    *(ops.Tan, ops.Asin, ops.Acos, ops.Atan, ops.Sinh, ops.Cosh, ops.Asinh, ops.Acosh, ops.Atanh),
    *(ops.Erf, ops.Gelu),
}
_F64_IN_F32 = (ops.Erf, ops.Gelu)


def agrees(instance: Instance, result: Array) -> None:
    """Integers exactly, floats within the bound of what a correct implementation may be off."""
    op, values = instance.op, instance.values
    if not is_float(op.dtype):
        np.testing.assert_array_equal(result, instance.result)
        return
    if op.dtype == F64 and isinstance(op, _F64_IN_F32):
        np.testing.assert_allclose(result, instance.result, 1e-6, 1e-7)
        return
    bound = error_bound(op, values)
    inside = bound.contains(result)
    if op.dtype == F64:  # libraries differ by more than numpy is off
        inside |= np.isclose(result, instance.result, 1e-12, 1e-12, equal_nan=True)
    assert inside.all(), (result[~inside], bound.value[~inside], bound.error[~inside])
    if op.dtype == F16 and isinstance(op, ops.Elementwise) and _relative(op):
        _within_one_ulp(result, instance.result)


def _relative(op: ops.Elementwise) -> bool:
    return isinstance(op, ops.Cast) or op.scalar.relative == "result"


def _within_one_ulp(found: Array, expected: Array) -> None:
    finite = np.isfinite(expected)
    difference = np.abs(found[finite].astype(F32) - expected[finite].astype(F32))
    assert (difference <= np.spacing(np.abs(expected[finite])).astype(F32)).all()


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_every_operator_means_the_same(name: str, data: st.DataObject) -> None:
    kind = Op.registry[name]
    instance = data.draw(instances(kind))
    operands = [of(v, f"x{i}") for i, v in enumerate(instance.values)]
    made = graph_of(instance.op.with_operands(operands).with_origin(("node", "other")))
    graph = Graph("test", tuple(operands), made.outputs)
    feeds = {f"x{i}": v for i, v in enumerate(instance.values)}
    wide = any(v.dtype == F64 and v.size for v in instance.values)
    engine = "onnx.reference" if wide and kind in _NO_F64 else "onnxruntime"
    agrees(instance, run(graph, feeds, engine)["y0"])


@st.composite
def networks(draw: Draw) -> tuple[Graph, dict[str, Array], list[Instance]]:
    """Operators side by side: as they are, in kernels, on the host; on constants and inputs."""
    supported = [k for k in kinds() if k not in _NO_F64]
    found = draw(st.lists(st.sampled_from(supported).flatmap(instances), min_size=1, max_size=4))
    name = st.sampled_from(["v", "c", "host", "host0/", "x", "é", ""])
    inputs: list[Input] = []
    feeds: dict[str, Array] = {}
    outputs: list[tuple[str, Op]] = []
    for number, instance in enumerate(found):
        operands: list[Op] = []
        for value in instance.values:
            if draw(st.booleans()):
                operands.append(Constant(value))
                continue
            inputs.append(of(value, f"{draw(name)}{len(inputs)}"))
            feeds[inputs[-1].name] = value
            operands.append(inputs[-1])
        wrap = draw(st.sampled_from([_plain, _fused, _hosted]))
        outputs.append((f"{draw(name)}_{number}", wrap(instance.op.with_operands(operands))))
    twice = ("twice", draw(st.sampled_from([op for _, op in outputs])))
    graph = Graph("g", tuple(draw(st.permutations(inputs))), (*outputs, twice))
    return graph, feeds, [*found, found[[op for _, op in outputs].index(twice[1])]]


def _plain(op: Op) -> Op:
    return op.with_origin(("n",))


def _inner(op: Op) -> tuple[tuple[Input, ...], Op]:
    inputs = tuple(Input(f"v{i}", o.type) for i, o in enumerate(op.operands))
    return inputs, op.with_operands(inputs)


def _fused(op: Op) -> Op:
    inputs, inside = _inner(op)
    body = Graph("body", inputs, (("out", inside.with_origin(("n", "m"))),))
    return ops.Fused(op.operands, body).with_origin(("n", "m"))


def _hosted(op: Op) -> Op:
    """What another model computes, which has the same names inside; the second of its results."""
    inputs, inside = _inner(op)
    model = export_model(Graph("h", inputs, (("v7", inside), ("v8", inside))))
    host = ops.Host(op.operands, model, (op.type, op.type), "for a test").with_origin(("n",))
    return ops.Item(host, 1)


@given(networks())
def test_networks_mean_the_same(sample: tuple[Graph, dict[str, Array], list[Instance]]) -> None:
    graph, feeds, expected = sample
    found = run(graph, feeds)
    for instance, result in zip(expected, found.values(), strict=True):
        agrees(instance, result)
    assert export_model(graph) == export_model(graph)


def test_a_chain_of_all_places() -> None:
    """Host nodes read kernels and constants, and kernels host nodes; a body serves twice."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    given_ = of(x)
    inner = Input("x0", given_.type)
    body = Graph("twice", (inner,), (("y", ops.Add(inner, inner)),))
    first = ops.Fused((given_,), body)
    item = _hosted(ops.Mul(first, Constant(x)))
    last = ops.Fused((item,), body)
    graph = graph_of(ops.Sub(last, first), given_, Constant(x))
    found = run(graph, {"x": x})
    np.testing.assert_array_equal(found["y0"], 4 * x * x - 2 * x)
    np.testing.assert_array_equal(found["y1"], x)
    np.testing.assert_array_equal(found["y2"], x)


def test_equal_work_is_done_once() -> None:
    x = of(np.zeros((3, 8), np.float16))
    best = (ops.TopKValues(x, 2, 1, largest=True), ops.TopKIndices(x, 2, 1, largest=True))
    proto = ModelProto.FromString(export_model(graph_of(*best)))
    assert [n.op_type for n in proto.graph.node] == ["Cast", "TopK", "Cast"]


def test_what_reads_nothing_is_known() -> None:
    x = of(np.zeros((0, 4), np.float32))
    total, around = ops.Reduce(x, "max", (0,)), ops.Concat((x, Constant(np.ones((2, 4), F32))), 0)
    found = run(graph_of(total, around, ops.Relu(x)), {"x": np.zeros((0, 4), np.float32)})
    np.testing.assert_array_equal(found["y0"], np.full((1, 4), -np.inf))
    np.testing.assert_array_equal(found["y1"], np.ones((2, 4)))


def test_names_of_nodes_come_from_the_model_and_differ() -> None:
    x = of(np.zeros((3, 8), np.float16))
    relu = ops.Relu(ops.Neg(x).with_origin(("a",))).with_origin(("a",))
    proto = ModelProto.FromString(export_model(graph_of(relu)))
    names = [n.name for n in proto.graph.node]
    assert names[0] == "a"
    assert len(set(names)) == len(names)


def old_host(x: Op, opset: int, op_type: str = "ReduceMean", **attributes: Any) -> ops.Host:
    """A node of an old opset, as the importer keeps it."""
    info = helper.make_tensor_value_info("a", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("b", TensorProto.FLOAT, x.shape)
    node = helper.make_node(op_type, ["a"], ["b"], name="old", **attributes)
    graph = helper.make_graph([node], "host", [info], [result])
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=3)
    return ops.Host((x,), model.SerializeToString(), (x.type,), "kept").with_origin(("old",))


def test_host_parts_of_other_opsets() -> None:
    """Softmax before opset 13 is over all dimensions from its axis on."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    given_ = of(x)
    old = ops.Item(old_host(given_, 11, "Softmax", axis=1), 0)
    newer = ops.Item(old_host(given_, 20, "Gelu"), 0)
    graph = graph_of(ops.Add(old, old), newer)
    found = run(graph, {"x": x})
    power = np.exp(x - x.max((1, 2), keepdims=True))
    np.testing.assert_allclose(found["y0"], 2 * power / power.sum((1, 2), keepdims=True), 1e-5)
    proto = ModelProto.FromString(export_model(graph))
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 20)]


def test_a_host_part_that_fits_no_common_opset() -> None:
    host = old_host(of(np.zeros(3, np.float32)), 11, "NoSuchOperator")
    with pytest.raises(UnsupportedError) as caught:
        export_model(graph_of(ops.Item(host, 0)))
    assert str(caught.value).startswith(
        "error: an operator for the host is of opset 11, the others of opset 18\n  at: old\n"
    )


def test_a_model_that_no_message_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_MOST_BYTES", 100)
    x = of(np.zeros(40, np.float32))
    with pytest.raises(CapacityError) as caught:
        export_model(graph_of(ops.Add(x, Constant(np.arange(40, dtype=np.float32)))))
    assert str(caught.value) == (
        "error: a part of the model that stays on the host is larger than 2 GB\n"
        "  because: an ONNX model in one file can be no larger\n"
        "  try: split the model"
    )


@settings(max_examples=20)
@given(instances(ops.Conv))
def test_what_is_exported_can_be_imported(instance: Instance) -> None:
    operands = [of(v, f"x{i}") for i, v in enumerate(instance.values)]
    graph = Graph("g", tuple(operands), (("y", instance.op.with_operands(operands)),))
    again = load_model(export_model(graph)).graph
    assert again.outputs[0][1].type == instance.op.type
    if is_integer(instance.op.dtype) or instance.op.dtype == F64:
        feeds = dict(zip(("x0", "x1"), instance.values, strict=True))
        (found,) = run_graph(again, feeds).values()
        np.testing.assert_allclose(found, instance.result, 1e-12)
    else:
        assert again.macs() == graph.macs()


def test_operators_of_a_part() -> None:
    x = of(np.zeros((2, 4), np.float32))
    inner = Input("x0", x.type)
    total = ops.CumSum(ops.Neg(inner).with_origin(("n",)), 1, exclusive=False, reverse=False)
    body = Graph("b", (inner,), (("y", total.with_origin(("c",))),))
    fused = ops.Fused((x,), body).with_origin(("n", "c"))
    item = ops.Item(old_host(fused, 18, "Mish"), 0)
    top = ops.TopKIndices(item, 1, 1, largest=True).with_origin(("t",))
    refused = ((("n", "c"), "no sums"), (("t",), "no order"))
    assert operators_of(graph_of(top), refused) == (
        ("n", "Neg", "no sums"),
        ("c", "CumSum", "no sums"),
        ("old", "Mish", "kept"),
        ("t", "TopK", "no order"),
    )
