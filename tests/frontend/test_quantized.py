"""Quantized operators: integers agree with onnxruntime bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontend.oracle import MICROSOFT, agree, f32, floats, integers, one


def scale(*values: float) -> Any:
    return np.array(values[0] if len(values) == 1 else values, np.float32)


def zero(value: int | list[int], dtype: str = "uint8") -> Any:
    return np.array(value, dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_quantize(dtype: str) -> None:
    x = np.concatenate([floats(100) * 100, np.arange(-8, 8, dtype=np.float32) / 2])
    agree(*one("QuantizeLinear", [x, scale(1.0), zero(3, dtype)], opset=21), rtol=0, atol=0)
    agree(*one("QuantizeLinear", [x, scale(0.37), zero(3, dtype)], opset=21), rtol=0, atol=0)


def test_quantize_without_zero_point_and_along_an_axis() -> None:
    x = floats(3, 4, 5) * 20
    agree(*one("QuantizeLinear", [x, scale(0.1)]), rtol=0, atol=0)
    operands = [x, scale(0.1, 0.2, 0.3, 0.4), zero([1, 2, 3, 4])]
    agree(*one("QuantizeLinear", operands, axis=1), rtol=0, atol=0)
    agree(*one("QuantizeLinear", operands, axis=-2), rtol=0, atol=0)


def test_dequantize() -> None:
    x = integers(0, 256, 3, 4, 5, dtype="uint8")
    agree(*one("DequantizeLinear", [x, scale(0.1), zero(7)]), rtol=0, atol=0)
    operands = [x, scale(0.1, 0.2, 0.3, 0.4), zero([1, 2, 3, 4])]
    agree(*one("DequantizeLinear", operands, axis=1), rtol=0, atol=0)
    agree(
        *one("DequantizeLinear", [integers(-99, 99, 5, dtype="int32"), scale(0.1)]), rtol=0, atol=0
    )


def test_blocks() -> None:
    x = integers(0, 256, 4, 6, dtype="uint8")
    operands = [x, np.abs(floats(4, 3)), integers(0, 9, 4, 3, dtype="uint8")]
    agree(*one("DequantizeLinear", operands, opset=21, axis=1, block_size=2), rtol=0, atol=0)
    operands = [floats(4, 6), np.abs(floats(2, 6)), integers(0, 9, 2, 6, dtype="uint8")]
    agree(*one("QuantizeLinear", operands, opset=21, axis=0, block_size=2), rtol=0, atol=0)


def conv_operands(w_type: str, per_channel: bool) -> list[Any]:
    low = 0 if w_type == "uint8" else -128
    channels = 4 if per_channel else 1
    w_scale = np.abs(floats(channels, seed=1)) / 20
    w_zero = np.zeros(channels, w_type) if w_type == "int8" else np.full(channels, 120, w_type)
    return [
        integers(0, 256, 1, 3, 7, 8, dtype="uint8"),
        scale(0.02),
        zero(113),
        integers(low, low + 256, 4, 3, 3, 3, seed=2, dtype=w_type),
        w_scale if per_channel else w_scale.reshape(()),
        w_zero if per_channel else w_zero.reshape(()),
        scale(0.5),
        zero(100),
        integers(-500, 500, 4, seed=3, dtype="int32"),
    ]


# onnxruntime wants one zero point for uint8 weights, so they are not scaled by channel here.
@pytest.mark.parametrize(
    ("w_type", "per_channel"), [("int8", False), ("int8", True), ("uint8", False)]
)
@pytest.mark.parametrize("known", [range(1, 9), (3,), ()])
def test_qlinear_conv(w_type: str, per_channel: bool, known: Any) -> None:
    operands = conv_operands(w_type, per_channel)
    attributes: dict[str, Any] = {"pads": [1, 1, 0, 2], "strides": [2, 1]}
    agree(*one("QLinearConv", operands, known, **attributes), rtol=0, atol=0)


@pytest.mark.parametrize("known", [(0, 1, 2, 3), (1, 2, 3), ()])
def test_conv_integer(known: tuple[int, ...]) -> None:
    x = integers(0, 256, 1, 2, 5, 5, dtype="uint8")
    w = integers(0, 256, 3, 2, 3, 3, seed=1, dtype="uint8")
    known = tuple(k for k in known if k)
    agree(
        *one("ConvInteger", [x, w, zero(100), zero(90)], known, pads=[1, 1, 1, 1]), rtol=0, atol=0
    )
    agree(*one("ConvInteger", [x, w], group=1), rtol=0, atol=0)


@pytest.mark.parametrize("known", [(1, 2, 3), (1,), ()])
def test_mat_mul_integer(known: tuple[int, ...]) -> None:
    a, b = (
        integers(0, 256, 2, 3, 70, dtype="uint8"),
        integers(-128, 128, 70, 4, seed=1, dtype="int8"),
    )
    agree(*one("MatMulInteger", [a, b, zero(9), zero(-3, "int8")], known), rtol=0, atol=0)
    agree(
        *one("MatMulInteger", [a, b, zero(9), zero([1, 0, -2, 3], "int8")], known), rtol=0, atol=0
    )
    agree(*one("MatMulInteger", [a, b]), rtol=0, atol=0)


@pytest.mark.parametrize("known", [range(1, 8), (3, 4, 5), ()])
def test_qlinear_mat_mul(known: Any) -> None:
    a, b = integers(0, 256, 3, 70, dtype="uint8"), integers(0, 256, 70, 4, seed=1, dtype="uint8")
    operands = [a, scale(0.02), zero(113), b, scale(0.03), zero(120), scale(0.5), zero(100)]
    agree(*one("QLinearMatMul", operands, known), rtol=0, atol=0)


def test_dynamic_quantize_linear_is_inlined() -> None:
    agree(*one("DynamicQuantizeLinear", [floats(3, 4)], opset=11, results=3), rtol=0, atol=0)


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_qlinear_binary(op_type: str) -> None:
    a, b = (integers(0, 256, 3, 40, seed=i, dtype="uint8") for i in (0, 1))
    operands = [a, scale(0.02), zero(113), b, scale(0.03), zero(120), scale(0.05), zero(100)]
    agree(*one(op_type, operands, domain=MICROSOFT), rtol=0, atol=1)


def test_qlinear_sigmoid() -> None:
    x = np.arange(256, dtype=np.uint8)
    operands = [x, scale(0.05), zero(128), scale(1 / 256), zero(0)]
    agree(*one("QLinearSigmoid", operands, [1, 2, 3, 4], domain=MICROSOFT), rtol=0, atol=1)


@pytest.mark.parametrize("last", [0, 1])
def test_qlinear_global_average_pool(last: int) -> None:
    x = integers(0, 256, 2, 3, 5, 7, dtype="uint8")
    operands = [x, scale(0.05), zero(128), scale(0.02), zero(120)]
    agree(*one("QLinearGlobalAveragePool", operands, channels_last=last, domain=MICROSOFT), 0, 1)


def test_qlinear_concat() -> None:
    a, b = integers(0, 256, 2, 3, dtype="uint8"), integers(0, 256, 2, 4, seed=1, dtype="uint8")
    operands = [scale(0.03), zero(100), a, scale(0.02), zero(113), b, scale(0.04), zero(90)]
    known = [0, 1, 3, 4, 6, 7]
    agree(*one("QLinearConcat", operands, known, axis=1, domain=MICROSOFT), rtol=0, atol=1)


@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("transposed", [0, 1])
def test_q_gemm(transposed: int, quantized: bool) -> None:
    a = integers(0, 256, 3, 50, dtype="uint8")
    b = integers(-128, 128, *((4, 50) if transposed else (50, 4)), seed=1, dtype="int8")
    c = integers(-999, 999, 4, seed=2, dtype="int32")
    w_scale, w_zero = f32([0.01, 0.02, 0.03, 0.04]), np.zeros(4, np.int8)
    operands = [a, scale(0.02), zero(113), b, w_scale, w_zero, c]
    if quantized:
        operands += [scale(0.5), zero(100)]
    agree(*one("QGemm", operands, transB=transposed, domain=MICROSOFT), rtol=1e-6, atol=0)
