"""Attention of groups of queries to one head of keys and values (com.microsoft), with a cache.

How many tokens a sequence has is an operand. Where it is known, new tokens are joined to the
cache; else they are put where they belong by rows that are gathered. Rows of queries, and of the
cache, that are beyond a sequence's end are unspecified in onnxruntime.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kcompiler.errors import ModelError
from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import table_size
from kcompiler.frontend.importers.attention import repeated
from kcompiler.frontend.importers.microsoft_attention import joined, rotated
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.frontend.schemas import MICROSOFT
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.types import I64, compute_dtype

_UNLIKE = {12: "a quantized cache", 13: "a quantized cache", 14: "normalized queries",
           15: "normalized keys", 16: "padded chunks of queries"}  # fmt: skip


@dataclass(frozen=True)
class _Lengths:
    """How many tokens there are.

    Of all sequences, `new` come with the node and `total` is the most there are with those of the
    cache. Before them stand `past` [batch], which is an array where it is known.
    """

    new: int
    total: int
    past: Array | Op

    @property
    def one(self) -> int | None:
        """What all sequences have before, if that is known and the same."""
        known = isinstance(self.past, np.ndarray) and len(set(self.past.tolist())) == 1
        return int(self.past[0]) if known and isinstance(self.past, np.ndarray) else None

    def positions(self) -> Op:
        """Of each new token: [batch, new]."""
        steps = np.arange(self.new)
        if isinstance(self.past, np.ndarray):
            return build.constant(self.past[:, None] + steps, I64)
        return ops.Add(build.expand_dims(self.past, [1]), build.constant(steps, I64))


@onnx_op("GroupQueryAttention", domain=MICROSOFT)
def group_query_attention(node: Node) -> list[Op | None]:
    """Attention with a cache, a window, rotation, a limit of the scores and a sink."""
    _check(node)
    q, k, v = _operands(node)
    lengths = _lengths(node, q)
    if node.flag("do_rotary"):
        places, tables = _places(node, lengths), (node[7], node[8])
        turn = node.flag("rotary_interleaved")
        q, k = (rotated(t, places, *tables, interleaved=turn) for t in (q, k))
    q, k, v = (build.transpose(t, (0, 2, 1, 3)) for t in (q, k, v))
    cache = [_cached(past, new, lengths) for past, new in ((node.get(3), k), (node.get(4), v))]
    k, v = (repeated(build.slice_axis(t, 2, 0, lengths.total), q.shape[1]) for t in cache)
    mask = _mask(node, lengths, q)
    scale = node.number("scale", 0.0) or 1 / math.sqrt(q.shape[-1])
    sink, softcap = _sink(node, q), node.number("softcap", 0.0)
    if sink is None and not softcap:
        y: Op = ops.Attention(q, k, v, mask, scale)
    else:
        scores = _scores(q, k, scale, softcap)
        y = _weighted(scores if mask is None else ops.Add(scores, _wide(mask)), v, sink)
    return [joined(y), *cache, None]


def _check(node: Node) -> None:
    """Raise `NotExpressible` for what has no form here, `ModelError` for what has no meaning."""
    for index, what in _UNLIKE.items():
        if node.get(index) is not None:
            raise NotExpressible(f"GroupQueryAttention with {what}")
    if node.flag("sliding_window_cache"):
        raise NotExpressible("GroupQueryAttention with a cache that evicts")
    if not node.flag("causal", True) and node.integer("local_window_size", -1) != -1:
        why = "only attention to earlier tokens has a window"
        fix = "export it with causal=1, or leave local_window_size out"
        raise ModelError("GroupQueryAttention has causal=0 and a window", node.name, why, fix)
    if node.wants(3) or node.integer("qk_output", 0):
        raise NotExpressible("GroupQueryAttention with its scores as a result")


def _operands(node: Node) -> tuple[Op, Op, Op]:
    """Queries, keys and values as [batch, length, heads, depth]; they may come in one tensor."""
    heads, groups = node.integer("num_heads"), node.integer("kv_num_heads")
    key, value = node.get(1), node.get(2)
    if key is not None and value is not None:
        parts = ((node[0], heads), (key, groups), (value, groups))
        q, k, v = (build.reshape(t, (*t.shape[:2], n, t.shape[2] // n)) for t, n in parts)
        return q, k, v
    batch, length, width = node[0].shape
    depth = width // (heads + 2 * groups)
    whole = build.reshape(node[0], (batch, length, heads + 2 * groups, depth))
    places = ((0, heads), (heads, groups), (heads + groups, groups))
    q, k, v = (build.slice_axis(whole, 2, start, size) for start, size in places)
    return q, k, v


def _lengths(node: Node, q: Op) -> _Lengths:
    batch, new = q.shape[:2]
    total = int(node.known(6).reshape(-1)[0])
    _check_lasts(node, new, total)
    if total == new:  # the first tokens of all sequences
        return _Lengths(new, total, np.zeros(batch, np.int64))
    last = node[5]
    if isinstance(last, Constant):
        return _Lengths(new, total, last.value.reshape(-1).astype(np.int64) + 1 - new)
    count = build.cast(build.reshape(last, (batch,)), I64)
    return _Lengths(new, total, ops.Add(count, build.constant(1 - new, I64)))


def _check_lasts(node: Node, new: int, total: int) -> None:
    """Raise `NotExpressible` where a known sequence ends where none can."""
    last, past = node[5], node.get(3)
    if not isinstance(last, Constant):
        return
    room = total if past is None else max(total, past.shape[2])
    least = 0 if total == new else new - 1
    wrong = next((n for n in last.value.reshape(-1).tolist() if not least <= n < room), None)
    if wrong is not None:
        raise NotExpressible(
            f"GroupQueryAttention with {wrong} in seqlens_k, the index of a sequence's last token, "
            f"which is {least} to {room - 1} here"
        )


def _places(node: Node, lengths: _Lengths) -> Op:
    """Where new tokens stand, for their rotation."""
    given = node.get(9)
    if given is None:
        return lengths.positions()
    if lengths.total != lengths.new:
        return given
    begin = build.slice_axis(build.reshape(given, (given.type.size,)), 0, 0, 1)
    return ops.Add(begin, build.constant(np.arange(lengths.new), I64))


def _cached(past: Op | None, new: Op, lengths: _Lengths) -> Op:
    """The cache with new tokens in their places, zeros behind: [batch, heads, length, depth]."""
    room = lengths.total if past is None else max(lengths.total, past.shape[2])
    if lengths.one is None:
        return _placed(past, new, lengths, room)
    parts = [new]
    if past is not None and lengths.one:
        parts.insert(0, build.slice_axis(past, 2, 0, lengths.one))
    found = build.concat(parts, 2)
    return build.pad(found, (0,) * 4, (0, 0, room - found.shape[2], 0), 0)


def _placed(past: Op | None, new: Op, lengths: _Lengths, room: int) -> Op:
    """Each row from the cache, from the new ones, or zero, by the sequences' lengths."""
    batch, heads, count, depth = new.shape
    parts = [new] if past is None else [past, new]
    rows = build.concat(
        [*parts, build.broadcast(build.scalar(new, 0), (batch, heads, 1, depth))], 2
    )
    size, before = rows.shape[2], rows.shape[2] - count - 1
    table_size(batch, room)
    place = build.constant(np.arange(room), I64)
    first = build.slice_axis(lengths.positions(), 1, 0, 1)
    ahead = ops.Sub(place, first)  # [batch, room]: from the first new row
    fresh = ops.Min(ops.Add(ahead, build.constant(before, I64)), build.constant(size - 1, I64))
    row = ops.Where(ops.Less(ahead, build.constant(0, I64)), place, fresh)
    base = build.constant(np.arange(batch)[:, None] * size, I64)
    flat = build.reshape(build.transpose(rows, (0, 2, 1, 3)), (batch * size, heads * depth))
    found = build.gather(flat, ops.Add(row, base), 0)
    return build.transpose(build.reshape(found, (batch, room, heads, depth)), (0, 2, 1, 3))


