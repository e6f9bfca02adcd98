"""Small ONNX models with open dimensions, as bytes."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tests.runtime.models import model, node, values

F, I64 = TensorProto.FLOAT, TensorProto.INT64


def rows() -> bytes:
    """A product and a norm of each row of `x`: rows know nothing of one another."""
    return model(
        [
            node("MatMul", "x w", "h"),
            node("Softmax", "h", "p", axis=-1),
            node("Relu", "h", "r"),
        ],
        [("x", F, ["seq", 16])],
        [("p", F, ["seq", 8]), ("r", F, ["seq", 8])],
        w=values(16, 8),
    )


def mean() -> bytes:
    """The mean of all rows, which padding would change."""
    return model(
        [node("MatMul", "x w", "h"), node("ReduceMean", "h axes", "y", keepdims=0)],
        [("x", F, ["seq", 16])],
        [("y", F, [8])],
        w=values(16, 8),
        axes=np.array([0]),
    )


def summed() -> bytes:
    """The sum of all rows: zeros do not change it."""
    return model(
        [node("ReduceSum", "x axes", "y", keepdims=0)],
        [("x", F, ["seq", 16])],
        [("y", F, [16])],
        axes=np.array([0]),
    )


def encoder(hidden: float = -10000.0) -> bytes:
    """Attention over words that a mask hides, as BERT does it, and the first word's result."""
    return model(
        [
            node("Gather", "table ids", "e"),
            node("Cast", "attention_mask", "m", to=F),
            node("Sub", "one m", "off"),
            node("Mul", "off hidden", "bias"),
            node("Unsqueeze", "bias axis1", "bias3"),
            node("Transpose", "e", "et", perm=[0, 2, 1]),
            node("MatMul", "e et", "scores"),
            node("Add", "scores bias3", "masked"),
            node("Softmax", "masked", "p", axis=-1),
            node("MatMul", "p e", "y", "mix"),
            node("Gather", "y first", "pooled", "pool", axis=1),
        ],
        [("ids", I64, ["batch", "seq"]), ("attention_mask", I64, ["batch", "seq"])],
        [("y", F, ["batch", "seq", 16]), ("pooled", F, ["batch", 16])],
        table=values(11, 16),
        one=np.array(1, np.float32),
        hidden=np.array(hidden, np.float32),
        axis1=np.array([1]),
        first=np.array(0),
    )


def last_word() -> bytes:
    """The last row, which lies elsewhere in a bucket."""
    return model(
        [node("Gather", "x last", "y", axis=0)],
        [("x", F, ["seq", 16])],
        [("y", F, [16])],
        last=np.array(-1),
    )


def convolved(pads: list[int]) -> bytes:
    """Two convolutions along time, one after the other."""
    return model(
        [
            node("Conv", "x k", "h", "conv1", kernel_shape=[3], pads=pads),
            node("Relu", "h", "r"),
            node("Conv", "r k", "y", "conv2", kernel_shape=[3], pads=pads),
        ],
        [("x", F, [1, 4, "time"])],
        [("y", F, [1, 4, "time"])],
        k=values(4, 4, 3),
    )


def causal(masked: float = float("-inf")) -> bytes:
    """Attention where a word sees those before it, by a mask that the model computes."""
    return model(
        [
            node("Shape", "x", "shape"),
            node("Gather", "shape first", "n", "length"),
            node("Range", "zero n one", "at"),
            node("Unsqueeze", "at axis1", "rows", "rows"),
            node("LessOrEqual", "at rows", "seen"),
            node("Transpose", "x", "xt", perm=[1, 0]),
            node("MatMul", "x xt", "scores"),
            node("Where", "seen scores hidden", "visible"),
            node("Softmax", "visible", "p", axis=-1),
            node("MatMul", "p x", "y", "mix"),
        ],
        [("x", F, ["seq", 16])],
        [("y", F, ["seq", 16])],
        first=np.array(0),
        zero=np.array(0),
        one=np.array(1),
        axis1=np.array([1]),
        hidden=np.array(masked, np.float32),
    )


def cached() -> bytes:
    """Attention with a cache: keys are those of `past` and then the new ones."""
    return model(
        [
            node("Concat", "past x", "present", axis=0),
            node("Shape", "mask", "shape"),
            node("Gather", "shape first", "n", "length"),
            node("Range", "zero n one", "at"),
            node("Unsqueeze", "positions axis1", "rows", "rows"),
            node("LessOrEqual", "at rows", "before"),
            node("Greater", "mask zero", "real"),
            node("And", "before real", "seen"),
            node("Where", "seen none hidden", "bias"),
            node("Transpose", "present", "keys", perm=[1, 0]),
            node("MatMul", "x keys", "scores"),
            node("Add", "scores bias", "visible"),
            node("Softmax", "visible", "p", axis=-1),
            node("MatMul", "p present", "y", "mix"),
        ],
        [
            ("x", F, ["seq", 8]),
            ("positions", I64, ["seq"]),
            ("mask", I64, ["all"]),
            ("past", F, ["past", 8]),
        ],
        [("y", F, ["seq", 8]), ("present", F, ["all", 8])],
        first=np.array(0),
        zero=np.array(0),
        one=np.array(1),
        axis1=np.array([1]),
        none=np.array(0, np.float32),
        hidden=np.array(-1e9, np.float32),
    )


def two_dims() -> bytes:
    """A product of two tensors along an open dimension: zeros meet zeros."""
    return model(
        [node("MatMul", "a b", "y")],
        [("a", F, ["m", "k"]), ("b", F, ["k", 8])],
        [("y", F, ["m", 8])],
    )
