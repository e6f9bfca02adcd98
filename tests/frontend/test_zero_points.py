"""Zero points of 8-bit floats: there is none but 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import kcompiler
from kcompiler import cli
from kcompiler.compilation import HostSegment
from kcompiler.graph.build import constant
from kcompiler.graph.operators import Dequantize, Quantize
from kcompiler.graph.types import F32, parse_dtype
from kcompiler.sample import tensor
from tests.passes.qdq import Model

E4M3 = parse_dtype("f8e4m3fn")
F8 = {"e4m3": E4M3, "e5m2": parse_dtype("f8e5m2")}


def with_zero_points(kind: Any, first: float, second: float, *, computed: bool = False) -> bytes:
    """A QuantizeLinear and a DequantizeLinear, each with a zero point of 8-bit floats."""
    m = Model(x=np.ones((4, 64), np.float32))

    def zero(value: float) -> str:
        if computed:  # by a node of constants alone
            return m("Cast", m.constant(value), to=helper.np_dtype_to_tensor_dtype(kind))
        return m.constant(value, kind)

    whole = m("QuantizeLinear", "x", m.constant(0.1), zero(first))
    return m.done(m("DequantizeLinear", whole, m.constant(0.1), zero(second)), opset=19)


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("name", sorted(F8))
def test_no_zero_point_is_taken_from_floats(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, computed: bool
) -> None:
    """What has one is refused, as onnxruntime and ONNX's reference refuse it."""
    path = tmp_path / "model.onnx"
    command = [str(path), "-t", "rebel", "-o", str(tmp_path / "model.kpkg")]
    path.write_bytes(with_zero_points(F8[name], 0, 0, computed=computed))
    assert cli.main(command) == 0
    for zero in (1.0, -2.0):
        data = with_zero_points(F8[name], 0, zero, computed=computed)
        path.write_bytes(data)
        feeds = {"x": np.ones((4, 64), np.float32)}
        with pytest.raises(Exception, match="DequantizeLinear"):
            ort.InferenceSession(data).run(None, feeds)
        with pytest.raises(ValueError, match="should be zero for float8 types"):
            ReferenceEvaluator(onnx.load_from_string(data)).run(None, feeds)
        capsys.readouterr()
        assert cli.main(command) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == f"error: a zero point of 8-bit floats is {zero:g}"
        assert lines[1].startswith("  at: ")
        assert lines[-1] == "  try: make it 0: floats of 8 bits have no other zero point"


@pytest.mark.parametrize("name", sorted(F8))
def test_quantize_linear_takes_the_type_of_a_zero_point_alone(name: str) -> None:
    """Its number is not used, by ONNX's words and by both oracles."""
    data, feeds = with_zero_points(F8[name], 1, 0), {"x": np.ones((4, 64), np.float32)}
    (found,) = kcompiler.compile(data, "rebel", precision="f32").run(feeds).values()
    (reference,) = ReferenceEvaluator(onnx.load_from_string(data)).run(None, feeds)
    assert np.array_equal(found, reference)
    assert np.array_equal(found, ort.InferenceSession(data).run(None, feeds)[0])


def test_a_zero_point_that_is_computed_is_the_hosts() -> None:
    """Nobody knows whether it is 0 before it runs."""
    m = Model(x=np.ones((4, 64), np.float32), z=np.zeros((), np.float32))
    zero = m("Cast", "z", to=onnx.TensorProto.FLOAT8E4M3FN)
    whole = m("QuantizeLinear", "x", m.constant(0.1), zero)
    data = m.done(m("DequantizeLinear", whole, m.constant(0.1), zero), opset=19)
    model = kcompiler.compile(data, "rebel")
    hosts = [s for s in model.compilation.segments if isinstance(s, HostSegment)]
    assert "DequantizeLinear" in {operator for host in hosts for _, operator, _ in host.operators}


def test_graphs_know_no_other_zero_point() -> None:
    x, step = tensor("x", 4, dtype=E4M3), constant(0.5, F32)
    for make in (
        lambda zero: Dequantize(x, step, zero),
        lambda zero: Quantize(tensor("y", 4), step, zero),
    ):
        assert make(constant(0, E4M3)).shape == (4,)
        with pytest.raises(ValueError, match="zero of 8-bit floats is 0"):
            make(constant(1, E4M3))
