"""Attention and embeddings of onnxruntime's transformer optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kcompiler.frontend import load_model
from tests.frontend.oracle import MICROSOFT, agree, floats, hosts, integers, one

Q, K, V = floats(2, 5, 16), floats(2, 7, 16, seed=1), floats(2, 7, 16, seed=2)


def check(op_type: str, operands: list[Any], known: list[int] | None = None, results: int = 1,
          **attributes: Any) -> None:  # fmt: skip
    agree(*one(op_type, operands, known or [], results=results, domain=MICROSOFT, **attributes))


def test_multi_head_attention() -> None:
    check("MultiHeadAttention", [Q, K, V], num_heads=4)
    check("MultiHeadAttention", [Q, K, V], num_heads=2, scale=0.3)
    check("MultiHeadAttention", [Q, K, V, floats(48)], num_heads=4)


def test_keys_and_values_that_are_apart_already() -> None:
    """A bias is for the queries then: theirs is in them."""
    apart = [Q, floats(2, 4, 7, 4, seed=1), floats(2, 4, 7, 4, seed=2)]
    check("MultiHeadAttention", apart, num_heads=4)
    check("MultiHeadAttention", [*apart, floats(48, seed=3)], num_heads=4)


@pytest.mark.parametrize("kind", ["flags", "lengths"])
def test_padded_keys(kind: str) -> None:
    lengths = np.array([7, 4], np.int32)
    flags = (np.arange(7) < lengths[:, None]).astype(np.int32)
    check("MultiHeadAttention", [Q, K, V, None, flags if kind == "flags" else lengths], num_heads=4)


def test_a_bias_of_the_scores_and_a_cache() -> None:
    past = floats(2, 4, 3, 4, seed=3)
    check("MultiHeadAttention", [Q, K, V, None, None, floats(1, 4, 5, 7)], num_heads=4)
    check("MultiHeadAttention", [Q, K, V, None, None, None, past, past + 1], results=3, num_heads=4)


def test_only_what_came_before() -> None:
    same = [Q, floats(2, 5, 16, seed=1), floats(2, 5, 16, seed=2)]
    check("MultiHeadAttention", same, num_heads=4, unidirectional=1)


def test_attention_with_its_projection() -> None:
    x, w, b = floats(2, 5, 12), floats(12, 48, seed=1), floats(48, seed=2)
    check("Attention", [x, w, b], [1, 2], num_heads=4)
    check("Attention", [x, w, b], [1, 2], num_heads=4, unidirectional=1)
    flags = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
    check("Attention", [x, w, b, flags], [1, 2], num_heads=4)
    check("Attention", [x, w, b, None, floats(2, 2, 4, 3, 4)], [1, 2], 2, num_heads=4)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved: int) -> None:
    cos, sin = floats(9, 4), floats(9, 4, seed=1)
    positions = np.array([[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]])
    three, four = floats(2, 5, 24), floats(2, 3, 5, 8)
    for x in (three, four):
        check("RotaryEmbedding", [x, positions, cos, sin], interleaved=interleaved)
        check("RotaryEmbedding", [x, np.array([2]), cos, sin], interleaved=interleaved)
    operands = [three, positions, cos, sin]
    check("RotaryEmbedding", operands, interleaved=interleaved, num_heads=2, rotary_embedding_dim=8)


def test_embed_layer_normalization() -> None:
    ids = integers(0, 11, 2, 5, dtype="int32")
    segments = integers(0, 2, 2, 5, dtype="int32", seed=1)
    tables = [floats(11, 8), floats(6, 8, seed=1), floats(2, 8, seed=2)]
    scale = [floats(8, seed=3), floats(8, seed=4)]
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], np.int32)
    known = [2, 3, 4, 5, 6]
    check("EmbedLayerNormalization", [ids, segments, *tables, *scale, mask], known, 2)
    check("EmbedLayerNormalization", [ids, segments, *tables, *scale], known, 2)
    operands = [ids, None, *tables[:2], None, *scale]
    check("EmbedLayerNormalization", operands, [2, 3, 5, 6], 2)


QX = integers(0, 256, 2, 5, 12, dtype="uint8")
QW = integers(-128, 128, 12, 48, dtype="int8", seed=1)
SCALES = [floats(48, seed=2), np.float32(0.02), np.abs(floats(48, seed=3)) * np.float32(0.01)]
ZEROS = [np.uint8(121), np.zeros(48, np.int8)]


def q_attention(*operands: Any, results: int = 1, **attributes: Any) -> None:
    given = [np.asarray(x) if x is not None else None for x in (QX, QW, *SCALES, *operands)]
    weights = [i for i in (1, 2, 3, 4, 6, 7) if i < len(given) and given[i] is not None]
    check("QAttention", given, weights, results, num_heads=4, **attributes)


def test_attention_with_a_projection_of_integers() -> None:
    """One scale for each column of the weights; what hides keys, and the future."""
    flags = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
    for keys in (None, flags, np.array([5, 3], np.int32)):
        q_attention(keys, *ZEROS)
    q_attention(None, *ZEROS, unidirectional=1)
    q_attention(None, *ZEROS, scale=0.4)


def test_attention_of_integers_with_a_cache() -> None:
    q_attention(None, *ZEROS, floats(2, 2, 4, 3, 4, seed=4), results=2)
    q_attention(None, *ZEROS, floats(2, 2, 4, 3, 4, seed=4), results=2, unidirectional=1)


def test_attention_of_integers_with_one_scale() -> None:
    one_scale = [SCALES[0], SCALES[1], np.float32(0.01)]
    given = [np.asarray(x) for x in (QX, QW, *one_scale)]
    check("QAttention", [*given, None, ZEROS[0], np.int8(-3)], [1, 2, 3, 4, 6, 7], num_heads=4)


def test_attention_of_integers_that_shares_a_buffer_says_so() -> None:
    given: list[Any] = [np.asarray(x) for x in (QX, QW, *SCALES)]
    given += [None, *map(np.asarray, ZEROS), floats(2, 2, 4, 9, 4)]
    proto, _ = one("QAttention", given, [1, 2, 3, 4, 6, 7], domain=MICROSOFT, num_heads=4,
                   past_present_share_buffer=1)  # fmt: skip
    (host,) = hosts(load_model(proto))
    assert "QAttention with a shared buffer" in host.reason  # type: ignore[attr-defined]
