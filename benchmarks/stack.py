"""A stack of equal transformer layers with seeded weights, to see how compile time grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

OPSET = 17


class Stack:
    """Makes the ONNX model: pre-norm layers of attention and a feed-forward part with GELU."""

    def __init__(self, hidden: int, heads: int, length: int) -> None:
        self.hidden, self.heads, self.length = hidden, heads, length
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(0)

    def model(self, layers: int) -> bytes:
        """The serialized model of some layers."""
        from onnx import TensorProto, helper

        value = "x"
        for layer in range(layers):
            value = self._layer(value, f"layer{layer}")
        self._node("Identity", [value], "y")
        shape = [1, self.length, self.hidden]
        ends = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy")
        graph = helper.make_graph(
            self.nodes, "stack", [next(ends)], [next(ends)], initializer=self.weights
        )
        opsets = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        data: bytes = made.SerializeToString(deterministic=True)
        return data

    def _layer(self, x: str, name: str) -> str:
        attended = self._attention(self._norm(x, f"{name}.norm1"), f"{name}.attention")
        x = self._node("Add", [x, attended], f"{name}.sum1")
        inner = self._linear(self._norm(x, f"{name}.norm2"), 4 * self.hidden, f"{name}.up")
        outer = self._linear(self._gelu(inner, f"{name}.gelu"), self.hidden, f"{name}.down")
        return self._node("Add", [x, outer], f"{name}.sum2")

    def _attention(self, x: str, name: str) -> str:
        q, k, v = self._heads(x, name)
        keys = self._node("Transpose", [k], f"{name}.kt", perm=[0, 1, 3, 2])
        scores = self._node("MatMul", [q, keys], f"{name}.scores")
        scale = self._weight(f"{name}.scale", np.array((self.hidden // self.heads) ** -0.5))
        scaled = self._node("Mul", [scores, scale], f"{name}.scaled")
        weights = self._node("Softmax", [scaled], f"{name}.softmax", axis=-1)
        mixed = self._node("MatMul", [weights, v], f"{name}.mixed")
        back = self._node("Transpose", [mixed], f"{name}.back", perm=[0, 2, 1, 3])
        shape = self._weight(f"{name}.flat", np.array([1, self.length, self.hidden]))
        joined = self._node("Reshape", [back, shape], f"{name}.joined")
        return self._linear(joined, self.hidden, f"{name}.out")

    def _heads(self, x: str, name: str) -> Iterator[str]:
        parts = np.array([1, self.length, self.heads, self.hidden // self.heads])
        shape = self._weight(f"{name}.parts", parts)
        for part in "qkv":
            made = self._linear(x, self.hidden, f"{name}.{part}")
            split = self._node("Reshape", [made, shape], f"{name}.{part}.split")
            yield self._node("Transpose", [split], f"{name}.{part}.heads", perm=[0, 2, 1, 3])

    def _linear(self, x: str, outputs: int, name: str) -> str:
        inputs = 4 * self.hidden if name.endswith(".down") else self.hidden
        matrix = self._random.standard_normal((inputs, outputs)) * inputs**-0.5
        product = self._node("MatMul", [x, self._weight(f"{name}.w", matrix)], f"{name}.product")
        bias = self._weight(f"{name}.b", 0.1 * self._random.standard_normal(outputs))
        return self._node("Add", [product, bias], name)

    def _norm(self, x: str, name: str) -> str:
        scale = self._weight(f"{name}.scale", 1 + 0.1 * self._random.standard_normal(self.hidden))
        bias = self._weight(f"{name}.bias", 0.1 * self._random.standard_normal(self.hidden))
        return self._node("LayerNormalization", [x, scale, bias], name, axis=-1)

    def _gelu(self, x: str, name: str) -> str:
        """As the exporters write it: x / 2 * (1 + erf(x / sqrt 2))."""
        root, one, half = (
            self._weight(f"{name}.{i}", np.array(v)) for i, v in enumerate((2**0.5, 1.0, 0.5))
        )
        scaled = self._node("Div", [x, root], f"{name}.scaled")
        erf = self._node("Erf", [scaled], f"{name}.erf")
        shifted = self._node("Add", [erf, one], f"{name}.shifted")
        product = self._node("Mul", [x, shifted], f"{name}.product")
        return self._node("Mul", [product, half], name)

    def _weight(self, name: str, value: np.ndarray[Any, np.dtype[Any]]) -> str:
        from onnx import numpy_helper

        kept = value.astype(np.float32) if value.dtype.kind == "f" else value.astype(np.int64)
        self.weights.append(numpy_helper.from_array(kept, name))
        return name

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        made = helper.make_node(operator, inputs, [output], name=f"node.{output}", **attributes)
        self.nodes.append(made)
        return output


def transformer(layers: int, hidden: int = 256, heads: int = 4, length: int = 128) -> bytes:
    """A serialized ONNX model: x -> y, both float32 (1, length, hidden)."""
    return Stack(hidden, heads, length).model(layers)


def write_stack(path: Path, layers: int) -> None:
    """Write `transformer(layers)`."""
    path.write_bytes(transformer(layers))
