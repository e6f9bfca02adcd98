"""Outputs that follow from random numbers cannot be compared; all others are."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

import kcompiler
from kcompiler.host import HostModel
from kcompiler.verify.random import random_outputs
from tests.runtime.models import model, node

FLOAT = TensorProto.FLOAT
X = [("x", FLOAT, [4, 64])]


def dropout(training: bool) -> bytes:
    """A dropped output, and one beside it that nothing random leads to."""
    nodes = [
        node("Dropout", "x rate train", "d"),
        node("Relu", "d", "y"),
        node("Tanh", "x", "z"),
    ]
    both = [("y", FLOAT, [4, 64]), ("z", FLOAT, [4, 64])]
    return model(nodes, X, both, rate=np.array(0.5, np.float32), train=np.array(training))


def test_what_is_random_is_said_and_the_rest_is_compared() -> None:
    made = kcompiler.compile(dropout(training=True))
    found = made.verify()
    assert found.ok
    assert found.random == ("y",)
    assert list(found.outputs) == ["z"]
    assert made.report().json()["verify"]["random"] == ["y"]


def test_a_wrong_output_beside_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference of both is changed: only one of them may differ."""
    made = kcompiler.compile(dropout(training=True))
    run = HostModel.run

    def wrong(self: HostModel, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = run(self, names, feeds)
        return [
            value + 9 if name == "z" else value for name, value in zip(names, found, strict=True)
        ]

    monkeypatch.setattr(HostModel, "run", wrong)
    found = made.verify()
    assert found.first_failure is not None
    assert "output 'z' agrees" in found.first_failure.text


def test_dropout_that_drops_nothing_is_compared() -> None:
    found = kcompiler.compile(dropout(training=False)).verify()
    assert found.ok
    assert not found.random
    assert set(found.outputs) == {"y", "z"}


def drawn(*nodes: NodeProto, **weights: np.ndarray) -> frozenset[str]:
    return random_outputs(model(list(nodes), X, [("y", FLOAT, [4, 64])], **weights))


@pytest.mark.parametrize("operator", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_operators_that_draw(operator: str) -> None:
    assert drawn(node(operator, "x", "r"), node("Add", "x r", "y")) == {"y"}
    assert drawn(node(operator, "x", "r"), node("Relu", "x", "y")) == frozenset()


def test_dropout_whose_mode_is_not_known() -> None:
    assert drawn(node("Dropout", "x rate mode", "y")) == {"y"}
    assert drawn(node("Dropout", "x", "y")) == frozenset()
    constant = helper.make_node("Constant", [], ["mode"], value=helper.make_tensor("v", 9, [], [0]))
    assert drawn(constant, node("Dropout", "x rate mode", "y")) == frozenset()


def test_inside_a_branch_and_a_function() -> None:
    inner = node("RandomNormal", "", "b", shape=[4, 64])
    inner.ClearField("input")
    branch = helper.make_graph(
        [inner], "g", [], [helper.make_tensor_value_info("b", FLOAT, [4, 64])]
    )
    choice = node("If", "c", "y", then_branch=branch, else_branch=branch)
    assert drawn(choice, c=np.array(True)) == {"y"}
    made = ModelProto.FromString(
        model([node("Noise", "x", "y", domain="own")], X, [("y", FLOAT, [4, 64])])
    )
    body = [node("Bernoulli", "a", "b")]
    opset = [helper.make_opsetid("", 20)]
    made.functions.append(helper.make_function("own", "Noise", ["a"], ["b"], body, opset))
    made.opset_import.append(helper.make_opsetid("own", 1))
    assert random_outputs(made.SerializeToString()) == {"y"}
