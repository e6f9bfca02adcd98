"""The operators of onnxruntime that its quantizer and its optimizer write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontend.oracle import MICROSOFT, agree, f32, floats, integers, model, node, one


def bytes_(*shape: int, dtype: str = "uint8", seed: int = 0) -> Any:
    info = np.iinfo(dtype)
    return integers(int(info.min), int(info.max) + 1, *shape, dtype=dtype, seed=seed)


SCALES = f32(0.05), np.array(120, np.uint8), f32(0.03), np.array(100, np.uint8)


@pytest.mark.parametrize("columns", [False, True], ids=["one scale", "a scale a column"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("bias", [False, True])
def test_dynamic_quantize_mat_mul(columns: bool, dtype: str, bias: bool) -> None:
    """The bytes of the left side are onnxruntime's, so that only the last product rounds."""
    scale = f32([0.1, 0.2, 0.3, 0.05]) if columns else f32(0.1)
    zero = np.zeros(4 if columns else (), dtype) + np.array(3).astype(dtype)
    operands = [
        floats(2, 5, 7),
        bytes_(7, 4, dtype=dtype),
        scale,
        zero,
        floats(4) if bias else None,
    ]
    known = [1, 2, 3, *([4] if bias else [])]
    agree(*one("DynamicQuantizeMatMul", operands, known, domain=MICROSOFT), 1e-6, 1e-6)


def test_dynamic_quantization_of_one_sign() -> None:
    for x in (np.abs(floats(4, 7)), -np.abs(floats(4, 7)), np.zeros((4, 7), np.float32)):
        operands = [x, bytes_(7, 4, dtype="int8"), f32(0.1), np.array(0, np.int8)]
        agree(*one("DynamicQuantizeMatMul", operands, [1, 2, 3], domain=MICROSOFT), 1e-6, 1e-6)


def test_mat_mul_integer_to_float() -> None:
    operands = [bytes_(5, 7), bytes_(7, 4, dtype="int8"), f32(0.1), f32([0.1, 0.2, 0.3, 0.4]),
                np.array(9, np.uint8), np.zeros(4, np.int8), floats(4)]  # fmt: skip
    agree(*one("MatMulIntegerToFloat", operands, [1, 3, 5, 6], domain=MICROSOFT), 1e-6, 1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zeros", ["none", "packed", "numbers"])
def test_mat_mul_n_bits(bits: int, zeros: str) -> None:
    """A depth of 80 in blocks of 32: the last block is half empty."""
    if (bits, zeros) == (8, "numbers"):
        return  # onnxruntime refuses it
    n, k, block = 6, 80, 32
    blocks = -(-k // block)
    packed = bytes_(n, blocks, block * bits // 8)
    scales = np.abs(floats(n, blocks)) / 10
    zero = {"none": None, "packed": bytes_(n, -(-blocks * bits // 8), seed=1),
            "numbers": floats(n, blocks, seed=2)}[zeros]  # fmt: skip
    operands = [floats(3, k), packed, scales, zero]
    known = [1, 2] if zero is None else [1, 2, 3]
    attributes = {"N": n, "K": k, "block_size": block, "bits": bits}
    agree(*one("MatMulNBits", operands, known, domain=MICROSOFT, **attributes), 1e-4, 1e-4)


@pytest.mark.parametrize("bits", [4])
def test_mat_mul_n_bits_with_a_bias(bits: int) -> None:
    operands = [floats(3, 64), bytes_(6, 2, 16), np.abs(floats(6, 2)), None, None, floats(6)]
    attributes = {"N": 6, "K": 64, "block_size": 32, "bits": bits}
    agree(*one("MatMulNBits", operands, [1, 2, 5], domain=MICROSOFT, **attributes), 1e-4, 1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_quantized_functions(dtype: str) -> None:
    x = bytes_(2, 3, 6, 6, dtype=dtype)
    zeros = [np.array(v).astype(dtype) for v in (5, 100)]
    operands = [x, f32(0.05), zeros[0], f32(0.03), zeros[1]]

    def check(op_type: str, **attributes: Any) -> None:
        agree(*one(op_type, operands, [1, 2, 3, 4], domain=MICROSOFT, **attributes), 0, 1)

    check("QLinearLeakyRelu", alpha=0.2)
    check("QLinearAveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1])
    operands[3:] = [f32(1 / 256), np.array(0 if dtype == "uint8" else -128).astype(dtype)]
    names = [f"x{i}" for i in range(5)]
    for axis, version in ((-1, 13), (1, 12)):
        softmax = node("QLinearSoftmax", names, ["y"], domain=MICROSOFT, axis=axis, opset=version)
        weights = dict(zip(names[1:], operands[1:], strict=True))
        agree(model([softmax], {"x0": (x.dtype, x.shape)}, ["y"], weights), {"x0": x}, 0, 1)


def test_qlinear_where() -> None:
    operands = [integers(0, 2, 3, 4).astype(bool), bytes_(3, 4), *SCALES[:2],
                bytes_(3, 4, seed=1), *SCALES[2:], f32(0.06), np.array(110, np.uint8)]  # fmt: skip
    agree(*one("QLinearWhere", operands, [2, 3, 5, 6, 7, 8], domain=MICROSOFT), 0, 1)


@pytest.mark.parametrize("op_type", ["LayerNormalization", "SimplifiedLayerNormalization"])
def test_norms_of_onnxruntime_in_the_domain_of_onnx(op_type: str) -> None:
    """Its optimizer writes them into models of any opset."""
    operands = [floats(2, 3, 8), floats(8, seed=1)]
    agree(*one(op_type, operands, [1], opset=13, axis=-1, epsilon=1e-3))


@pytest.mark.parametrize("transposed", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_mat_mul_with_batches_behind(transposed: tuple[int, int]) -> None:
    a, b = floats(4, 2, 3, 5), floats(5, 2, 3, 6, seed=1)
    operands = [a.swapaxes(0, 3) if transposed[0] else a, b.swapaxes(0, 3) if transposed[1] else b]
    made = one("FusedMatMul", operands, domain=MICROSOFT, transBatchA=1, transBatchB=1,
               transA=transposed[0], transB=transposed[1], alpha=0.5)  # fmt: skip
    agree(*made)
