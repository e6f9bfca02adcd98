"""Normalizations and softmax."""

from __future__ import annotations

import math

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import channels, normal_axes, wide
from kcompiler.frontend.importers.pooling import power, root
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.tensors import numpy_dtype
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import compute_dtype


@onnx_op("BatchNormalization")
def batch_normalization(node: Node) -> Op | list[Op]:
    """X a + b, with a and b known as the statistics are."""
    if node.flag("training_mode"):
        return _in_training(node)
    if any(node.wants(i) for i in range(1, 5)):
        raise NotExpressible("BatchNormalization in training mode, as it was before opset 14")
    x, dtype = node[0], compute_dtype(node[0].dtype)
    scale, bias, mean, variance = (build.cast(node[i], dtype) for i in range(1, 5))
    epsilon = build.scalar(variance, node.number("epsilon", 1e-5))
    a = ops.Div(scale, ops.Sqrt(ops.Add(variance, epsilon)))
    b = ops.Sub(bias, ops.Mul(mean, a))
    rank = x.type.rank if node.flag("spatial", True) else 0

    def shaped(v: Op) -> Op:
        return channels(v, max(rank, 2)) if rank else build.expand_dims(v, [0])

    return wide(x, lambda v: ops.Add(ops.Mul(v, shaped(a)), shaped(b)))


def _in_training(node: Node) -> list[Op]:
    """By the statistics of the batch, and these mixed with the given ones."""
    x, momentum = build.cast(node[0], compute_dtype(node[0].dtype)), node.number("momentum", 0.9)
    axes = [i for i in range(x.type.rank) if i != 1]
    mean = build.mean(x, axes)
    centred = ops.Sub(x, mean)
    variance = build.mean(ops.Mul(centred, centred), axes)
    deviation = ops.Sqrt(ops.Add(variance, build.scalar(variance, node.number("epsilon", 1e-5))))
    scale, bias = (channels(build.cast(node[i], x.dtype), x.type.rank) for i in (1, 2))
    y = ops.Add(ops.Mul(ops.Div(centred, deviation), scale), bias)
    results = [build.cast(y, node[0].dtype)]
    for old, new in ((node[3], mean), (node[4], variance)):
        fresh = build.reshape(new, old.shape)
        kept = ops.Mul(build.cast(old, x.dtype), build.scalar(x, momentum))
        mixed = ops.Add(kept, ops.Mul(fresh, build.scalar(x, 1 - momentum)))
        results.append(build.cast(mixed, old.dtype))
    return results


@onnx_op("LayerNormalization")
def layer_normalization(node: Node) -> list[Op | None]:
    """Over the last dimensions; mean and inverse deviation on request."""
    x, epsilon = node[0], node.number("epsilon", 1e-5)
    axis = build.normal_axis(node.integer("axis", -1), x.type.rank)
    axes = tuple(range(axis, x.type.rank))
    scale, bias = (_same_type(node.get(i), x) for i in (1, 2))
    results: list[Op | None] = [ops.LayerNorm(x, scale, bias, axes, epsilon), None, None]
    if node.wants(1) or node.wants(2):
        wide_x = build.cast(x, compute_dtype(x.dtype))
        mean = build.mean(wide_x, axes)
        centred = ops.Sub(wide_x, mean)
        variance = build.mean(ops.Mul(centred, centred), axes)
        inverse = ops.Reciprocal(ops.Sqrt(ops.Add(variance, build.scalar(variance, epsilon))))
        stash = numpy_dtype(node.integer("stash_type", 1), "the statistics of a norm")
        results[1:] = [build.cast(mean, stash), build.cast(inverse, stash)]
    return results


def _same_type(parameter: Op | None, x: Op) -> Op | None:
    return None if parameter is None else build.cast(parameter, x.dtype)


