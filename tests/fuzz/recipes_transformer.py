"""Attention, rotation and embeddings in the form of onnxruntime's transformer optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fuzz.maker import F32, I8, I32, U8, Maker
from tests.fuzz.recipe import recipe


@recipe("MultiHeadAttention")
def multi_head(m: Maker, operator: str) -> None:
    batch, heads, size = m.one(1, 2), m.one(1, 2), m.one(2, 4)
    rows, columns = m.one(1, 2, 3), m.one(1, 2, 4)
    width = heads * size
    q = m.fresh(F32, (batch, rows, width))
    k, v = (m.fresh(F32, (batch, columns, width)) for _ in range(2))
    bias = m.fresh(F32, (3 * width,), weight=1) if m.flip() else None
    mask = None
    if m.flip(0.3):
        mask = m.given(np.asarray(m.array(I32, (batch, columns), "positive") > 2, np.int32))
    added = m.fresh(F32, (1, heads, rows, columns)) if m.flip(0.3) else None
    flags: dict[str, Any] = {"num_heads": heads} | m.maybe(scale=m.number(0.2, 1))
    results = [(F32, (batch, rows, width))]
    m.emit_microsoft(operator, [q, k, v, bias, mask, added], results, **flags)


@recipe("com.microsoft.Attention")
def attention(m: Maker, _: str) -> None:
    batch, heads, size, rows = m.one(1, 2), m.one(1, 2), m.one(2, 4), m.one(1, 2, 3)
    width = heads * size
    x = m.fresh(F32, (batch, rows, m.one(2, 3)))
    w = m.fresh(F32, (x.shape[2], 3 * width), weight=1)
    bias = m.fresh(F32, (3 * width,), weight=1)
    flags: dict[str, Any] = {"num_heads": heads} | m.maybe(unidirectional=m.below(0, 1))
    results = [(F32, (batch, rows, width))]
    m.emit_microsoft("Attention", [x, w, bias], results, **flags)


@recipe("QAttention")
def q_attention(m: Maker, operator: str) -> None:
    batch, heads, size, rows = m.one(1, 2), m.one(1, 2), m.one(2, 4), m.one(1, 2, 3)
    width = heads * size
    x = m.fresh(U8, (batch, rows, m.one(2, 3)))
    w = m.fresh(I8, (x.shape[2], 3 * width), weight=1)
    bias = m.fresh(F32, (3 * width,), weight=1)
    columns = m.one((), (3 * width,))
    scales = [m.known(np.array(m.number(0.01, 0.02), np.float32))]
    scales.append(m.known(np.full(columns, m.number(0.01, 0.02), np.float32)))
    zeros = [m.known(np.array(m.below(0, 255), np.uint8)), m.known(np.zeros(columns, np.int8))]
    flags: dict[str, Any] = {"num_heads": heads} | m.maybe(unidirectional=m.below(0, 1))
    results = [(F32, (batch, rows, width))]
    m.emit_microsoft(operator, [x, w, bias, *scales, None, *zeros], results, **flags)


@recipe("GroupQueryAttention")
def group_query(m: Maker, operator: str) -> None:
    """First tokens, or one more of sequences of different lengths."""
    batch, groups, size = m.one(1, 2), m.one(1, 2), 16
    heads, first = groups * m.one(1, 2), m.flip()
    new, past = (m.one(1, 2, 5), 0) if first else (1, m.one(1, 4))
    q = m.fresh(F32, (batch, new, heads * size))
    k, v = (m.fresh(F32, (batch, new, groups * size)) for _ in range(2))
    caches = [None if first else m.fresh(F32, (batch, groups, past, size)) for _ in range(2)]
    total = new + past
    last = np.array([total - 1, *(m.below(0 if past else total - 1, total - 1),) * (batch - 1)])
    count = m.known(np.array(total, np.int32))
    lengths = m.one(m.given, m.known)(last.astype(np.int32))
    tables = [m.fresh(F32, (8, size // 2), "unit", 1) for _ in range(2)]
    flags: dict[str, Any] = {"num_heads": heads, "kv_num_heads": groups} | m.maybe(
        do_rotary=1, rotary_interleaved=m.below(0, 1), softcap=m.number(1, 3),
        local_window_size=m.below(1, 3), smooth_softmax=m.below(0, 1), scale=m.number(0.2, 1),
    )  # fmt: skip
    results = [(F32, (batch, new, heads * size))]
    m.emit_microsoft(operator, [q, k, v, *caches, lengths, count, *tables], results, **flags)


@recipe("com.microsoft.RotaryEmbedding")
def rotary(m: Maker, _: str) -> None:
    batch, heads, rows, size = m.one(1, 2), m.one(1, 2), m.one(1, 2, 3), m.one(2, 4)
    x = m.fresh(F32, (batch, heads, rows, size))
    places = np.array([[m.below(0, 6) for _ in range(rows)] for _ in range(batch)])
    tables = [m.fresh(F32, (7, size // 2), "unit", 1) for _ in range(2)]
    given = m.given(places) if m.flip() else m.known(places)
    results = [(F32, x.shape)]
    flags = m.maybe(interleaved=m.below(0, 1))
    m.emit_microsoft("RotaryEmbedding", [x, given, *tables], results, **flags)


@recipe("EmbedLayerNormalization")
def embed(m: Maker, operator: str) -> None:
    batch, rows, width, words = m.one(1, 2), m.one(1, 3), m.one(2, 4), 5
    rng = np.random.default_rng(m.random.getrandbits(32))
    ids = m.given(np.asarray(rng.integers(0, words, (batch, rows))).astype(np.int32))
    segments = m.given(np.asarray(rng.integers(0, 2, (batch, rows))).astype(np.int32))
    tables = [m.fresh(F32, (n, width), weight=1) for n in (words, 4, 2)]
    scales = [m.fresh(F32, (width,), weight=1) for _ in range(2)]
    mask = None
    if m.flip():
        flags = np.sort(np.asarray(rng.integers(0, 2, (batch, rows))), axis=1)[:, ::-1]
        mask = m.given(flags.astype(np.int32))
    results = [(F32, (batch, rows, width)), (I32, (batch,))]
    m.emit_microsoft(operator, [ids, segments, *tables, *scales, mask], results)
