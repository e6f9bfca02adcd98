"""Attention of groups of queries, with caches, as onnxruntime computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kcompiler
from kcompiler.errors import ModelError
from kcompiler.frontend import load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array
from tests.frontend.oracle import MICROSOFT, agree, floats, hosts, on_host, on_onnxruntime, one

HEADS, GROUPS, DEPTH = 4, 2, 16
COS, SIN = (f(np.outer(np.arange(32), 0.7 ** np.arange(DEPTH // 2))).astype(np.float32)
            for f in (np.cos, np.sin))  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {}, {"scale": 0.3}, {"softcap": 1.5}, {"local_window_size": 3}, {"smooth_softmax": 1},
    {"do_rotary": 1}, {"do_rotary": 1, "rotary_interleaved": 1}, {"causal": 0},
    {"softcap": 2.0, "local_window_size": 2, "smooth_softmax": 1, "do_rotary": 1},
]  # fmt: skip


def i32(*values: int) -> Array:
    return np.array(values, np.int32)


def operands(
    batch: int, new: int, room: int, lasts: list[int], total: int, *, packed: bool = False,
    **more: Any,
) -> list[Array | None]:  # fmt: skip
    """Queries, keys, values, a cache of `room` rows, and what else is named."""
    q, k, v = (floats(batch, new, n * DEPTH, seed=n) for n in (HEADS, GROUPS, GROUPS + 10))
    v = v[..., : GROUPS * DEPTH]
    past = [floats(batch, GROUPS, room, DEPTH, seed=s) if room else None for s in (5, 6)]
    first = [np.concatenate((q, k, v), 2), None, None] if packed else [q, k, v]
    rest = [more.get(n) for n in ("cos", "sin", "positions", "bias", "sink")]
    found = [*first, *past, i32(*lasts), i32(total), *rest]
    while found and found[-1] is None:
        found.pop()
    return found


def made(
    given: list[Array | None], known: tuple[int, ...] = (6,), **attributes: Any
) -> tuple[Any, dict[str, Array]]:
    """A model of one node, and its inputs; with tables of angles where it rotates."""
    if attributes.get("do_rotary"):
        given = [*given, *[None] * (9 - len(given))]
        given[7], given[8] = COS, SIN
        known = (*known, 7, 8)
    many: dict[str, Any] = {"num_heads": HEADS, "kv_num_heads": GROUPS, "results": 3}
    return one("GroupQueryAttention", given, known, domain=MICROSOFT, **{**many, **attributes})


def check(given: list[Array | None], known: tuple[int, ...] = (6,), **attributes: Any) -> None:
    agree(*made(given, known, **attributes))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("known", [(6,), (5, 6)], ids=["data", "known"])
class TestOptions:
    def test_first_tokens(self, known: tuple[int, ...], options: dict[str, Any]) -> None:
        check(operands(2, 6, 0, [5, 5], 6), known, **options)
        check(operands(1, 6, 0, [5], 6, packed=True), known, **options)

    def test_a_token_more(self, known: tuple[int, ...], options: dict[str, Any]) -> None:
        check(operands(2, 1, 7, [7, 7], 8), known, **options)

    def test_tokens_more(self, known: tuple[int, ...], options: dict[str, Any]) -> None:
        check(operands(1, 3, 5, [7], 8), known, **options)

    def test_sequences_of_different_lengths(
        self, known: tuple[int, ...], options: dict[str, Any]
    ) -> None:
        compare(operands(2, 1, 7, [7, 4], 8), known, options, [8, 5])

    def test_room_behind(self, known: tuple[int, ...], options: dict[str, Any]) -> None:
        compare(operands(2, 1, 12, [7, 4], 8), known, options, [8, 5])
        compare(operands(1, 4, 12, [7], 8), known, options, [8])


def compare(
    given: list[Array | None], known: tuple[int, ...], options: dict[str, Any], sizes: list[int]
) -> None:
    """Results, and of the caches the rows that sequences have; others are unspecified, here 0."""
    proto, feeds = made(given, known, **options)
    imported = load_model(proto)
    assert not hosts(imported)
    ours, theirs = run_graph(imported.graph, feeds, on_host), on_onnxruntime(proto, feeds)
    assert np.isfinite(ours["y0"]).all()
    np.testing.assert_allclose(ours["y0"], theirs["y0"], 1e-5, 1e-5)
    for name in ("y1", "y2"):
        assert ours[name].shape == theirs[name].shape
        for b, size in enumerate(sizes):
            pair = ours[name][b, :, :size], theirs[name][b, :, :size]
            np.testing.assert_allclose(*pair, 1e-5, 1e-5)
            assert not ours[name][b, :, size:].any()


@pytest.mark.parametrize("softcap", [0.0, 1.5])
@pytest.mark.parametrize("shape", [(2, 4, 1, 8), (1, 1, 1, 8)])
def test_a_bias_and_a_sink(shape: tuple[int, ...], softcap: float) -> None:
    bias, sink = floats(*shape, seed=3), floats(HEADS, seed=4)
    check(operands(2, 1, 7, [7, 7], 8, bias=bias), softcap=softcap)
    check(operands(2, 1, 7, [7, 7], 8, sink=sink), softcap=softcap)
    check(operands(2, 1, 7, [7, 7], 8, bias=bias, sink=sink), softcap=softcap)


def test_positions_that_are_given() -> None:
    """Of the first tokens only where they begin counts."""
    later = np.array([[9], [3]])
    check(operands(2, 1, 7, [7, 7], 8, positions=later), do_rotary=1)
    begin = np.array([[2, 9, 9, 9, 9, 9]])
    check(operands(1, 6, 0, [5], 6, positions=begin), do_rotary=1)


def test_first_tokens_with_padding_behind() -> None:
    """Without a causal limit, padded keys are hidden; rows of padding are unspecified."""
    for options in ({}, {"causal": 0}):
        proto, feeds = made(operands(2, 6, 0, [5, 3], 6), (6,), **options)
        ours = run_graph(load_model(proto).graph, feeds, on_host)["y0"]
        theirs = on_onnxruntime(proto, feeds)["y0"]
        for b, size in enumerate((6, 4)):
            np.testing.assert_allclose(ours[b, :size], theirs[b, :size], 1e-5, 1e-5)


def test_half_the_numbers_are_rotated() -> None:
    given = [*operands(2, 1, 7, [7, 7], 8), COS[:, :8].copy(), SIN[:, :8].copy()]
    many: dict[str, Any] = {"num_heads": HEADS, "kv_num_heads": GROUPS, "domain": MICROSOFT}
    wide = [np.concatenate((x, x), 2) if x is not None and x.ndim == 3 else x for x in given[:3]]
    past = [floats(2, GROUPS, 7, 2 * DEPTH, seed=s) for s in (5, 6)]
    agree(
        *one(
            "GroupQueryAttention",
            [*wide, *past, *given[5:]],
            (6, 7, 8),
            do_rotary=1,
            results=3,
            **many,
        )
    )


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"results": 4, "qk_output": 1}, "GroupQueryAttention with its scores as a result"),
    ({"sliding_window_cache": 1, "local_window_size": 4},
     "GroupQueryAttention with a cache that evicts"),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "reason"), REFUSED, ids=lambda x: str(x)[:30])
def test_what_has_no_form_says_so(attributes: dict[str, Any], reason: str) -> None:
    proto, _ = made(operands(1, 1, 7, [7], 8), **attributes)
    (host,) = hosts(load_model(proto))
    assert reason in host.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("window", [0, 3])
def test_a_window_needs_an_order(window: int) -> None:
    """As in onnxruntime."""
    proto, feeds = made(operands(1, 1, 7, [7], 8), causal=0, local_window_size=window)
    with pytest.raises(ModelError) as error:
        load_model(proto)
    assert str(error.value) == (
        "error: GroupQueryAttention has causal=0 and a window\n"
        "  at: GroupQueryAttention_0\n"
        "  because: only attention to earlier tokens has a window\n"
        "  try: export it with causal=1, or leave local_window_size out"
    )
    with pytest.raises(Exception, match="local_window_size must be -1 when causal is 0"):
        on_onnxruntime(proto, feeds)


# New tokens, rows of the cache, all tokens, and where sequences end.
ENDS: list[tuple[int, int, int, list[int], str]] = [
    (1, 7, 8, [8], "8 in seqlens_k, the index of a sequence's last token, which is 0 to 7 here"),
    (1, 7, 8, [7, -1], "-1 in seqlens_k, the index of a sequence's last token, which is 0 to 7"),
    (1, 12, 8, [12], "12 in seqlens_k, the index of a sequence's last token, which is 0 to 11"),
    (3, 5, 8, [1], "1 in seqlens_k, the index of a sequence's last token, which is 2 to 7 here"),
    (6, 0, 6, [6], "6 in seqlens_k, the index of a sequence's last token, which is 0 to 5 here"),
]


@pytest.mark.parametrize(("new", "room", "total", "lasts", "reason"), ENDS)
def test_a_sequence_cannot_end_there(
    new: int, room: int, total: int, lasts: list[int], reason: str
) -> None:
    """Nor does onnxruntime take it."""
    proto, feeds = made(operands(len(lasts), new, room, lasts, total), (5, 6))
    (host,) = hosts(load_model(proto))
    assert f"GroupQueryAttention with {reason}" in host.reason  # type: ignore[attr-defined]
    with pytest.raises(Exception, match=r"out of range|too small"):
        on_onnxruntime(proto, feeds)


@pytest.mark.parametrize(
    ("new", "room", "lasts"), [(6, 0, [0, 5]), (3, 5, [2]), (3, 5, [7]), (1, 9, [0, 8])]
)
def test_where_a_sequence_may_end(new: int, room: int, lasts: list[int]) -> None:
    proto, feeds = made(operands(len(lasts), new, room, lasts, 8 if room else new), (5, 6))
    assert not hosts(load_model(proto))
    on_onnxruntime(proto, feeds)


def test_an_unknown_total_says_so() -> None:
    proto, feeds = made(operands(1, 1, 7, [7], 8), known=())
    (host,) = hosts(load_model(proto))
    assert "needs 'x6' to be known when compiling" in host.reason  # type: ignore[attr-defined]
    agree(proto, {k: v for k, v in feeds.items() if k != "x6"}, values={"x6": np.int32(8)})


@pytest.mark.parametrize("known", [(6,), (5, 6)], ids=["data", "known"])
def test_all_of_it_runs_on_the_npu(known: tuple[int, ...]) -> None:
    """Compiled, in float16; a sequence that is shorter than another."""
    options = {"do_rotary": 1, "softcap": 4.0, "smooth_softmax": 1, "local_window_size": 5}
    proto, feeds = made(operands(2, 1, 12, [7, 4], 8), known, **options)
    compiled = kcompiler.compile(proto, "rebel", strict=True)
    assert compiled.report().host_nodes == 0
    assert compiled.verify(feeds).ok
    ours, theirs = compiled.run(feeds), on_onnxruntime(proto, feeds)
    np.testing.assert_allclose(ours["y0"], theirs["y0"], 0.01, 0.01)
