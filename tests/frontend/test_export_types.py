"""The export of element types: what ONNX leaves open, and what onnxruntime lacks."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import helper

from kcompiler.frontend.export_kernels import KERNELS
from kcompiler.frontend.export_net import Net
from kcompiler.graph import operators as ops
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph
from kcompiler.graph.types import BF16, BOOL, F16, F32, F64, I32, I64, parse_dtype
from kcompiler.host import HostModel
from tests.frontend.exported import graph_of, of, run

EDGES = [0.0, -0.0, 0.5, -0.5, 1.9, -1.9, 127.5, 255.7, -129.0, 65535.5, 3e9, -3e9, 9.3e18, 1.9e19]
EDGES += [np.inf, -np.inf, np.nan]
INTEGERS = [np.dtype(f"{s}{n}") for n in (1, 2, 4, 8) for s in "iu"]
NARROW = [np.dtype(getattr(ml_dtypes, name)) for name in ("int4", "uint4")]


@pytest.mark.parametrize("dtype", [*INTEGERS, *NARROW, BOOL], ids=str)
@pytest.mark.parametrize("source", [F32, F64, F16, BF16], ids=str)
def test_floats_become_integers_as_the_graph_says(
    source: np.dtype[Any], dtype: np.dtype[Any]
) -> None:
    """ONNX leaves open what becomes of NaN and of what is out of range."""
    with np.errstate(over="ignore"):
        x = np.array(EDGES).astype(source)
    op = ops.Cast(ops.Cast(of(x), dtype), I64)  # no engine hands out 4-bit integers
    np.testing.assert_array_equal(
        run(graph_of(op), {"x": x})["y0"], op.evaluate(ops.Cast(of(x), dtype).evaluate(x))
    )


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_integers_below_a_byte_keep_the_low_bits(dtype: np.dtype[Any]) -> None:
    x = np.arange(-40, 40, dtype=np.int32)
    narrow = ops.Cast(of(x), dtype)
    op = ops.Cast(ops.Add(narrow, narrow), I32)
    graph = graph_of(op)
    np.testing.assert_array_equal(run(graph, {"x": x})["y0"], run_graph(graph, {"x": x})["y0"])


@pytest.mark.parametrize(
    "name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]
)
def test_floats_of_a_byte(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    x = np.array([0.1, -3.3, 1000.0, -1e9, 17.0]).astype(dtype)
    product = ops.Mul(of(x), Constant(np.array(3).astype(dtype)))
    found = run(graph_of(product), {"x": x})["y0"]
    expected = product.evaluate(x, np.array(3).astype(dtype))
    np.testing.assert_array_equal(found.astype(F32), expected.astype(F32))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("kind", [ops.Div, ops.Mod, ops.Fmod], ids=lambda k: str(k.__name__))
def test_division_by_anything(
    kind: type[ops.Div | ops.Mod | ops.Fmod], dtype: np.dtype[Any]
) -> None:
    """The processor stops at x / 0 and at the smallest integer / -1: the export does not."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    numbers = np.array([low, low + 1, 7, 0, 1, 3, high], dtype)
    divisors = np.append(numbers, np.array(-1).astype(dtype))
    x, y = numbers[:, None], divisors[None]
    with np.errstate(all="ignore"):
        expected = kind(of(x), of(y, "y")).evaluate(x, y)
    given_ = Graph("g", (of(x), of(y, "y")), ())
    op = kind(*given_.inputs)
    found = run(Graph("g", given_.inputs, (("y0", op),)), {"x": x, "y": y})["y0"]
    np.testing.assert_array_equal(found, expected)
    for divisor in (0, 3):
        known = Constant(np.array(divisor, dtype))
        fixed = run(graph_of(kind(of(x), known)), {"x": x})["y0"]
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(fixed, op.evaluate(x, known.value))


