"""Operators that write at indices: where these are known, movement; else by comparison.

The last of several updates of one place wins, as in runtimes that write one after the other. With
indices that are inputs, each place is compared with each index: the update whose index it is, or
the sum, product, maximum or minimum of those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from kcompiler.errors import ModelError
from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import table_size, take
from kcompiler.frontend.limits import PAIRS
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.running import running
from kcompiler.graph.types import BOOL, I32, I64, compute_dtype, is_float
from kcompiler.scalar import highest, lowest

Function = Literal["sum", "prod", "max", "min"]
_FUNCTIONS: dict[str, tuple[Function, type[ops.Binary]]] = {
    "add": ("sum", ops.Add),
    "mul": ("prod", ops.Mul),
    "max": ("max", ops.Max),
    "min": ("min", ops.Min),
}


@onnx_op("ScatterElements", "Scatter")
def scatter_elements(node: Node) -> Op:
    """One element each along an axis; indices may cover a corner of the other axes only."""
    data, indices, updates = node[0], node[1], node[2]
    axis = build.normal_axis(node.integer("axis", 0), data.type.rank)
    covered = list(indices.shape)
    if updates.shape != indices.shape:
        raise ValueError(f"updates {updates.type} at indices {indices.type}")
    covered[axis] = data.shape[axis]
    corner = build.slice_(data, (0,) * data.type.rank, covered)
    at = _counted(indices, (data.shape[axis],))
    found = scattered(corner, at, updates, axis, node.string("reduction", "none"))
    for i, extent in enumerate(data.shape):  # the rest of each axis behind what is covered
        if covered[i] < extent:
            starts, sizes = [0] * data.type.rank, list(covered)
            starts[i], sizes[i] = covered[i], extent - covered[i]
            found = build.concat([found, build.slice_(data, starts, sizes)], i)
            covered[i] = extent
    return found


@onnx_op("ScatterND")
def scatter_nd(node: Node) -> Op:
    """Slices at tuples of indices, which become one index into the flattened dimensions."""
    data, indices, updates = node[0], node[1], node[2]
    depth = indices.shape[-1]
    reached, inner = data.shape[:depth], data.shape[depth:]
    count = math.prod(indices.shape[:-1])
    if len(reached) != depth or updates.type.size != count * math.prod(inner):
        raise ValueError(f"updates {updates.type} at indices {indices.type} of {data.type}")
    at = _flat(_counted(indices, reached), reached)
    rows = build.reshape(data, (math.prod(reached), math.prod(inner)))
    new = build.reshape(updates, (count, math.prod(inner)))
    return build.reshape(_rows(rows, at, new, node.string("reduction", "none")), data.shape)


@onnx_op("TensorScatter")
def tensor_scatter(node: Node) -> Op:
    """A block of updates into a cache, from an index for each batch on, maybe around its end."""
    cache, update = node[0], node[1]
    axis = build.normal_axis(node.integer("axis", -2), cache.type.rank)
    batch, extent, count = cache.shape[0], cache.shape[axis], update.shape[axis]
    circular = node.string("mode", "linear") == "circular"
    start: Op = build.constant(np.zeros(batch), I64)
    if node.get(2) is not None:
        start = build.cast(node[2], I64)
    place = build.constant(np.arange(extent), I64)
    step: Op = ops.Sub(place, build.reshape(start, (batch, 1)))
    if circular:
        step = ops.Mod(step, build.constant(extent, I64))
    inside = ops.And(
        ops.LessEqual(build.constant(0, I64), step), ops.Less(step, build.constant(count, I64))
    )
    last = build.constant(count - 1, I64)
    chosen = ops.Min(ops.Max(step, build.constant(0, I64)), last)
    outer, inner = math.prod(update.shape[1:axis]), math.prod(update.shape[axis + 1 :])
    begin = np.arange(batch * outer).reshape(batch, outer, 1) * count
    at = ops.Add(build.reshape(chosen, (batch, 1, extent)), build.constant(begin, I64))
    rows = build.reshape(update, (batch * outer * count, inner))
    moved = build.reshape(build.gather(rows, at, 0), cache.shape)
    mask = build.reshape(
        inside, (batch, *(1,) * (axis - 1), extent, *(1,) * len(cache.shape[axis + 1 :]))
    )
    return ops.Where(mask, moved, cache)


@onnx_op("CumProd")
def cum_prod(node: Node) -> Op:
    """Running products."""
    axis = build.normal_axis(int(node.known(1).reshape(()).item()), node[0].type.rank)
    exclusive, reverse = node.flag("exclusive"), node.flag("reverse")
    return running(node[0], axis, "prod", exclusive=exclusive, reverse=reverse)


def _counted(indices: Op, extents: Sequence[int]) -> Op:
    """Indices counted from the front, checked where they are known."""
    limits = np.asarray(extents, np.int64)
    if not isinstance(indices, Constant):
        wide, limit = build.cast(indices, I64), build.constant(limits, I64)
        return ops.Where(ops.Less(wide, build.constant(0, I64)), ops.Add(wide, limit), wide)
    at = np.where(indices.value < 0, indices.value + limits, indices.value)
    if ((at < 0) | (at >= limits)).any():
        raise ModelError(
            f"indices {indices.value.min()} to {indices.value.max()} into extents {list(extents)}",
            fix="check the shapes that the model was exported with",
        )
    return build.constant(at, I64)


def _flat(indices: Op, extents: Sequence[int]) -> Op:
    """Tuples of indices as one index each."""
    strides = np.array([math.prod(extents[i + 1 :]) for i in range(len(extents))], np.int64)
    if isinstance(indices, Constant):
        return build.constant((indices.value * strides).sum(-1).reshape(-1), I64)
    scaled = ops.Mul(indices, build.constant(strides, I64))
    return build.reshape(build.reduce_sum(scaled, [-1]), (math.prod(indices.shape[:-1]),))


def scattered(data: Op, at: Op, updates: Op, axis: int, reduction: str = "none") -> Op:
    """Updates written into data along an axis; all other extents are the same."""
    before, after = math.prod(data.shape[:axis]), math.prod(data.shape[axis + 1 :])
    extent, count = data.shape[axis], at.shape[axis]
    flat = build.reshape(data, (before, extent, after))
    where = build.reshape(at, (before, count, after))
    new = build.reshape(updates, (before, count, after))
    if not count:
        return data
    if isinstance(at, Constant) and reduction == "none":
        found = _moved(flat, at.value.reshape(where.shape), new)
    else:
        _few_pairs(before, extent, count, after)
        hit = ops.Equal(_apart(where, 1), build.constant(np.arange(extent)[:, None, None], I64))
        found = _combined(flat, hit, _apart(new, 1), reduction)
    return build.reshape(found, data.shape)


def _rows(data: Op, at: Op, updates: Op, reduction: str) -> Op:
    """Rows of updates[count, inner] written into data[extent, inner]."""
    extent, inner = data.shape
    count = at.shape[0]
    if not count or not inner:
        return data
    if isinstance(at, Constant) and reduction == "none":
        return take(build.concat([data, updates], 0), 0, _sources(extent, at.value))
    places = build.constant(np.arange(extent)[:, None], I64)
    hit = ops.Equal(build.reshape(at, (1, count)), places)
    if reduction != "none":
        _few_pairs(extent, count, inner)
        apart = build.reshape(hit, (1, extent, count, 1))
        new = build.reshape(updates, (1, 1, count, inner))
        whole = build.reshape(data, (1, extent, inner))
        return build.reshape(_combined(whole, apart, new, reduction), data.shape)
    _few_pairs(extent, count)
    last = ops.Reduce(ops.Where(hit, _numbers(count), build.constant(-1, I32)), "max", (1,))
    zero = build.constant(0, I32)
    moved = build.gather(updates, build.reshape(ops.Max(last, zero), (extent,)), 0)
    return ops.Where(ops.LessEqual(zero, last), moved, data)


def _combined(data: Op, hit: Op, updates: Op, reduction: str) -> Op:
    """Data[b, n, a] with updates[b, 1, k, a] where hit[b, n, k, a] says so."""
    if reduction not in {"none", *_FUNCTIONS}:
        raise ValueError(f"reduction {reduction!r} is unknown")
    if data.dtype == BOOL:
        small = np.dtype(np.uint8)
        made = _combined(build.cast(data, small), hit, build.cast(updates, small), reduction)
        return build.cast(made, BOOL)
    shape = data.shape
    if reduction == "none":
        count = updates.shape[2]
        numbers = build.reshape(_numbers(count), (count, 1))
        found = ops.Reduce(ops.Where(hit, numbers, build.constant(-1, I32)), "max", (2,))
        chosen = ops.Where(ops.Equal(numbers, found), updates, _neutral(updates, "max"))
        new = build.reshape(ops.Reduce(chosen, "max", (2,)), shape)
        return ops.Where(
            ops.LessEqual(build.constant(0, I32), build.reshape(found, shape)), new, data
        )
    function, combine = _FUNCTIONS[reduction]
    wide = build.cast(updates, compute_dtype(updates.dtype))
    parts = ops.Reduce(ops.Where(hit, wide, _neutral(wide, function)), function, (2,))
    total = combine(build.cast(data, wide.dtype), build.reshape(parts, shape))
    return build.cast(total, data.dtype)


def _moved(data: Op, at: np.ndarray[Any, Any], updates: Op) -> Op:
    """Updates at known indices: elements taken from data and updates laid end to end."""
    before, extent, after = data.shape
    table_size(data.type.size)
    outer, inner = np.arange(before)[:, None, None], np.arange(after)
    flat = ((outer * extent + at) * after + inner).reshape(-1)
    both = build.concat([build.reshape(data, (data.type.size,)),
                         build.reshape(updates, (updates.type.size,))], 0)  # fmt: skip
    return build.reshape(take(both, 0, _sources(data.type.size, flat)), data.shape)


def _sources(extent: int, at: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where each element comes from: an update, counted on from the end of data, or data itself."""
    found = np.arange(extent)
    found[at] = extent + np.arange(at.size)
    return found


def _few_pairs(*extents: int) -> None:
    pairs = math.prod(extents)
    if pairs > PAIRS:
        raise NotExpressible(
            f"{pairs:,} comparisons of places with indices, and the host is faster beyond {PAIRS:,}"
        )


def _numbers(count: int) -> Op:
    return build.constant(np.arange(count), I32)


def _apart(x: Op, axis: int) -> Op:
    return build.expand_dims(x, [axis])


def _neutral(like: Op, function: Function) -> Op:
    if function in {"sum", "prod"}:
        return build.scalar(like, int(function == "prod"))
    if is_float(like.dtype):
        return build.scalar(like, -np.inf if function == "max" else np.inf)
    return build.scalar(like, (lowest if function == "max" else highest)(like.dtype))


__all__: Sequence[str] = ("scattered",)
