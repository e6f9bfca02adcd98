"""Small quantized ONNX models, and what onnxruntime's integer kernels make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from kcompiler.graph.node import Array


class Model:
    """An ONNX model in the making, with a QuantizeLinear and DequantizeLinear around operators."""

    def __init__(self, **inputs: Array) -> None:
        self.feeds = inputs
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.outputs: list[str] = []

    def __call__(self, op_type: str, *operands: str, domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op_type, operands, [name], name=name, domain=domain, **attributes)
        )
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def quantize(self, x: str, scale: float, zero: int, dtype: str = "uint8") -> str:
        return self("QuantizeLinear", x, self.constant(scale), self.constant(zero, dtype))

    def dequantize(self, x: str, scale: float, zero: int, dtype: str = "uint8") -> str:
        return self("DequantizeLinear", x, self.constant(scale), self.constant(zero, dtype))

    def through(self, x: str, scale: float, zero: int, dtype: str = "uint8") -> str:
        """`x`, quantized and back."""
        return self.dequantize(self.quantize(x, scale, zero, dtype), scale, zero, dtype)

    def weights(self, value: Array, scale: Any, zero: Any = 0, axis: int = 0) -> str:
        """Constant integers and what they stand for."""
        zero = np.broadcast_to(np.asarray(zero, value.dtype), np.shape(scale))
        given = (self.constant(scale), self.constant(zero, value.dtype))
        return self("DequantizeLinear", self.constant(value, value.dtype), *given, axis=axis)

    def done(self, *outputs: str, opset: int = 17) -> bytes:
        """The model's bytes."""
        self.outputs = list(outputs)
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for name, v in self.feeds.items()
        ]
        results = [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "qdq", inputs, results, self.constants)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 19 else 9)
        data: bytes = onnx.shape_inference.infer_shapes(model).SerializeToString()
        return data


def integer_kernels(model: bytes, feeds: dict[str, Array]) -> list[Array]:
    """All outputs by onnxruntime, which fuses int8 activations on x86 only when told to."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.intra_op_num_threads = 1
    return [np.asarray(v) for v in ort.InferenceSession(model, options).run(None, feeds)]


def steps_apart(found: Sequence[Array], expected: Sequence[Array], scale: float) -> float:
    """The largest distance in steps of the last quantization."""
    pairs = zip(found, expected, strict=True)
    return (
        max(float(np.abs(a.astype(float) - b.astype(float)).max(initial=0)) for a, b in pairs)
        / scale
    )
