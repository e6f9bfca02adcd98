"""Attention as one graph operator where its options allow, else written out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import table_size
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BOOL, compute_dtype


@dataclass(frozen=True)
class _Heads:
    """Queries, keys and values as [batch, heads, length, depth]."""

    q: Op
    k: Op
    v: Op
    past: int


@onnx_op("Attention")
def attention(node: Node) -> list[Op | None]:
    """Multi-head, grouped or multi-query attention, with a cache, masks and a causal limit."""
    if node.get(6) is not None:
        raise NotExpressible("Attention with padded keys")
    heads = _heads(node)
    mask, open_rows = _mask(node, heads)
    scale = node.number("scale", 1 / math.sqrt(heads.q.shape[-1]))
    k, v = (repeated(t, heads.q.shape[1]) for t in (heads.k, heads.v))
    if node.number("softcap", 0.0) or node.wants(3):
        y, logits = _written_out(node, (heads.q, k, v), mask, open_rows, scale)
    else:
        y, logits = ops.Attention(heads.q, k, v, mask, scale), None
    if open_rows is not None:
        y = ops.Where(open_rows, y, build.scalar(y, 0))
    if node[0].type.rank == 3:
        moved = build.transpose(y, (0, 2, 1, 3))
        y = build.reshape(moved, (*moved.shape[:2], math.prod(moved.shape[2:])))
    return [y, heads.k, heads.v, logits]


def _heads(node: Node) -> _Heads:
    q, k, v = (node[i] for i in range(3))
    if q.type.rank == 3:
        q = _split(q, node.integer("q_num_heads"))
        k, v = (_split(t, node.integer("kv_num_heads")) for t in (k, v))
    past_k, past_v = node.get(4), node.get(5)
    past = 0
    if past_k is not None and past_v is not None:
        past = past_k.shape[2]
        k, v = build.concat([past_k, k], 2), build.concat([past_v, v], 2)
    return _Heads(q, k, v, past)


def _split(x: Op, heads: int) -> Op:
    batch, length, width = x.shape
    return build.transpose(build.reshape(x, (batch, length, heads, width // heads)), (0, 2, 1, 3))


def repeated(x: Op, heads: int) -> Op:
    """Each head of keys or values for its group of queries."""
    batch, own, length, depth = x.shape
    if own == heads:
        return x
    apart = build.reshape(x, (batch, own, 1, length, depth))
    full = build.broadcast(apart, (batch, own, heads // own, length, depth))
    return build.reshape(full, (batch, heads, length, depth))


def _mask(node: Node, heads: _Heads) -> tuple[Op | None, Op | None]:
    """What is added to the logits, and which rows may look at anything (None: all may)."""
    given, rows, columns = node.get(3), heads.q.shape[2], heads.k.shape[2]
    mask = None if given is None else _additive(given, heads.q, columns)
    table_size(rows, columns)
    seen = _visible(node, rows, columns, heads.past)
    if not seen.all():
        fixed = build.constant(np.where(seen, 0.0, -np.inf), heads.q.dtype)
        mask = fixed if mask is None else ops.Add(mask, fixed)
    if mask is None or (given is None and seen.any(1).all()):
        return mask, None
    never = build.scalar(mask, -np.inf)
    return mask, ops.Less(never, build.reduce_max(mask, [-1]))


def _visible(
    node: Node, rows: int, columns: int, past: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which key each query may look at: none of the future, none beyond the window."""
    ahead = np.arange(columns) - (np.arange(rows)[:, None] + past)
    left, right = node.integer("left_window_size", -1), node.integer("right_window_size", -1)
    seen = ahead <= (0 if node.flag("is_causal") else columns)
    seen &= ahead >= (-left if left >= 0 else -rows - past)
    return np.asarray(seen & (ahead <= (right if right >= 0 else columns)))


def _additive(mask: Op, like: Op, columns: int) -> Op:
    """A mask as numbers to add; missing columns are hidden."""
    if mask.dtype == BOOL:
        hidden = build.scalar(like, -np.inf)
        mask = ops.Where(mask, build.scalar(like, 0), hidden)
    mask = build.cast(mask, like.dtype)
    missing = columns - mask.shape[-1]
    none = (0,) * mask.type.rank
    return build.pad(mask, none, (*none[:-1], max(missing, 0)), -np.inf)


def _written_out(
    node: Node,
    operands: tuple[Op, Op, Op],
    mask: Op | None,
    open_rows: Op | None,
    scale: float,
) -> tuple[Op, Op | None]:
    """softmax(softcap(q k scale) + mask) v, and the logits at the stage that the node asks for."""
    narrow = operands[0].dtype
    q, k, v = (build.cast(t, compute_dtype(narrow)) for t in operands)
    raw = build.matmul(ops.Mul(q, build.scalar(q, scale)), build.swap_axes(k, -1, -2))
    capped, softcap = raw, node.number("softcap", 0.0)
    if softcap:
        limit = build.scalar(capped, softcap)
        capped = ops.Mul(ops.Tanh(ops.Div(capped, limit)), limit)
    masked = capped if mask is None else ops.Add(capped, build.cast(mask, q.dtype))
    weights: Op = ops.Softmax(masked, masked.type.rank - 1)
    if open_rows is not None:
        weights = ops.Where(open_rows, weights, build.scalar(weights, 0))
    y = build.cast(build.matmul(weights, v), narrow)
    stages = (raw, capped, masked, weights)
    stage = stages[node.integer("qk_matmul_output_mode", 0)]
    return y, build.cast(stage, narrow) if node.wants(3) else None