def _mask(node: Node, lengths: _Lengths, q: Op) -> Op | None:
    """What is added to the scores: a bias, and what hides other tokens."""
    bias, seen = node.get(10), _seen(node, lengths)
    hidden: Op | None = None
    if isinstance(seen, Op):
        hidden = ops.Where(seen, build.scalar(q, 0), build.scalar(q, -np.inf))
    elif not seen.all():
        hidden = build.constant(np.where(seen, 0.0, -np.inf), q.dtype)
    if bias is None or hidden is None:
        return hidden if bias is None else bias
    return ops.Add(bias, hidden)


def _seen(node: Node, lengths: _Lengths) -> Array | Op:
    """Which tokens each query looks at: [batch or 1, 1, new, total]."""
    table_size(lengths.new, lengths.total)
    columns, window = np.arange(lengths.total), node.integer("local_window_size", -1)
    if not node.flag("causal", True):
        return _within(node, columns)
    if isinstance(lengths.past, np.ndarray):
        same = lengths.past[:1] if lengths.one is not None else lengths.past
        ahead = columns - (same[:, None] + np.arange(lengths.new))[..., None]
        seen = (ahead <= 0) & (ahead > (-window if window > 0 else -lengths.total))
        return np.asarray(seen[:, None])
    at = build.expand_dims(lengths.positions(), [1, 3])
    place = build.constant(columns, I64)
    past = ops.LessEqual(place, at)
    if window <= 0:
        return past
    return ops.And(past, ops.Less(ops.Sub(at, build.constant(window, I64)), place))


def _within(node: Node, columns: Array) -> Array | Op:
    """Those that the sequences have: [batch, 1, 1, total]."""
    last = node[5]
    if isinstance(last, Constant):
        return np.asarray(columns <= last.value.reshape(-1, 1, 1, 1))
    count = build.reshape(build.cast(last, I64), (last.type.size, 1, 1, 1))
    return ops.LessEqual(build.constant(columns, I64), count)


def _sink(node: Node, q: Op) -> Op | None:
    """A score of each head that takes weight from all others: [batch, heads, new, 1]."""
    given = node.get(11)
    if given is None and not node.flag("smooth_softmax"):
        return None
    of_heads = build.scalar(q, 0) if given is None else build.reshape(given, (1, q.shape[1], 1, 1))
    return build.broadcast(_wide(of_heads), (*q.shape[:3], 1))


def _wide(x: Op) -> Op:
    return build.cast(x, compute_dtype(x.dtype))


def _scores(q: Op, k: Op, scale: float, softcap: float) -> Op:
    """Products of queries and keys, scaled, and bent to stay below softcap: in the wide type."""
    scaled = ops.Mul(_wide(q), build.scalar(_wide(q), scale))
    scores = build.matmul(scaled, build.swap_axes(_wide(k), -1, -2))
    if not softcap:
        return scores
    limit = build.scalar(scores, softcap)
    return ops.Mul(ops.Tanh(ops.Div(scores, limit)), limit)


def _weighted(scores: Op, v: Op, sink: Op | None) -> Op:
    """Values by the softmax of their scores, which shares with the sink."""
    columns = scores.shape[-1]
    if sink is not None:
        scores = build.concat([scores, sink], 3)
    weights = build.slice_axis(ops.Softmax(scores, 3), 3, 0, columns)
    return build.cast(build.matmul(weights, _wide(v)), v.dtype)
