"""Attention against onnxruntime and against what ONNX says it means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from kcompiler.frontend import load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.operators import Attention
from tests.frontend.oracle import floats, one


def check(operands: list[Any], results: int = 1, opset: int = 24, **attributes: Any) -> list[str]:
    """Compare with the reference of the standard; the kinds of nodes made."""
    proto, feeds = one("Attention", operands, opset=opset, results=results, **attributes)
    graph = load_model(proto).graph
    ours = run_graph(graph, feeds)
    for name, theirs in zip(ours, ReferenceEvaluator(proto).run(None, feeds), strict=True):
        np.testing.assert_allclose(ours[name], theirs, 1e-5, 1e-5)
    return [type(n).__name__ for n in graph.nodes]


def qkv(heads: int = 4, kv: int = 4, rows: int = 3, columns: int = 5) -> list[Any]:
    q = floats(2, heads, rows, 6)
    return [q, floats(2, kv, columns, 6, seed=1), floats(2, kv, columns, 7, seed=2)]


def test_plain() -> None:
    assert "Attention" in check(qkv())
    assert "Attention" in check(qkv(), scale=0.3)
    assert "Attention" in check(qkv(kv=2))


def test_three_dimensions() -> None:
    q, k, v = floats(2, 3, 24), floats(2, 5, 12, seed=1), floats(2, 5, 14, seed=2)
    assert "Attention" in check([q, k, v], q_num_heads=4, kv_num_heads=2)


@pytest.mark.parametrize("mask", [floats(3, 5) * 3, floats(2, 1, 3, 5), floats(3, 5) > -0.5])
def test_masks(mask: Any) -> None:
    assert "Attention" in check([*qkv(), mask])


def test_a_row_that_sees_nothing_is_zero() -> None:
    mask = np.ones((3, 5), bool)
    mask[1] = False
    check([*qkv(), mask])


@pytest.mark.parametrize("opset", [23, 24])
def test_causal(opset: int) -> None:
    assert check(qkv(), is_causal=1, opset=opset).count("Attention") == 1
    check([*qkv(), floats(3, 5)], is_causal=1, opset=opset)


def test_cache() -> None:
    past = [floats(2, 4, 2, 6, seed=3), floats(2, 4, 2, 7, seed=4)]
    check([*qkv(columns=3), None, *past], results=3, is_causal=1)
    check([*qkv(columns=3), floats(3, 5), *past], results=3)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_soft_cap_and_logits(mode: int) -> None:
    kinds = check(qkv(), softcap=2.0)
    assert Attention.__name__ not in kinds
    cap = (
        2.0 if mode else 0.0
    )  # mode 0 is before the cap; onnx 1.23's reference caps it all the same
    operands = [*qkv(), floats(3, 5)]
    options: dict[str, Any] = {"softcap": cap, "qk_matmul_output_mode": mode}
    proto, feeds = one("Attention", operands, opset=24, results=4, **options)
    for i in (2, 1):
        proto.graph.node[0].output[i] = ""
        del proto.graph.output[i]
    ours = run_graph(load_model(proto).graph, feeds)
    for name, theirs in zip(ours, ReferenceEvaluator(proto).run(None, feeds), strict=True):
        np.testing.assert_allclose(ours[name], theirs, 1e-5, 1e-5)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding_is_inlined(interleaved: int) -> None:
    x = floats(2, 4, 3, 8)
    positions = np.array([[0, 1, 2], [4, 5, 6]])
    operands = [x, floats(10, 4, seed=1), floats(10, 4, seed=2), positions]
    proto, feeds = one("RotaryEmbedding", operands, [1, 2], 23, interleaved=interleaved)
    ours = run_graph(load_model(proto).graph, feeds)["y0"]
    expected: list[Any] = list(ReferenceEvaluator(proto).run(None, feeds))
    np.testing.assert_allclose(ours, expected[0], 1e-5, 1e-5)
