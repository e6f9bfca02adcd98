"""A small language model with a cache, in the operators in which exporters write llama.

Grouped queries, rotated positions, a causal mask that the model computes from positions and from a
mask of the caller's, RMS norms, gated feed-forward parts, and a head that shares the embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

LAYERS, HEADS, GROUPS, DEPTH, INNER, WORDS = 2, 4, 2, 8, 48, 61
HIDDEN = HEADS * DEPTH

CONSTANTS: dict[str, Any] = {
    "zero": 0, "one": 1, "second": [1], "third": [2], "last": [-1], "ends": [0, 1],
    "queries": [1, -1, HEADS, DEPTH], "keys": [1, -1, GROUPS, DEPTH],
    "copies": [1, 1, HEADS // GROUPS, 1, 1], "spread": [1, HEADS, -1, DEPTH],
    "flat": [1, -1, HIDDEN],
}  # fmt: skip
FLOATS: dict[str, Any] = {
    "inverse": 10000.0 ** -(np.arange(0, DEPTH, 2) / DEPTH), "off": 0.0,
    "hidden": np.finfo(np.float32).min, "two": 2.0, "epsilon": 1e-5, "scale": DEPTH**-0.5,
}  # fmt: skip


def small_llama(seed: int = 0) -> bytes:
    """The serialized model; its open dimensions are called as in llama1b-2l-dyn."""
    maker = _Maker(seed)
    stream = maker.add("Gather", "head", "input_ids", axis=0)
    maker.frame()
    for layer in range(LAYERS):
        stream = maker.add("Add", stream, maker.attention(stream, layer))
        stream = maker.add("Add", stream, maker.feed_forward(stream))
    turned = maker.add("Transpose", "head", perm=[1, 0])
    maker.add("MatMul", maker.norm(stream), turned, out="logits")
    caches = [f"{kv}_{i}" for i in range(LAYERS) for kv in "kv"]
    open_ = {"input_ids": "s27", "position_ids": "s27", "attention_mask": "s5"}
    inputs = [_info(name, TensorProto.INT64, 1, dim) for name, dim in open_.items()]
    outputs = [_info("logits", TensorProto.FLOAT, 1, "s27", WORDS)]
    for name in caches:
        past = "s69" if name.endswith("0") else "s15"
        inputs.append(_info(f"past_{name}", TensorProto.FLOAT, 1, GROUPS, past, DEPTH))
        outputs.append(_info(f"present_{name}", TensorProto.FLOAT, 1, GROUPS, "all", DEPTH))
    graph = helper.make_graph(
        maker.nodes, "small_llama", inputs, outputs,
        [numpy_helper.from_array(value, name) for name, value in maker.weights.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def _info(name: str, kind: int, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


class _Maker:
    """Nodes and weights of a model in the making."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
        self.weights |= {name: np.array(value, np.int64) for name, value in CONSTANTS.items()}
        self.weights |= {name: np.array(value, np.float32) for name, value in FLOATS.items()}
        self.weights["head"] = self.random.standard_normal((WORDS, HIDDEN)).astype(np.float32) / 3

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """A node with one output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [out or name], name, **attributes)
        self.nodes.append(node)
        return out or name

    def linear(self, x: str, width: int, columns: int) -> str:
        """A product with a weight."""
        weight = self.random.standard_normal((width, columns)) * width**-0.5
        name = f"weight_{len(self.weights)}"
        self.weights[name] = weight.astype(np.float32)
        return self.add("MatMul", x, name)

    def norm(self, x: str) -> str:
        """An RMS norm."""
        name = f"scale_{len(self.weights)}"
        self.weights[name] = (1 + 0.1 * self.random.standard_normal(HIDDEN)).astype(np.float32)
        mean = self.add("ReduceMean", self.add("Pow", x, "two"), "last")
        root = self.add("Sqrt", self.add("Add", mean, "epsilon"))
        return self.add("Mul", self.add("Mul", x, self.add("Reciprocal", root)), name)

    def frame(self) -> None:
        """What all layers share: the angles of the positions, and the mask."""
        rows = self.add("Unsqueeze", "position_ids", "second")
        angle = self.add(
            "Cast", self.add("Unsqueeze", "position_ids", "third"), to=TensorProto.FLOAT
        )
        half = self.add("Mul", angle, "inverse")
        twice = self.add("Unsqueeze", self.add("Concat", half, half, axis=-1), "second")
        self.add("Cos", twice, out="cos")
        self.add("Sin", twice, out="sin")
        count = self.add("Squeeze", self.add("Shape", "attention_mask", start=1, end=2))
        keys = self.add("Unsqueeze", self.add("Range", "zero", count, "one"), "ends")
        asked = self.add("Transpose", rows, perm=[0, 2, 1])
        before = self.add("LessOrEqual", keys, asked)
        real = self.add("Greater", self.add("Unsqueeze", "attention_mask", "second"), "zero")
        seen = self.add("Unsqueeze", self.add("And", before, real), "second")
        self.add("Where", seen, "off", "hidden", out="bias")

    def attention(self, stream: str, layer: int) -> str:
        """Attention of new words to those in the cache and to themselves."""
        x = self.norm(stream)
        q = self.rotated(self.heads(x, HEADS, "queries"))
        new = self.rotated(self.heads(x, GROUPS, "keys")), self.heads(x, GROUPS, "keys")
        k, v = (
            self.add("Concat", f"past_{kv}_{layer}", value, out=f"present_{kv}_{layer}", axis=2)
            for kv, value in zip("kv", new, strict=True)
        )
        keys = self.add("Transpose", self.repeated(k), perm=[0, 1, 3, 2])
        scores = self.add("Add", self.add("Mul", self.add("MatMul", q, keys), "scale"), "bias")
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), self.repeated(v))
        flat = self.add("Reshape", self.add("Transpose", mixed, perm=[0, 2, 1, 3]), "flat")
        return self.linear(flat, HIDDEN, HIDDEN)

    def heads(self, x: str, count: int, shape: str) -> str:
        """A projection, as [1, heads, words, depth]."""
        apart = self.add("Reshape", self.linear(x, HIDDEN, count * DEPTH), shape)
        return self.add("Transpose", apart, perm=[0, 2, 1, 3])

    def rotated(self, x: str) -> str:
        """Each half turned by the angle of its position."""
        name = f"half_{len(self.nodes)}"
        outputs = [f"{name}_0", f"{name}_1"]
        self.nodes.append(helper.make_node("Split", [x], outputs, name, axis=3, num_outputs=2))
        turned = self.add("Concat", self.add("Neg", outputs[1]), outputs[0], axis=-1)
        return self.add("Add", self.add("Mul", x, "cos"), self.add("Mul", turned, "sin"))

    def repeated(self, x: str) -> str:
        """Each key or value once for every query that shares it."""
        apart = self.add("Unsqueeze", x, "third")
        return self.add("Reshape", self.add("Tile", apart, "copies"), "spread")

    def feed_forward(self, stream: str) -> str:
        """One projection, times its sigmoid, times another."""
        x = self.norm(stream)
        gate = self.linear(x, HIDDEN, INNER)
        silu = self.add("Mul", gate, self.add("Sigmoid", gate))
        return self.linear(self.add("Mul", silu, self.linear(x, HIDDEN, INNER)), INNER, HIDDEN)