@onnx_op("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(node: Node) -> Op:
    """Over the last dimensions."""
    if node.wants(1):
        raise NotExpressible("the deviation of an RMS norm is wanted")
    x = node[0]
    axis = build.normal_axis(node.integer("axis", -1), x.type.rank)
    axes = tuple(range(axis, x.type.rank))
    return ops.RmsNorm(x, _same_type(node.get(1), x), axes, node.number("epsilon", 1e-5))


@onnx_op("InstanceNormalization")
def instance_normalization(node: Node) -> Op:
    """Each channel of each image on its own."""
    x = node[0]
    scale, bias = (channels(node[i], x.type.rank) for i in (1, 2))
    axes = tuple(range(2, x.type.rank))
    return ops.LayerNorm(x, scale, bias, axes, node.number("epsilon", 1e-5))


@onnx_op("GroupNormalization")
def group_normalization(node: Node) -> Op:
    """Groups of channels; scale and bias are of a group before opset 21, of a channel since."""
    x, groups = node[0], node.integer("num_groups")
    n, c, *spatial = x.shape
    each = c // groups if groups > 0 else 0
    if each * groups != c:
        raise ValueError(f"{c} channels do not make {groups} groups")
    split = build.reshape(x, (n, groups, each, *spatial))
    inner = 1 if node.opset < 21 else each
    shape = (groups, inner, *(1,) * len(spatial))
    scale, bias = (build.reshape(build.cast(node[i], x.dtype), shape) for i in (1, 2))
    axes = tuple(range(2, split.type.rank))
    normal = ops.LayerNorm(split, scale, bias, axes, node.number("epsilon", 1e-5))
    return build.reshape(normal, x.shape)


@onnx_op("LpNormalization")
def lp_normalization(node: Node) -> Op:
    """Divided by the p-norm; 0 stays 0."""
    p, axis = node.integer("p", 2), node.integer("axis", -1)

    def compute(x: Op) -> Op:
        norm = root(build.reduce_sum(power(x, p), [axis]), p)
        nothing = ops.Equal(norm, build.scalar(x, 0))
        return ops.Div(x, ops.Where(nothing, build.scalar(x, 1), norm))

    return wide(node[0], compute)


@onnx_op("MeanVarianceNormalization")
def mean_variance_normalization(node: Node) -> Op:
    """Without scale and bias."""
    axes = normal_axes(node.integers("axes", (0, 2, 3)), node[0].type.rank)
    return ops.LayerNorm(node[0], None, None, axes, 1e-18)


@onnx_op("LRN")
def lrn(node: Node) -> Op:
    """Divided by a power of the mean square of neighbouring channels."""
    size = node.integer("size")
    alpha, beta = node.number("alpha", 1e-4), node.number("beta", 0.75)
    bias = node.number("bias", 1.0)
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2

    def compute(x: Op) -> Op:
        n, c, *spatial = x.shape
        rows = build.reshape(ops.Mul(x, x), (n, 1, c, math.prod(spatial)))
        total = ops.Window(rows, "sum", (size, 1), (1, 1), (low, 0), (high, 0), (1, 1))
        mean = ops.Mul(build.reshape(total, x.shape), build.scalar(x, alpha / size))
        return ops.Div(x, ops.Pow(ops.Add(mean, build.scalar(x, bias)), build.scalar(x, beta)))

    return wide(node[0], compute)


@onnx_op("Softmax")
def softmax(node: Node) -> Op:
    """Before opset 13 over all dimensions from an axis on, as if they were one."""
    x, axis = _softmax_operand(node)
    return build.reshape(ops.Softmax(x, axis), node[0].shape)


@onnx_op("LogSoftmax")
def log_softmax(node: Node) -> Op:
    """The logarithm of a softmax, without computing a number that might vanish."""
    operand, axis = _softmax_operand(node)

    def compute(x: Op) -> Op:
        shifted = ops.Sub(x, build.reduce_max(x, [axis]))
        return ops.Sub(shifted, ops.Log(build.reduce_sum(ops.Exp(shifted), [axis])))

    return build.reshape(wide(operand, compute), node[0].shape)


@onnx_op("Hardmax")
def hardmax(node: Node) -> Op:
    """1 at the first maximum, else 0."""
    x, axis = _softmax_operand(node)
    place = ops.ArgReduce(x, "max", axis, last=False)
    rest = (1,) * (x.type.rank - axis - 1)
    counting = build.constant(np.arange(x.shape[axis]).reshape(-1, *rest), place.dtype)
    return build.reshape(build.cast(ops.Equal(place, counting), x.dtype), node[0].shape)


def _softmax_operand(node: Node) -> tuple[Op, int]:
    x = node[0]
    axis = build.normal_axis(node.integer("axis", 1 if node.opset < 13 else -1), x.type.rank)
    if node.opset >= 13 or axis == x.type.rank - 1:
        return x, axis
    return build.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))), 1
