"""LSTM, GRU and RNN against onnxruntime, with all their options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.frontend import load_model
from kcompiler.graph.operators import Contract
from tests.frontend.oracle import agree, floats, one

SEQUENCE, BATCH, INPUT, HIDDEN = 4, 3, 2, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
NAMES = ["Sigmoid", "Tanh", "Relu", "LeakyRelu", "HardSigmoid", "Softsign", "Elu", "Affine"]


def operands(op_type: str, directions: int) -> list[Any]:
    gates = GATES[op_type] * HIDDEN
    given_ = [
        floats(SEQUENCE, BATCH, INPUT),
        floats(directions, gates, INPUT, seed=1),
        floats(directions, gates, HIDDEN, seed=2) / 2,
        floats(directions, 2 * gates, seed=3),
        None,
        floats(directions, BATCH, HIDDEN, seed=4),
    ]
    if op_type == "LSTM":
        given_ += [
            floats(directions, BATCH, HIDDEN, seed=5),
            floats(directions, 3 * HIDDEN, seed=6),
        ]
    return given_


@given(st.data(), st.sampled_from(["LSTM", "GRU", "RNN"]))
def test_recurrence(data: st.DataObject, op_type: str) -> None:
    direction = data.draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    directions = 2 if direction == "bidirectional" else 1
    tensors = operands(op_type, directions)
    for optional in range(3, len(tensors)):
        if data.draw(st.booleans()):
            tensors[optional] = None
    if data.draw(st.booleans()):
        tensors[4] = np.array([2, 4, 1], np.int32)
    attributes: dict[str, Any] = {"direction": direction, "hidden_size": HIDDEN}
    if op_type == "GRU":
        attributes["linear_before_reset"] = data.draw(st.integers(0, 1))
    if op_type == "LSTM":
        attributes["input_forget"] = data.draw(st.integers(0, 1))
    known = [i for i in (1, 2, 3, 7) if i < len(tensors) and tensors[i] is not None]
    results = 3 if op_type == "LSTM" else 2
    agree(*one(op_type, tensors, known, 14, results, **attributes), rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("op_type", GATES)
def test_activations(op_type: str, name: str) -> None:
    tensors = operands(op_type, 1)[:4]
    names = [name] * ACTIVATIONS[op_type]
    attributes: dict[str, Any] = {"activations": names, "hidden_size": HIDDEN}
    if name in {"LeakyRelu", "HardSigmoid", "Elu", "Affine"}:
        attributes["activation_alpha"] = [0.3] * len(names)
    if name in {"HardSigmoid", "Affine"}:
        attributes["activation_beta"] = [0.4] * len(names)
    agree(*one(op_type, tensors, [1, 2, 3], 14, **attributes), rtol=1e-4)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("op_type", GATES)
def test_clip(op_type: str, direction: str) -> None:
    tensors = operands(op_type, 1 + (direction == "bidirectional"))[:4]
    attributes: dict[str, Any] = {"clip": 0.3, "hidden_size": HIDDEN, "direction": direction}
    agree(*one(op_type, tensors, [1, 2, 3], 14, **attributes), rtol=1e-4)


def test_batch_first() -> None:
    """Onnxruntime has no layout 1: the same numbers in the other order must come out."""
    from kcompiler.graph.interpreter import run_graph

    tensors = operands("GRU", 2)
    first, feeds = one(
        "GRU", tensors, [1, 2, 3], 14, 2, direction="bidirectional", hidden_size=HIDDEN
    )
    swapped = [np.swapaxes(tensors[0], 0, 1), *tensors[1:5], np.swapaxes(tensors[5], 0, 1)]
    second, other = one(
        "GRU", swapped, [1, 2, 3], 14, 2, direction="bidirectional", hidden_size=HIDDEN, layout=1
    )
    a = run_graph(load_model(first).graph, feeds)
    b = run_graph(load_model(second).graph, other)
    np.testing.assert_array_equal(a["y0"].transpose(2, 0, 1, 3), b["y0"])
    np.testing.assert_array_equal(a["y1"].transpose(1, 0, 2), b["y1"])


def test_input_projection_is_one_contraction() -> None:
    proto, _ = one("LSTM", operands("LSTM", 1)[:4], [1, 2, 3], 14, hidden_size=HIDDEN)
    contractions = [n for n in load_model(proto).graph.nodes if isinstance(n, Contract)]
    assert len(contractions) == SEQUENCE  # the first state is 0, and its product known
