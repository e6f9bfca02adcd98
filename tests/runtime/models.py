"""Small ONNX models, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 20
Value = tuple[str, int, Sequence[int | str] | None]


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    **weights: np.ndarray,
) -> bytes:
    """A serialized model."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    made = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def node(operator: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> NodeProto:
    """A node, by default called like its operator; names are separated by blanks."""
    called = name or operator.lower()
    return helper.make_node(operator, inputs.split(), outputs.split(), name=called, **attributes)


def values(*shape: int) -> np.ndarray:
    """Weights: the same ones for a shape each time."""
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32) / 4


def linear() -> bytes:
    """The rectified sum of a product and a bias."""
    return model(
        [node("MatMul", "x w", "h"), node("Add", "h b", "s"), node("Relu", "s", "y")],
        [("x", TensorProto.FLOAT, [50, 96])],
        [("y", TensorProto.FLOAT, [50, 40])],
        w=values(96, 40),
        b=values(40),
    )


def masked_attention() -> bytes:
    """Attention over 32 rows of 16 features with a mask and a residual; all read one projection."""
    return model(
        [
            node("Cast", "mask", "m", "cast", to=TensorProto.FLOAT),
            node("Sub", "one m", "l", "less"),
            node("Mul", "l far", "a", "add"),
            node("Unsqueeze", "a axis", "u"),
            node("MatMul", "x w", "q", "query"),
            node("MatMul", "x w", "k", "key"),
            node("MatMul", "x w", "v", "value"),
            node("Transpose", "k", "t", "turn", perm=[0, 2, 1]),
            node("MatMul", "q t", "s", "scores"),
            node("Add", "s u", "n", "mask"),
            node("Softmax", "n", "p", axis=-1),
            node("MatMul", "p v", "o", "mix"),
            node("Add", "o x", "y", "residual"),
        ],
        [("x", TensorProto.FLOAT, [1, 32, 16]), ("mask", TensorProto.INT64, [1, 32])],
        [("y", TensorProto.FLOAT, [1, 32, 16])],
        w=values(16, 16),
        one=np.array(1, np.float32),
        far=np.array(-10_000, np.float32),
        axis=np.array([1]),
    )


def open_linear() -> bytes:
    """`linear` with an open batch."""
    return model(
        [node("MatMul", "x w", "y")],
        [("x", TensorProto.FLOAT, ["batch", 96])],
        [("y", TensorProto.FLOAT, ["batch", 40])],
        w=values(96, 40),
    )


def divided() -> bytes:
    """A part on the NPU, a determinant on the host, and a part on the NPU."""
    return model(
        [node("MatMul", "x w", "h"), node("Det", "h", "d"), node("Mul", "d h", "y")],
        [("x", TensorProto.FLOAT, [6, 6])],
        [("y", TensorProto.FLOAT, [6, 6]), ("d", TensorProto.FLOAT, [])],
        w=values(6, 6),
    )


def lookup() -> bytes:
    """Rows of a table, masked, and where the largest one is."""
    return model(
        [
            node("Gather", "table ids", "rows"),
            node("Cast", "attention_mask", "m", to=TensorProto.FLOAT),
            node("Unsqueeze", "m last", "mm"),
            node("Mul", "rows mm", "y"),
            node("ArgMax", "y", "best", axis=-1, keepdims=0),
        ],
        [("ids", TensorProto.INT64, [1, 5]), ("attention_mask", TensorProto.INT64, [1, 5])],
        [("y", TensorProto.FLOAT, [1, 5, 16]), ("best", TensorProto.INT64, [1, 5])],
        table=values(7, 16),
        last=np.array([-1]),
    )


def moded() -> bytes:
    """An If whose branches have different shapes: all of it waits for the mode."""
    branches = {
        key: helper.make_graph(
            [node("ReduceSum", "x axes", "r", keepdims=keep)],
            key,
            [],
            [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
        )
        for key, keep in (("then_branch", 1), ("else_branch", 0))
    }
    return model(
        [node("Equal", "mode one", "is_one"), node("If", "is_one", "y", **branches)],
        [("x", TensorProto.FLOAT, [4, 8]), ("mode", TensorProto.INT64, [])],
        [("y", TensorProto.FLOAT, None)],
        one=np.array(1),
        axes=np.array([1]),
    )
