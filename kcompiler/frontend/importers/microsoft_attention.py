"""Attention and embeddings of onnxruntime (com.microsoft), as its transformer optimizer writes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import plus, table_size
from kcompiler.frontend.importers.quantized import integer_product
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.schemas import MICROSOFT
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BOOL, I64


@onnx_op("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(node: Node) -> list[Op | None]:
    """Attention of projected queries to keys and values, which may come with a cache."""
    query, key, value = node[0], node.get(1), node.get(2)
    if key is None or value is None or key.type.rank == 5:
        raise NotExpressible("MultiHeadAttention with packed operands")
    if node.get(8) is not None or node.wants(3):
        raise NotExpressible("MultiHeadAttention with a shared buffer or its scores")
    heads, bias = node.integer("num_heads"), node.get(3)
    widths = [query.shape[-1], query.shape[-1], value.shape[-1] if value.type.rank == 3 else 0]
    begin, parts = 0, []
    for x, width in zip((query, key, value), widths, strict=True):
        part = None if bias is None else build.slice_axis(bias, 0, begin, width)
        parts.append(_heads(x, part, heads))
        begin += width
    q, k, v = parts
    past_k, past_v = node.get(6), node.get(7)
    if past_k is not None and past_v is not None:
        k, v = build.concat([past_k, k], 2), build.concat([past_v, v], 2)
    mask = _mask(node, node.get(4), node.get(5), q, k)
    return [joined(_attention(node, q, k, v, mask)), k, v, None]


@onnx_op("Attention", domain=MICROSOFT)
def attention(node: Node) -> list[Op | None]:
    """Projection to queries, keys and values, and attention."""
    if node.get(6) is not None or node.flag("do_rotary"):
        raise NotExpressible("Attention with a shared buffer or with rotation")
    projected = plus(build.matmul(node[0], node[1]), node.get(2))
    widths = node.integers("qkv_hidden_sizes", (projected.shape[-1] // 3,) * 3)
    return _projected(node, projected, widths, keys=node.get(3), past=node.get(4), bias=node.get(5))


@onnx_op("QAttention", domain=MICROSOFT)
def q_attention(node: Node) -> list[Op | None]:
    """Projection of integers, exact and scaled, and attention."""
    if node.flag("past_present_share_buffer") or node.flag("do_rotary"):
        raise NotExpressible("QAttention with a shared buffer or with rotation")
    sums = integer_product(node[0], node.get(6), node[1], node.get(7))
    scale = ops.Mul(build.reshape(node[3], ()), node[4])
    projected = ops.Add(ops.Mul(build.cast(sums, scale.dtype), scale), node[2])
    widths = (projected.shape[-1] // 3,) * 3
    return _projected(node, projected, widths, keys=node.get(5), past=node.get(8), bias=None)


def _projected(
    node: Node,
    projected: Op,
    widths: Sequence[int],
    *,
    keys: Op | None,
    past: Op | None,
    bias: Op | None,
) -> list[Op | None]:
    """Attention of queries, keys and values that lie side by side."""
    starts, heads = (0, widths[0], widths[0] + widths[1]), node.integer("num_heads")
    q, k, v = (
        _heads(build.slice_axis(projected, 2, start, size), None, heads)
        for start, size in zip(starts, widths, strict=True)
    )
    if past is not None:
        before = [build.squeeze(build.slice_axis(past, 0, i, 1), [0]) for i in (0, 1)]
        k, v = build.concat([before[0], k], 2), build.concat([before[1], v], 2)
    present = build.concat([build.expand_dims(t, [0]) for t in (k, v)], 0)
    mask = _mask(node, keys, bias, q, k)
    return [joined(_attention(node, q, k, v, mask)), present if node.wants(1) else None]


@onnx_op("RotaryEmbedding", domain=MICROSOFT)
def rotary_embedding(node: Node) -> Op:
    """Pairs of numbers turned by the angles of their positions, from tables."""
    if node.flag("is_packed_batching") or node.number("scale", 1.0) != 1:
        raise NotExpressible("RotaryEmbedding with packed batches or a scale")
    x, cos, sin = node[0], node[2], node[3]
    size = 2 * cos.shape[1]
    batch, length = (x.shape[0], x.shape[1]) if x.type.rank == 3 else (x.shape[0], x.shape[2])
    if x.type.rank == 3:  # [batch, length, heads * depth]
        heads = node.integer("num_heads", 0)
        partial = node.integer("rotary_embedding_dim", 0)
        depth = x.shape[2] // heads if heads else size
        if partial and not heads:
            raise NotExpressible("RotaryEmbedding of a part without num_heads")
        apart = build.reshape(x, (batch, length, x.shape[2] // depth, depth))
    else:  # [batch, heads, length, depth]
        apart = build.transpose(x, (0, 2, 1, 3))
    positions = build.cast(node[1], I64)
    if positions.type.size == 1 and length * batch > 1:
        steps = build.constant(np.arange(length), I64)
        positions = ops.Add(build.reshape(positions, ()), steps)
    whole = rotated(apart, positions, cos, sin, interleaved=node.flag("interleaved"))
    back = whole if x.type.rank == 3 else build.transpose(whole, (0, 2, 1, 3))
    return build.reshape(back, x.shape)


def rotated(x: Op, positions: Op, cos: Op, sin: Op, *, interleaved: bool) -> Op:
    """[batch, length, heads, depth] turned at positions that tables have angles for.

    Positions are [batch, length] or [length]. What lies behind twice the tables' width stays.
    """
    size = 2 * cos.shape[1]
    cos, sin = (build.expand_dims(build.gather(t, positions, 0), [-2]) for t in (cos, sin))
    turned = _turned(build.slice_axis(x, 3, 0, size), cos, sin, interleaved)
    rest = x.shape[3] - size
    return build.concat([turned, build.slice_axis(x, 3, size, rest)], 3) if rest else turned


def _turned(x: Op, cos: Op, sin: Op, interleaved: bool) -> Op:
    """Pairs are neighbours, or one of each half."""
    half = x.shape[-1] // 2
    step = 2 if interleaved else 1
    first = build.slice_axis(x, -1, 0, half, step)
    second = build.slice_axis(x, -1, 1 if interleaved else half, half, step)
    parts = (
        ops.Sub(ops.Mul(first, cos), ops.Mul(second, sin)),
        ops.Add(ops.Mul(second, cos), ops.Mul(first, sin)),
    )
    if not interleaved:
        return build.concat(parts, -1)
    pairs = build.concat([build.expand_dims(part, [-1]) for part in parts], -1)
    return build.reshape(pairs, x.shape)


@onnx_op("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_normalization(node: Node) -> list[Op | None]:
    """Words, positions and segments from tables, added and normalized; also how long rows are."""
    ids, positions = node[0], node.get(8)
    if node.integer("mask_index_type", 0):
        raise NotExpressible("EmbedLayerNormalization with another mask index")
    words = build.gather(node[2], ids, 0)
    if positions is None:
        table = build.slice_axis(node[3], 0, 0, ids.shape[1])
        total = ops.Add(words, table)
    else:
        total = ops.Add(words, build.gather(node[3], positions, 0))
    segments, table_of_segments = node.get(1), node.get(4)
    if segments is not None and table_of_segments is not None:
        total = ops.Add(total, build.gather(table_of_segments, segments, 0))
    y = ops.LayerNorm(total, node[5], node[6], (2,), node.number("epsilon", 1e-12))
    mask, small = node.get(7), np.dtype(np.int32)
    length: Op = build.constant(np.zeros(ids.shape[0]), small)
    if mask is not None:
        length = build.squeeze(build.reduce_sum(build.cast(mask, small), [1]), [1])
    return [y, length, total]


def _heads(x: Op, bias: Op | None, heads: int) -> Op:
    """[batch, length, width] as [batch, heads, length, depth]; what is apart has its bias."""
    if x.type.rank == 4:
        return x
    batch, length, width = x.shape
    apart = build.reshape(plus(x, bias), (batch, length, heads, width // heads))
    return build.transpose(apart, (0, 2, 1, 3))


def joined(y: Op) -> Op:
    """[batch, heads, length, depth] as [batch, length, width]."""
    moved = build.transpose(y, (0, 2, 1, 3))
    return build.reshape(moved, (*moved.shape[:2], math.prod(moved.shape[2:])))


def _attention(node: Node, q: Op, k: Op, v: Op, mask: Op | None) -> Op:
    scale = node.number("scale", 0.0) or 1 / math.sqrt(q.shape[-1])
    return ops.Attention(q, k, v, mask, scale)


def _mask(node: Node, keys: Op | None, bias: Op | None, q: Op, k: Op) -> Op | None:
    """What is added to the scores: a bias, what hides padded keys, and what hides the future."""
    mask, batch, rows, columns = bias, q.shape[0], q.shape[2], k.shape[2]
    if keys is not None:
        seen = _seen(keys, batch, rows, columns)
        hidden = build.constant(node.number("mask_filter_value", -10000.0), q.dtype)
        padding = ops.Where(seen, build.scalar(q, 0), hidden)
        mask = padding if mask is None else ops.Add(mask, padding)
    if node.flag("unidirectional"):
        table_size(rows, columns)
        future = np.arange(columns) > np.arange(rows)[:, None] + columns - rows
        fixed = build.constant(np.where(future, -np.inf, 0.0), q.dtype)
        mask = fixed if mask is None else ops.Add(mask, fixed)
    return mask


def _seen(keys: Op, batch: int, rows: int, columns: int) -> Op:
    """Which keys count: a flag for each, for each query, or how many from the left."""
    if keys.shape == (batch, columns):
        return build.reshape(build.cast(keys, BOOL), (batch, 1, 1, columns))
    if keys.shape == (batch, rows, columns):
        return build.reshape(build.cast(keys, BOOL), (batch, 1, rows, columns))
    if keys.shape == (batch,):
        place = build.constant(np.arange(columns), I64)
        return ops.Less(place, build.reshape(build.cast(keys, I64), (batch, 1, 1, 1)))
    raise NotExpressible(f"a key mask {keys.type} for {batch} rows of {columns} keys")
