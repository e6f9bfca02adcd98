"""Operators whose operands are indices."""

from __future__ import annotations

import math

import numpy as np

from kcompiler.errors import ModelError
from kcompiler.frontend.helpers import from_negative, table_size
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.types import I64


@onnx_op("Gather")
def gather(node: Node) -> Op:
    """Slices at indices; one known index is a slice."""
    x, indices = node[0], node[1]
    axis = build.normal_axis(node.integer("axis", 0), x.type.rank)
    if isinstance(indices, Constant) and indices.value.size == 1:
        at = build.normal_axis(int(indices.value.item()), x.shape[axis])
        one = build.slice_axis(x, axis, at, 1)
        return build.reshape(one, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    if isinstance(indices, Constant):
        _check_range(indices.value, x.shape[axis])
    return build.gather(x, indices, axis)


def _check_range(indices: np.ndarray[tuple[int, ...], np.dtype[np.generic]], extent: int) -> None:
    if indices.size and not (-extent <= int(indices.min()) and int(indices.max()) < extent):
        raise ModelError(
            f"indices {indices.min()} to {indices.max()} into an axis of {extent}",
            fix="check the shapes that the model was exported with",
        )


@onnx_op("GatherElements")
def gather_elements(node: Node) -> Op:
    """One element each: the position in the flat tensor is computed."""
    x, indices = node[0], build.cast(node[1], I64)
    axis = build.normal_axis(node.integer("axis", 0), x.type.rank)
    places = _strides(x.shape)
    position: Op = ops.Mul(from_negative(indices, x.shape[axis]), _number(places[axis]))
    for i, place in enumerate(places):
        if i != axis and indices.shape[i] > 1:
            position = ops.Add(position, _counting(indices.shape, i, place))
    return build.gather(build.reshape(x, (x.type.size,)), position, 0)


@onnx_op("GatherND")
def gather_nd(node: Node) -> Op:
    """Slices at tuples of indices, which become one index into the flattened dimensions."""
    x, indices, batch = node[0], build.cast(node[1], I64), node.integer("batch_dims", 0)
    depth = indices.shape[-1]
    reached = x.shape[batch : batch + depth]
    if len(reached) != depth or x.shape[:batch] != indices.shape[:batch]:
        raise ValueError(f"tuples of {depth} indices into {x.type}")
    positive = ops.Where(
        ops.Less(indices, _number(0)), ops.Add(indices, build.constant(reached, I64)), indices
    )
    scaled = ops.Mul(positive, build.constant(_strides(reached), I64))
    position = build.squeeze(build.reduce_sum(scaled, [-1]), [-1])
    inner = math.prod(reached)
    for i, place in enumerate(_strides(x.shape[:batch])):
        position = ops.Add(position, _counting(position.shape, i, place * inner))
    flat = (math.prod(x.shape[: batch + depth]), *x.shape[batch + depth :])
    return build.gather(build.reshape(x, flat), position, 0)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _number(value: int) -> Op:
    return build.constant(value, I64)


def _counting(shape: tuple[int, ...], axis: int, factor: int) -> Op:
    """0, factor, 2 factor, ... along one axis."""
    table_size(shape[axis])
    rest = (1,) * (len(shape) - axis - 1)
    return build.constant((np.arange(shape[axis]) * factor).reshape(-1, *rest), I64)


@onnx_op("OneHot")
def one_hot(node: Node) -> Op:
    """`on` where the index is, else `off`."""
    depth = int(node.known(1).reshape(()).item())
    table_size(depth)
    values = node[2]
    off, on = (build.reshape(build.slice_axis(values, 0, i, 1), ()) for i in (0, 1))
    axis = build.normal_axis(node.integer("axis", -1), node[0].type.rank + 1)
    indices = build.cast(node[0], I64) if node[0].dtype != I64 else node[0]
    apart = build.expand_dims(from_negative(indices, depth), [axis])
    numbers = np.arange(depth).reshape(-1, *(1,) * (apart.type.rank - axis - 1))
    return ops.Where(ops.Equal(apart, build.constant(numbers, I64)), on, off)


@onnx_op("ArgMax", "ArgMin")
def arg_reduce(node: Node) -> Op:
    """The first or last of the extreme elements."""
    x = node[0]
    axis = build.normal_axis(node.integer("axis", 0), x.type.rank)
    last = node.flag("select_last_index")
    function = "max" if node.op_type == "ArgMax" else "min"
    found = ops.ArgReduce(x, function, axis, last)  # type: ignore[arg-type]
    return found if node.flag("keepdims", True) else build.squeeze(found, [axis])


@onnx_op("TopK")
def top_k(node: Node) -> list[Op]:
    """Values and indices; the number is an attribute before opset 10."""
    x = node[0]
    axis = build.normal_axis(node.integer("axis", -1), x.type.rank)
    k = node.integer("k") if node.opset < 10 else int(node.known(1).reshape(()).item())
    largest = node.flag("largest", True)
    return [ops.TopKValues(x, k, axis, largest), ops.TopKIndices(x, k, axis, largest)]


@onnx_op("CumSum")
def cum_sum(node: Node) -> Op:
    """Running sums."""
    axis = build.normal_axis(int(node.known(1).reshape(()).item()), node[0].type.rank)
    return ops.CumSum(node[0], axis, node.flag("exclusive"), node.flag("reverse"))
