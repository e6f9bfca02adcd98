"""Types below 16 bits: casts round and saturate as ONNX's reference does, weights are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

import kcompiler
from kcompiler.strict import host_work

EIGHTS = ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
NARROW = (*EIGHTS, "FLOAT4E2M1", "INT4", "UINT4", "INT2", "UINT2")
NUMBERS = np.array(
    [0.0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 3.25, 5, 6, 6.5, -6.1, 0.25, 0.75, 0.2499, 7.5, 8, -8,
     -9, 15, 16, 17, 100, -100, 240, 248, 448, 460, 464, 465, 480, 1e4, 57344, 61440, 61441, 65504,
     1e-3, 2**-9, 2**-10, 1.5 * 2**-10, -(2**-17), np.inf, -np.inf, np.nan],
    np.float32,
)  # fmt: skip


def type_of(name: str) -> int:
    kind: int = getattr(TensorProto, name)
    return kind


def cast(source: str, to: str, count: int, **attributes: Any) -> ModelProto:
    """A model of one cast."""
    node = helper.make_node("Cast", ["x"], ["y"], "cast", to=type_of(to), **attributes)
    ends = [
        helper.make_tensor_value_info(n, type_of(t), [count]) for n, t in (("x", source), ("y", to))
    ]
    graph = helper.make_graph([node], "cast", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 25)
    return helper.make_model(graph, opset_imports=[opset], ir_version=13)


def check(model: ModelProto, x: np.ndarray[Any, Any]) -> None:
    """Compile, run, compare each element; NaN is NaN."""
    with np.errstate(all="ignore"):
        results: list[Any] = ReferenceEvaluator(model).run(None, {"x": x})  # type: ignore[assignment]
    (wanted,) = results
    found = kcompiler.compile(model.SerializeToString(), precision="f32").run({"x": x})["y"]
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found.astype(np.float64), wanted.astype(np.float64))


@pytest.mark.parametrize("to", NARROW)
@pytest.mark.parametrize("source", ["FLOAT", "FLOAT16", "BFLOAT16"])
def test_casts_to_narrow_types(source: str, to: str) -> None:
    """Half to even, and what is too large becomes the largest; integers take what is finite."""
    x = NUMBERS if "FLOAT" in to and to != "FLOAT4E2M1" else NUMBERS[np.isfinite(NUMBERS)]
    check(cast(source, to, x.size), x.astype(helper.tensor_dtype_to_np_dtype(type_of(source))))


@pytest.mark.parametrize("to", EIGHTS)
def test_casts_that_do_not_saturate(to: str) -> None:
    """480 is half a step beyond the largest number of E4M3FN: NaN, not 448."""
    check(cast("FLOAT", to, NUMBERS.size, saturate=0), NUMBERS)


@pytest.mark.parametrize("source", NARROW)
@pytest.mark.parametrize("to", ["FLOAT", "FLOAT16", "BFLOAT16"])
def test_casts_from_narrow_types(source: str, to: str) -> None:
    narrow = helper.tensor_dtype_to_np_dtype(type_of(source))
    low, high = {"INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1), "UINT2": (0, 3)}.get(
        source, (-6, 6)
    )
    x = np.clip(NUMBERS[np.isfinite(NUMBERS)], low, high)
    check(cast(source, to, x.size), (np.rint(x) if "INT" in source else x).astype(narrow))


@pytest.mark.parametrize("name", NARROW)
def test_weights_of_a_narrow_type_run_on_the_npu(name: str) -> None:
    """Stored as ONNX packs them, scaled by blocks of their rows."""
    narrow = helper.tensor_dtype_to_np_dtype(type_of(name))
    random = np.random.default_rng(0)
    low, high = {"INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1), "UINT2": (0, 3)}.get(
        name, (-6, 6)
    )
    drawn = random.uniform(low, high, (32, 16))
    w = (np.rint(drawn) if "INT" in name else drawn).astype(narrow)
    scale = random.uniform(0.1, 0.2, (4, 16)).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=8),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    stored = helper.make_tensor("w", type_of(name), w.shape, w.astype(np.float32).ravel())
    scales = helper.make_tensor("s", TensorProto.FLOAT, scale.shape, scale.ravel())
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", [4, 32]), ("y", [4, 16]))
    ]
    graph = helper.make_graph(nodes, "weights", ends[:1], ends[1:], [stored, scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13)
    compiled = kcompiler.compile(model.SerializeToString(), precision="f32")
    assert host_work(compiled.compilation) == []
    x = random.standard_normal((4, 32)).astype(np.float32)
    wanted = x @ (w.astype(np.float32) * scale.repeat(8, 0))
    np.testing.assert_allclose(compiled.run({"x": x})["y"], wanted, rtol=1e-5, atol=1e-5)