@pytest.mark.parametrize("dtype", [F32, F16, F64, I32, I64], ids=str)
@pytest.mark.parametrize("function", ["max", "sum"])
def test_windows_that_lie_in_the_padding(function: str, dtype: np.dtype[Any]) -> None:
    x = np.arange(-12, 12).reshape(1, 2, 3, 4).astype(dtype)
    op = ops.Window(of(x), function, (2, 2), (2, 1), (3, 0), (2, 4), (1, 2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(run(graph_of(op), {"x": x})["y0"], op.evaluate(x))


def test_wide_unsigned_integers() -> None:
    """There is no wider type for them: what keeps low bits goes through signed ones."""
    x = np.array([[2**63 + 5, 7], [2**64 - 1, 2**63]], np.uint64)
    a = of(x)
    sums = (ops.Reduce(a, "sum", (0,)), ops.CumSum(a, 1, exclusive=False, reverse=True))
    moved = (ops.Where(Constant(x > 9), a, Constant(x[::-1].copy())), ops.Neg(a))
    made = (*sums, *moved, ops.Contract(a, a, "ab,bc->ac", np.dtype(np.uint64)), ops.Max(a, a))
    graph = graph_of(*made)
    expected = run_graph(graph, {"x": x})
    for name, value in run(graph, {"x": x}).items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("dtype", [I32, I64, np.dtype(np.uint64), np.dtype(np.int8)], ids=str)
def test_sums_and_products_of_integers_wrap(dtype: np.dtype[Any]) -> None:
    """Onnxruntime reduces integers in float64, and saturates."""
    info = np.iinfo(dtype)
    x = np.random.default_rng(0).integers(info.min, info.max, (3, 5, 7), dtype, endpoint=True)
    a, acc = of(x), np.dtype(np.uint64) if dtype.kind == "u" else I64 if dtype == I64 else I32
    made = [ops.Reduce(a, f, axes) for f in ("sum", "prod") for axes in ((1,), (0, 2), (0, 1, 2))]
    alone = ops.Contract(a, Constant(x[0]), "abc,be->ce", acc)
    graph = graph_of(*made, alone)
    expected = run_graph(graph, {"x": x})
    for name, value in run(graph, {"x": x}).items():
        np.testing.assert_array_equal(value, expected[name])


# What a node takes besides its data, and how many operands are data where it is not one.
AXES, SHAPE = np.array([1]), np.array([2, 3, 3])
REST: dict[str, tuple[Array, ...]] = {
    **dict.fromkeys(("ReduceSum", "ReduceProd", "ReduceMean", "ReduceMax", "ReduceMin"), (AXES,)),
    **dict.fromkeys(("Reshape", "Expand"), (SHAPE,)),
    "Slice": (AXES, np.array([2]), AXES, AXES),
    "Gather": (AXES,),
    "CumSum": (np.array(1),),
    "TopK": (AXES,),
    "Pad": (np.ones(6, np.int64),),
}
TWO = (
    "Add Sub Mul Div Mod Pow Max Min And Or Xor BitwiseAnd BitwiseOr BitwiseXor BitShift Equal Less"
)
TWO += " LessOrEqual Concat Einsum MatMul Conv Where"
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "BitShift": {"direction": "LEFT"},
    "Concat": {"axis": 0},
    "Einsum": {"equation": "abc,abd->acd"},
    "MaxPool": {"kernel_shape": (1,)},
    "Transpose": {"perm": (1, 0, 2)},
}


@pytest.mark.parametrize("op_type", KERNELS)
def test_onnxruntime_has_the_kernels_that_we_know_of(op_type: str) -> None:
    for name in sorted(KERNELS[op_type].types):
        dtype = parse_dtype(name)
        net = Net(["a"])
        net.dtypes["a"] = dtype
        data = ["a"] * (2 if op_type in TWO.split() else 1)
        rest = [net.constant(value) for value in REST.get(op_type, ())]
        if op_type == "Where":
            data.insert(0, net.constant(np.ones((2, 3, 3), np.bool_)))
        net(op_type, *data, *rest, **ATTRIBUTES.get(op_type, {}))
        assert len(net.nodes) == 1  # no casts
        info = helper.make_tensor_value_info("a", helper.np_dtype_to_tensor_dtype(dtype), [2, 3, 3])
        result = [helper.make_empty_tensor_value_info(net.nodes[0].output[0])]
        graph = helper.make_graph(net.nodes, "kernel", [info], result, net.initializers)
        imports = [helper.make_opsetid("", 18)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=10)
        host = HostModel(model.SerializeToString())
        assert host.engine == "onnxruntime", f"{op_type} {name}: {host.refusal}"
