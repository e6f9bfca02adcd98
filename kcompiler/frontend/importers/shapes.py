"""Shapes, constants and ranges: mostly known while importing."""

from __future__ import annotations

import math

import numpy as np
from onnx import AttributeProto, TensorProto

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import table_size
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.sparse import dense
from kcompiler.frontend.tensors import numpy_dtype
from kcompiler.graph import build
from kcompiler.graph.node import Array, Op
from kcompiler.graph.types import F32, I64

_NUMBERS = {
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_float": np.float32,
    "value_floats": np.float32,
}


@onnx_op("Constant")
def constant(node: Node) -> Op:
    """A tensor in one of several notations."""
    if len(node.attributes) != 1:
        raise ValueError("a Constant has one value")
    (name,) = node.attributes
    if name == "value":
        if node.attributes[name].t.data_type == TensorProto.STRING:
            raise NotExpressible("it is text")
        value = node.tensor(name)
        return build.constant(value, value.dtype)
    if name == "sparse_value":
        value = dense(node.attributes[name].sparse_tensor, node.decode)
        return build.constant(value, value.dtype)
    if name not in _NUMBERS:
        raise NotExpressible("it is text")
    return build.constant(_number(node.attributes[name]), np.dtype(_NUMBERS[name]))


def _number(attribute: AttributeProto) -> Array:
    match attribute.type:
        case AttributeProto.INT:
            return np.asarray(attribute.i, np.int64)
        case AttributeProto.FLOAT:
            return np.asarray(attribute.f, np.float32)
        case AttributeProto.INTS:
            return np.asarray(attribute.ints, np.int64)
    return np.asarray(attribute.floats, np.float32)


@onnx_op("Shape")
def shape(node: Node) -> Op:
    """The extents, or some of them."""
    end = node.integer("end") if node.has("end") else None
    return build.constant(node[0].shape[slice(node.integer("start", 0), end)], I64)


@onnx_op("Size")
def size(node: Node) -> Op:
    """The number of elements."""
    return build.constant(node[0].type.size, I64)


@onnx_op("ConstantOfShape")
def constant_of_shape(node: Node) -> Op:
    """One value everywhere."""
    extents = node.integers_of(0) or ()
    value = node.tensor("value") if node.has("value") else np.zeros(1, F32)
    return build.broadcast(build.constant(value.reshape(()), value.dtype), extents)


@onnx_op("Range")
def range_(node: Node) -> Op:
    """start, start + delta, ... below limit."""
    start, limit, delta = (node.known(i).reshape(()) for i in range(3))
    if delta == 0:
        raise ValueError("a Range needs a step")
    count = max(0, math.ceil((limit.item() - start.item()) / delta.item()))
    table_size(count)
    values = start.item() + np.arange(count) * delta.item()
    return build.constant(np.asarray(values).astype(start.dtype), start.dtype)


@onnx_op("EyeLike")
def eye_like(node: Node) -> Op:
    """Ones on a diagonal."""
    rows, columns = node[0].shape
    table_size(rows, columns)
    dtype = node[0].dtype
    if node.has("dtype"):
        dtype = numpy_dtype(node.integer("dtype"), "the result of EyeLike")
    return build.constant(np.eye(rows, columns, node.integer("k", 0)), dtype)


@onnx_op("NonZero")
def non_zero(node: Node) -> Op:
    """Where a known tensor is not zero."""
    return build.constant(np.stack(np.nonzero(np.atleast_1d(node.known(0)))), I64)
