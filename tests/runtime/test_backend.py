"""ONNX's backend interface: devices, inputs by order or name, what is bound and what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.backend.base import Backend

from kcompiler import backend
from kcompiler.compilation import HostSegment
from kcompiler.errors import UsageError
from tests.runtime.models import model, node

F, I64 = TensorProto.FLOAT, TensorProto.INT64
X = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)
PADDED = ModelProto.FromString(
    model(
        [node("Pad", "x pads", "p"), node("Mul", "p f", "y")],
        [("x", F, ["n", 4]), ("pads", I64, [4]), ("f", F, [])],
        [("y", F, ["m", 6])],
    )
)
PADS, TWO = np.array([0, 1, 0, 1]), np.float32(2)


def hosted(compiled: Any) -> list[str]:
    segments = compiled.compilation.segments
    return [o for s in segments if isinstance(s, HostSegment) for _, o, _ in s.operators]


def test_devices() -> None:
    assert backend.supports_device("NPU:rebel")
    assert backend.supports_device("NPU")
    assert not backend.supports_device("NPU:nonsense")
    assert not backend.supports_device("CUDA")
    with pytest.raises(UsageError) as caught:
        backend.prepare(PADDED, "CPU")
    assert str(caught.value).startswith("error: there is no device 'CPU'\n  try: one of: NPU:")


def test_it_is_a_backend() -> None:
    assert issubclass(backend.NpuBackend, Backend)
    assert backend.NpuBackend.is_compatible(PADDED)


def test_inputs_that_decide_shapes_are_constants() -> None:
    prepared = backend.prepare(PADDED)
    expected = np.pad(X, ((0, 0), (1, 1))) * 2
    np.testing.assert_array_equal(prepared.run([X, PADS, TWO])[0], expected)
    by_name = {"f": TWO, "x": X, "pads": PADS}
    np.testing.assert_array_equal(prepared.run(by_name)[0], expected)
    compiled = prepared.compiled(by_name)
    assert list(compiled.compilation.values) == ["pads"]
    assert hosted(compiled) == []


def test_another_value_or_shape_compiles_again_and_an_equal_one_does_not() -> None:
    prepared = backend.prepare(PADDED)
    first = prepared.compiled([X, PADS, TWO])
    assert prepared.compiled([X + 1, PADS.copy(), np.float32(3)]) is first
    wider = np.array([1, 0, 0, 2])
    assert prepared.run([X, wider, TWO])[0].shape == (4, 6)
    assert prepared.compiled([X, wider, TWO]) is not first
    assert prepared.compiled([X[:2], PADS, TWO]) is not first


def test_not_all_inputs_become_constants() -> None:
    """What is left would not depend on anything: it runs, on the host."""
    source = ModelProto.FromString(
        model([node("Range", "a b c", "y")], [(n, I64, []) for n in "abc"], [("y", I64, ["n"])])
    )
    given = [np.array(v) for v in (2, 9, 3)]
    assert backend.run(source, given)[0].tolist() == [2, 5, 8]
    compiled = backend.prepare(source).compiled(given)
    assert compiled.compilation.values == {}
    assert hosted(compiled) == ["Range"]


def test_large_inputs_do_not_become_constants() -> None:
    source = ModelProto.FromString(
        model(
            [node("Expand", "x s", "y"), node("NonZero", "d", "z")],
            [("x", F, [1]), ("s", I64, [1]), ("d", F, [100])],
            [("y", F, ["n"]), ("z", I64, [1, "m"])],
        )
    )
    given = [np.ones(1, np.float32), np.array([5]), np.ones(100, np.float32)]
    compiled = backend.prepare(source).compiled(given)
    assert list(compiled.compilation.values) == ["s"]
    assert hosted(compiled) == ["NonZero"]


def test_a_wrong_number_of_inputs() -> None:
    with pytest.raises(UsageError) as caught:
        backend.run(PADDED, [X])
    assert str(caught.value) == (
        "error: the model takes 3 inputs, not 1\n  because: its inputs are x, pads, f"
    )


def test_precision() -> None:
    given = [X, PADS, TWO]
    for options, precision in (({}, "f32"), ({"precision": "bf16"}, "bf16")):
        compiled = backend.prepare(PADDED, **options).compiled(given)
        assert compiled.compilation.precision == precision


def test_one_node() -> None:
    (found,) = backend.run_node(helper.make_node("Relu", ["x"], ["y"]), [X])
    np.testing.assert_array_equal(found, np.maximum(X, 0))
    clip = helper.make_node("Clip", ["x", "", "high"], ["y"])
    (found,) = backend.run_node(clip, [X, TWO], outputs_info=[(X.dtype, X.shape)], opset_version=13)
    np.testing.assert_array_equal(found, np.minimum(X, 2))
