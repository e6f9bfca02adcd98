"""How far a correct implementation of an operator may be from the exact result.

No tolerance is picked by hand: the operator is evaluated in float64, and the bound follows from the
operands. It holds for any order of summation, and for implementations that keep intermediate values
in the compute type as well as for those that round every node's result to its declared type.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np

from kcompiler.graph import operators as ops
from kcompiler.graph.bounded import (
    Bounded,
    bounded,
    contraction,
    elementwise,
    exact,
    gamma,
    inverse_root,
    rounded,
    summation,
    within_range,
)
from kcompiler.graph.matmul import accumulator
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.types import F64, TensorType, is_float
from kcompiler.scalar import convert, working_dtype

__all__ = ["Bounded", "bound_graph", "error_bound"]


def error_bound(op: Op, values: Sequence[Array], errors: Sequence[Array] | None = None) -> Bounded:
    """The exact result and its bound, for operands that are off by at most `errors` (default 0).

    Raises `ValueError` for a `Host`, whose meaning is not ours to bound.
    """
    operands = [exact(v, o.dtype) for v, o in zip(values, op.operands, strict=True)]
    if errors is not None:
        given = zip(operands, errors, strict=True)
        operands = [bounded(x.value, np.asarray(e, F64), x.dtype) for x, e in given]
    return bound(op, operands)


def bound_graph(graph: Graph, inputs: Mapping[str, Bounded]) -> dict[str, Bounded]:
    """The outputs of a graph with their bounds."""
    known: dict[int, Bounded] = {}
    for node in graph.nodes:
        if isinstance(node, Input):
            known[id(node)] = inputs[node.name]
        else:
            known[id(node)] = bound(node, [known[id(o)] for o in node.operands])
    return {name: known[id(value)] for name, value in graph.outputs}


def bound(op: Op, operands: Sequence[Bounded]) -> Bounded:
    """The result of one operator on bounded operands."""
    integral = not any(is_float(x.dtype) for x in (*op.operands, op))
    if integral and op.operands and all(x.is_exact for x in operands):
        return exact(op.evaluate(*(x.value for x in operands)))
    return _bound(op, operands)


@singledispatch
def _bound(op: Op, _: Sequence[Bounded]) -> Bounded:
    raise ValueError(f"{op!r} has no error bound")


@_bound.register(Constant)
def _constant(op: Constant, _: Sequence[Bounded]) -> Bounded:
    return exact(op.value)


@_bound.register(ops.Fused)
def _fused(op: ops.Fused, operands: Sequence[Bounded]) -> Bounded:
    return _inside(op.body, operands)


def _inside(body: Graph, operands: Sequence[Bounded]) -> Bounded:
    names = (i.name for i in body.inputs)
    (result,) = bound_graph(body, dict(zip(names, operands, strict=True))).values()
    return result


@_bound.register(ops.Elementwise)
def _elementwise(op: ops.Elementwise, operands: Sequence[Bounded]) -> Bounded:
    return elementwise(op.function, op.type, *operands)


@_bound.register(ops.Quantize)
@_bound.register(ops.Dequantize)
def _quantized(op: ops.Quantize | ops.Dequantize, operands: Sequence[Bounded]) -> Bounded:
    """By the arithmetic that they stand for."""
    given = tuple(Input(f"x{i}", o.type) for i, o in enumerate(op.operands))
    body = Graph("arithmetic", given, (("y", op.with_operands(given).arithmetic()),))
    return _inside(body, operands)


@_bound.register(ops.Reshape)
@_bound.register(ops.Transpose)
@_bound.register(ops.Slice)
@_bound.register(ops.Broadcast)
@_bound.register(ops.Concat)
def _moved(op: Op, operands: Sequence[Bounded]) -> Bounded:
    error = _in_float64(op)(*(x.error for x in operands))
    return bounded(_reference(op, operands), error, op.dtype)


@_bound.register(ops.Pad)
def _pad(op: ops.Pad, operands: Sequence[Bounded]) -> Bounded:
    error = _in_float64(dataclasses.replace(op, value=0))(operands[0].error)
    stored = convert(np.asarray(op.value), op.dtype)
    fill = float(stored) if is_float(op.dtype) else op.value
    return bounded(_reference(dataclasses.replace(op, value=fill), operands), error, op.dtype)


@_bound.register(ops.Gather)
def _gather(op: ops.Gather, operands: Sequence[Bounded]) -> Bounded:
    x, indices = operands
    error = op.evaluate(x.error, indices.value) if indices.is_exact else np.array(np.inf)
    return bounded(op.evaluate(x.value, indices.value), error, op.dtype)


@_bound.register(ops.Contract)
def _contract(op: ops.Contract, operands: Sequence[Bounded]) -> Bounded:
    summed = (n for c, n in op.extents.items() if c not in op.letters[2])
    return _products(op, math.prod(summed), *operands)


@_bound.register(ops.Conv)
def _conv(op: ops.Conv, operands: Sequence[Bounded]) -> Bounded:
    return _products(op, math.prod(op.w.shape[1:]), *operands)


def _products(op: ops.Contract | ops.Conv, length: int, x: Bounded, y: Bounded) -> Bounded:
    total = contraction(_in_float64(op), length, x, y, accumulator(x.dtype, y.dtype))
    return elementwise("cast", op.type, total)


@_bound.register(ops.Window)
def _window(op: ops.Window, operands: Sequence[Bounded]) -> Bounded:
    (x,) = operands
    return _sum(op, math.prod(op.window), x) if op.function == "sum" else _largest(op, x)


@_bound.register(ops.Reduce)
def _reduce(op: ops.Reduce, operands: Sequence[Bounded]) -> Bounded:
    (x,) = operands
    length = math.prod(op.x.shape[a] for a in op.axes)
    match op.function:
        case "sum":
            return _sum(op, length, x)
        case "prod":
            return _product(op, length, x)
    return _largest(op, x)


@_bound.register(ops.CumSum)
def _cumsum(op: ops.CumSum, operands: Sequence[Bounded]) -> Bounded:
    return _sum(op, op.shape[op.axis], operands[0])


def _sum(op: Op, length: int, x: Bounded) -> Bounded:
    total = summation(_in_float64(op), length, x, working_dtype(op.dtype))
    return elementwise("cast", op.type, total)


def _product(op: ops.Reduce, length: int, x: Bounded) -> Bounded:
    form, size = _in_float64(op), np.abs(x.value.astype(F64))
    value = _reference(op, (x,))
    with np.errstate(all="ignore"):
        total = form(size + x.error)
        moved = total - form(size)
        if not is_float(op.dtype):
            return within_range(value, np.ceil(moved))
        kind = working_dtype(op.dtype)
        error = moved + gamma(length, kind) * total
    return elementwise("cast", op.type, rounded(bounded(value, error, kind), kind))


def _largest(op: ops.Window | ops.Reduce, x: Bounded) -> Bounded:
    """A maximum or minimum moves no farther than the element that moves farthest."""
    farthest = _in_float64(dataclasses.replace(op, function="max"))(x.error)
    return bounded(_reference(op, (x,)), np.maximum(farthest, 0), op.dtype)


@_bound.register(ops.TopKValues)
def _top_values(op: ops.TopKValues, operands: Sequence[Bounded]) -> Bounded:
    """The k-th of sorted values moves no farther than the value that moves farthest."""
    (x,) = operands
    farthest = x.error.max(op.axis, keepdims=True, initial=0)
    return bounded(_reference(op, operands), np.broadcast_to(farthest, op.shape), op.dtype)


@_bound.register(ops.ArgReduce)
@_bound.register(ops.TopKIndices)
def _indices(op: ops.ArgReduce | ops.TopKIndices, operands: Sequence[Bounded]) -> Bounded:
    """Exact where no two elements can change places; otherwise any index is possible."""
    (x,) = operands
    order = np.argsort(x.value, op.axis, kind="stable")
    value, error = (np.take_along_axis(a, order, op.axis) for a in (x.value, x.error))
    with np.errstate(all="ignore"):
        gaps = np.diff(value.astype(F64), axis=op.axis)
    after = (slice(None),) * op.axis
    reach = error[(*after, slice(1, None))] + error[(*after, slice(None, -1))]
    unsure = ((reach > 0) & ~(gaps > reach)).any(op.axis, keepdims=True)
    any_index = np.where(unsure, op.x.shape[op.axis] - 1.0, 0.0)
    return bounded(_reference(op, operands), np.broadcast_to(any_index, op.shape), op.dtype)


@_bound.register(ops.Softmax)
def _softmax(op: ops.Softmax, operands: Sequence[Bounded]) -> Bounded:
    return elementwise("cast", op.type, _shares(operands[0], op.axis))


def _shares(x: Bounded, axis: int) -> Bounded:
    """The softmax in the compute type.

    The result does not depend on the shift, so that counts as exact, whatever maximum was found.
    """
    kind = working_dtype(x.dtype)
    shift = exact(x.value.max(axis, keepdims=True, initial=-np.inf), kind)
    powers = _apply("exp", kind, _apply("sub", kind, x, shift))
    total = summation(lambda v: v.sum(axis, keepdims=True), x.shape[axis], powers, kind)
    shares = _apply("div", kind, powers, total)
    return Bounded(shares.value, np.minimum(shares.error, 1.0), kind)


@_bound.register(ops.LayerNorm)
def _layer_norm(op: ops.LayerNorm, operands: Sequence[Bounded]) -> Bounded:
    kind = working_dtype(op.dtype)
    x = operands[0]
    centred = _apply("sub", kind, x, _mean(x, op.axes, kind))
    return _normalized(op, centred, operands[1:])


@_bound.register(ops.RmsNorm)
def _rms_norm(op: ops.RmsNorm, operands: Sequence[Bounded]) -> Bounded:
    return _normalized(op, operands[0], operands[1:])


def _normalized(op: ops.LayerNorm | ops.RmsNorm, x: Bounded, rest: Sequence[Bounded]) -> Bounded:
    kind = working_dtype(op.dtype)
    power = _mean(_apply("mul", kind, x, x), op.axes, kind)
    result = _apply("mul", kind, x, inverse_root(power, op.epsilon, kind))
    for function, factor in zip(_steps(op), rest, strict=True):
        result = _apply(function, kind, result, factor)
    return elementwise("cast", op.type, result)


def _steps(op: ops.LayerNorm | ops.RmsNorm) -> list[str]:
    bias = op.bias if isinstance(op, ops.LayerNorm) else None
    given = (("mul", op.scale), ("add", bias))
    return [function for function, operand in given if operand is not None]


def _mean(x: Bounded, axes: tuple[int, ...], kind: np.dtype[Any]) -> Bounded:
    length = math.prod(x.shape[a] for a in axes)
    total = summation(lambda v: v.sum(axes, keepdims=True), length, x, kind)
    return _apply("div", kind, total, exact(np.array(float(length)), kind))


@_bound.register(ops.Attention)
def _attention(op: ops.Attention, operands: Sequence[Bounded]) -> Bounded:
    """Scaled queries, logits and shares may be stored in the element type on their way."""
    q, k, v, *mask = operands
    kind = working_dtype(op.dtype)
    scaled = _apply("mul", op.dtype, q, _near(op.scale, kind))
    logits = contraction(_by_transposed, q.shape[-1], scaled, k, kind)
    if mask:
        logits = _apply("add", kind, logits, mask[0])
    shares = rounded(_shares(rounded(logits, op.dtype), -1), op.dtype)
    return elementwise("cast", op.type, contraction(np.matmul, k.shape[-2], shares, v, kind))


def _by_transposed(x: Array, y: Array) -> Array:
    return np.asarray(np.matmul(x, np.swapaxes(y, -1, -2)))


def _near(value: float, kind: np.dtype[Any]) -> Bounded:
    """A number that has to be stored in a type first."""
    return rounded(Bounded(np.array(value), np.zeros(()), kind), kind)


def _apply(function: str, kind: np.dtype[Any], *operands: Bounded) -> Bounded:
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    return elementwise(function, TensorType(kind, shape), *operands)


def _reference(op: Op, operands: Sequence[Bounded]) -> Array:
    """The exact result: in float64 for floats, as it is for other types."""
    run = _in_float64(op) if is_float(operands[0].dtype) else op.evaluate
    return run(*(x.value for x in operands))


def _in_float64(op: Op) -> Callable[..., Array]:
    """The operator's own evaluation, on float64 operands."""
    operands = [Input("", TensorType(F64, o.shape)) for o in op.operands]
    if isinstance(op, ops.Contract):
        return dataclasses.replace(op, x=operands[0], y=operands[1], dtype=F64).evaluate
    if isinstance(op, ops.Conv):
        return dataclasses.replace(op, x=operands[0], w=operands[1], dtype=F64).evaluate
    return op.with_operands(operands).evaluate
