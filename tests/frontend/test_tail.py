"""Results without a fixed type: the nodes that make them are cut off and stay ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from kcompiler.frontend import Imported, load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.types import OpenType
from tests.frontend.oracle import floats, integers, model, node, on_host, on_onnxruntime

X = {"x": ("float32", (3, 4))}
TEXT = helper.make_tensor_value_info("t", 8, [3])
SEQUENCE = helper.make_tensor_sequence_value_info("q", 1, None)


def run(imported: Imported, feeds: dict[str, Any]) -> dict[str, Any]:
    """The graph on the interpreter, then the tail on onnxruntime."""
    given = {i.name: feeds[i.name] for i in imported.graph.inputs}
    values = {**feeds, **run_graph(imported.graph, given, on_host)}
    if imported.tail is not None:
        wanted = {name: values[name] for name in imported.tail.inputs}
        values |= on_onnxruntime(imported.tail.model, wanted)
    return {name: values[name] for name, _ in imported.outputs}


def agree(proto: ModelProto, feeds: dict[str, Any]) -> Imported:
    imported = load_model(proto)
    assert imported.tail is not None
    expected: dict[str, Any] = {**on_onnxruntime(proto, feeds)}
    found = run(imported, feeds)
    assert list(expected) == list(found)
    for name, value in expected.items():
        if isinstance(value, list):
            assert len(value) == len(found[name])
        for ours, theirs in zip(found[name], value, strict=True):
            if np.asarray(theirs).dtype == np.float32:
                np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)
            else:
                np.testing.assert_array_equal(ours, theirs, err_msg=name)
    return imported


def test_the_work_before_it_stays_in_the_graph() -> None:
    nodes = [node("Exp", ["x"], ["e"]), node("NonZero", ["e"], ["y"], name="find")]
    imported = agree(model([*nodes], X, ["y", "e"]), {"x": floats(3, 4)})
    assert [type(n).__name__ for n in imported.graph.nodes] == ["Input", "Exp"]
    assert imported.tail is not None
    assert imported.tail.inputs == ("e",)
    assert imported.tail.operators == (
        ("find", "NonZero", "NonZero needs 'e' to be known when compiling"),
    )
    assert dict(imported.outputs)["y"] == OpenType("unknown")


def test_names_of_the_model_are_not_taken_again() -> None:
    """Values that only the tail reads get new names: not those of the model, inside or outside."""
    nodes = [
        node("Exp", ["tail0"], ["x1"]),
        node("NonZero", ["x1"], ["h1"]),
        node("Cast", ["h1"], ["tail1"], to=1),
    ]
    proto = model(nodes, {"tail0": ("float32", (3, 4))}, ["tail1", "h1"])
    imported = agree(proto, {"tail0": floats(3, 4)})
    assert [name for name, _ in imported.graph.outputs] == ["tail2"]


def test_constants_of_any_size_go_along() -> None:
    nodes = [node("NonZero", ["x"], ["n"]), node("Gather", ["w", "n"], ["y"])]
    proto = model(nodes, X, ["y"], {"w": floats(50, 20)})
    imported = agree(proto, {"x": floats(3, 4)})
    assert imported.tail is not None
    assert imported.tail.inputs == ("x",)


def test_boxes_of_a_detector() -> None:
    nodes = [
        node("Sigmoid", ["s"], ["p"]),
        node("NonMaxSuppression", ["b", "p", "most", "iou"], ["kept"], name="nms"),
    ]
    weights = {"most": np.array([3]), "iou": np.array([0.5], np.float32)}
    inputs = {"b": ("float32", (1, 6, 4)), "s": ("float32", (1, 2, 6))}
    feeds = {"b": np.abs(floats(1, 6, 4)), "s": floats(1, 2, 6, seed=1)}
    agree(model(nodes, inputs, ["kept", "p"], weights), feeds)


def test_text_comes_in() -> None:
    nodes = [node("StringConcat", ["t", "t"], ["u"]), node("Relu", ["x"], ["y"])]
    proto = model(nodes, X, ["u", "y"], opset=20)
    proto.graph.input.append(TEXT)
    imported = agree(proto, {"x": floats(3, 4), "t": np.array(["a", "b", "ü"], object)})
    assert dict(imported.inputs)["t"] == OpenType("tensor(string)")
    assert imported.tail is not None
    assert imported.tail.operators[0][2] == "input 't' is a tensor(string)"


def test_a_sequence_comes_in_and_goes_out() -> None:
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("SequenceInsert", ["q", "r"], ["y"]),
        node("SequenceAt", ["q", "i"], ["z"]),
    ]
    proto = model(nodes, {**X, "i": ("int64", ())}, ["y", "z"])
    proto.graph.input.append(SEQUENCE)
    feeds = {"x": floats(3, 4), "i": np.array(1), "q": [floats(2), floats(1)]}
    imported = agree(proto, feeds)
    assert [name for name, _ in imported.inputs] == ["x", "i", "q"]
    assert [name for name, _ in imported.graph.outputs] == ["tail0"]


def test_the_same_value_twice_and_an_input_as_it_is() -> None:
    nodes = [node("SequenceInsert", ["q", "x"], ["y"]), node("Identity", ["y"], ["z"])]
    proto = model(nodes, X, ["y", "z", "q"])
    proto.graph.input.append(SEQUENCE)
    imported = load_model(proto)
    assert imported.tail is not None
    assert imported.tail.outputs == ("y", "z")
    found = run(imported, {"x": floats(3, 4), "q": [floats(2)]})
    assert [len(found[name]) for name in ("y", "z", "q")] == [2, 2, 1]


def test_an_open_input_that_nothing_reads() -> None:
    proto = model([node("Relu", ["x"], ["y"])], X, ["y"])
    proto.graph.input.append(TEXT)
    imported = load_model(proto)
    assert imported.tail is None
    assert [name for name, _ in imported.inputs] == ["x", "t"]


@pytest.mark.parametrize("bound", [False, True])
def test_inputs_that_decide_a_shape_are_named(bound: bool) -> None:
    nodes = [
        node("Neg", ["n"], ["m"]),
        node("Abs", ["m"], ["k"]),
        node("Expand", ["x", "k"], ["y"]),
        node("Mul", ["x", "f"], ["z"]),
    ]
    inputs = {"x": ("float32", (1, 4)), "n": ("int64", (2,)), "f": ("float32", ())}
    proto = model(nodes, inputs, ["y", "z"])
    values = {"n": np.array([3, 4])}
    imported = load_model(proto, values=values if bound else {})
    assert imported.deciding == (() if bound else ("n",))
    assert (imported.tail is None) == bound
    assert [name for name, _ in imported.inputs] == (["x", "f"] if bound else ["x", "n", "f"])


def test_what_has_another_way_decides_nothing() -> None:
    """Both branches of an If are computed where that works: the condition stays an input."""
    then, other = (
        helper.make_graph(
            [node(op, ["x"], ["r"])], op, [], [helper.make_empty_tensor_value_info("r")]
        )
        for op in ("Exp", "Neg")
    )
    choice = node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    assert load_model(model([choice], {**X, "c": ("bool", ())}, ["y"])).deciding == ()


def test_integers_that_index_decide_nothing() -> None:
    nodes = [node("Gather", ["x", "i"], ["y"])]
    imported = load_model(model(nodes, {**X, "i": ("int64", (2,))}, ["y"]))
    feeds = {"x": floats(3, 4), "i": integers(0, 3, 2)}
    assert imported.deciding == ()
    assert run(imported, feeds)["y"].shape == (2, 4)
