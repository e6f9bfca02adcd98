"""Models of opset 6 and before, where operators broadcast by attributes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from kcompiler.errors import UnsupportedError
from kcompiler.frontend import load_model
from kcompiler.graph.interpreter import run_graph
from tests.frontend.oracle import floats, model, node

X = {"x": ("float32", (2, 3, 40))}


def old(opset: int = 6) -> ModelProto:
    nodes = [
        node("Add", ["x", "w"], ["s"], axis=1, broadcast=1, name="sum"),
        node("Exp", ["s"], ["y"], name="power"),
    ]
    return model(nodes, X, ["y"], {"w": floats(3)}, opset)


@pytest.mark.parametrize("large", [False, True])
def test_broadcasting_along_an_axis(large: bool) -> None:
    nodes = [node("Add", ["x", "w"], ["y"], axis=0, broadcast=1)]
    weight = floats(2000 if large else 2, seed=1)
    shape = (len(weight), 3)
    proto = model(nodes, {"x": ("float32", shape)}, ["y"], {"w": weight}, 6)
    imported = load_model(proto.SerializeToString())
    x = floats(*shape)
    np.testing.assert_array_equal(run_graph(imported.graph, {"x": x})["y"], x + weight[:, None])
    assert imported.opset == 6
    assert imported.warnings == ("the model was converted from opset 6 to 7",)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2,), 0), ((3,), 1), ((40,), 2), ((40,), -1), ((3,), -2), ((2, 3), 0), ((3, 40), 1)],
)
def test_every_place_of_the_second_operand(shape: tuple[int, ...], axis: int) -> None:
    nodes = [node("Mul", ["x", "w"], ["y"], axis=axis, broadcast=1)]
    inputs = {**X, "w": ("float32", shape)}
    imported = load_model(model(nodes, inputs, ["y"], opset=6))
    x, w = floats(2, 3, 40), floats(*shape, seed=1)
    behind = 3 - axis % 3 - len(shape)
    expected = x * w.reshape(*shape, *(1,) * behind)
    np.testing.assert_array_equal(run_graph(imported.graph, {"x": x, "w": w})["y"], expected)


def test_names_of_nodes_stay() -> None:
    imported = load_model(old())
    assert {o for n in imported.graph.nodes if n.operands for o in n.origin} == {"sum", "power"}


def test_what_cannot_be_converted() -> None:
    proto = old()
    proto.graph.node[1].op_type = "Nonsense"
    with pytest.raises(UnsupportedError) as caught:
        load_model(proto)
    lines = str(caught.value).split("\n")
    assert lines[0] == "error: the model is of ONNX opset 6"
    assert lines[1].startswith("  because: it cannot be converted: ")
    assert lines[2] == "  try: export it again with opset 7 or newer"
