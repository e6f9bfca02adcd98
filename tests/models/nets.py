"""Small networks with the operators of large ones, as bytes, with seeded weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from benchmarks.stack import transformer
from tests.runtime.models import model, node, values


def convolutional() -> bytes:
    """Strided, depthwise and pointwise convolutions, hard-swish, squeeze-excite, a residual sum."""
    weights: dict[str, Any] = {
        "w0": values(16, 3, 3, 3), "b0": values(16), "w1": values(16, 1, 3, 3), "b1": values(16),
        "w2": values(4, 16, 1, 1), "w3": values(16, 4, 1, 1), "w4": values(16, 16, 1, 1),
        "scale": 1 + values(16), "shift": values(16), "mean": values(16),
        "var": values(16) ** 2 + 1, "w5": values(16, 10), "b5": values(10),
    }  # fmt: skip
    nodes = [
        node("Conv", "x w0 b0", "c0", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("HardSwish", "c0", "h0"),
        node("Conv", "h0 w1 b1", "c1", "depthwise", pads=[1, 1, 1, 1], group=16),
        node("BatchNormalization", "c1 scale shift mean var", "n1", epsilon=1e-3),
        node("Relu", "n1", "r1"),
        *_squeeze_excite("r1", "e1"),
        node("Conv", "e1 w4", "c4", "pointwise"),
        node("Add", "c4 h0", "s4"),
        node("MaxPool", "s4", "p4", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("GlobalAveragePool", "p4", "g4"),
        node("Flatten", "g4", "f4"),
        node("Gemm", "f4 w5 b5", "y"),
    ]
    ends = [("x", TensorProto.FLOAT, [1, 3, 21, 18])], [("y", TensorProto.FLOAT, [1, 10])]
    return model(nodes, *ends, **weights)


def _squeeze_excite(x: str, y: str) -> list[NodeProto]:
    return [
        node("GlobalAveragePool", x, "squeezed", "squeeze"),
        node("Conv", "squeezed w2", "narrow", "reduce"),
        node("Relu", "narrow", "active", "activate"),
        node("Conv", "active w3", "wide", "expand"),
        node("HardSigmoid", "wide", "gate", alpha=0.2, beta=0.5),
        node("Mul", f"{x} gate", y, "excite"),
    ]


def small_transformer(layers: int = 1) -> bytes:
    """Attention, layer norms and a decomposed GELU: (1, 24, 32)."""
    return transformer(layers, hidden=32, heads=2, length=24)


def integer() -> bytes:
    """Products and sums of integers: every number has to be exact."""
    rng = np.random.default_rng(7)
    weights: dict[str, Any] = {
        "w": rng.integers(-128, 128, (12, 6, 3, 3)).astype(np.int8),
        "zero": np.array(3, np.uint8),
        "m": rng.integers(-128, 128, (90, 20)).astype(np.int8),
        "bias": rng.integers(-(2**20), 2**20, (12, 1, 1)).astype(np.int32),
        "shape": np.array([12, 90]),
    }
    nodes = [
        node("ConvInteger", "x w zero", "c", pads=[1, 0, 1, 0]),
        node("Add", "c bias", "s"),
        node("MaxPool", "x", "part", kernel_shape=[3, 3]),
        node("Reshape", "part shape", "rows"),
        node("MatMulInteger", "rows m", "z"),
        node("Relu", "s", "y"),
    ]
    return model(
        nodes, [("x", TensorProto.UINT8, [2, 6, 11, 12])],
        [("y", TensorProto.INT32, [2, 12, 11, 10]), ("z", TensorProto.INT32, [12, 20])],
        **weights,
    )  # fmt: skip
