"""What stays on the host: one node, chains without fixed types, operators of onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from kcompiler.errors import ModelError, UnsupportedError
from kcompiler.frontend import load_model
from kcompiler.graph.node import Constant
from tests.frontend.oracle import MICROSOFT, agree, f32, floats, hosts, model, node, one


def test_one_node_with_its_reason() -> None:
    proto, feeds = one("Det", [floats(2, 3, 3)], name="volume")
    (host,) = hosts(agree(proto, feeds, host=True))
    assert host.origin == ("volume",)
    assert host.attributes["reason"] == "kcompiler has no Det for an NPU"


def test_several_results_of_which_some_are_wanted() -> None:
    """Positions in windows as large as this are not compared one by one."""
    proto, feeds = one("MaxPool", [floats(1, 2, 12, 12)], results=2, kernel_shape=[10, 10])
    agree(proto, feeds, host=True)


def test_dynamic_shapes_stay_together_until_the_type_is_fixed() -> None:
    """NonZero has a shape that depends on the data, but what is computed from it has not."""
    nodes = [
        node("NonZero", ["x"], ["i"], name="find"),
        node("Cast", ["i"], ["f"], to=1),
        node("ReduceSum", ["f", "axes"], ["s"], keepdims=0),
        node("Exp", ["x"], ["e"]),
        node("ReduceSum", ["e"], ["t"], keepdims=0),
        node("Add", ["s", "t"], ["y"]),
    ]
    proto = model(nodes, {"x": ("float32", (3, 4))}, ["y"], {"axes": np.array([0, 1])})
    x = floats(3, 4)
    x[1, 2] = 0
    imported = agree(proto, {"x": x}, host=True)
    (host,) = hosts(imported)
    assert host.origin == ("ReduceSum_2",)
    assert host.attributes["reason"] == "NonZero needs 'x' to be known when compiling"


def test_sequences_stay_together() -> None:
    nodes = [
        node("SequenceConstruct", ["x", "x2"], ["q"]),
        node("Mul", ["x", "x"], ["x2"]),
        node("SequenceAt", ["q", "one"], ["y"]),
    ]
    proto = model(nodes, {"x": ("float32", (3, 4))}, ["y"], {"one": np.array(1)})
    nodes_in_order = [proto.graph.node[1], proto.graph.node[0], proto.graph.node[2]]
    ordered = model(nodes_in_order, {"x": ("float32", (3, 4))}, ["y"], {"one": np.array(1)})
    agree(ordered, {"x": floats(3, 4)}, host=True)
    assert len(hosts(load_model(proto))) == 1  # nodes may stand in any order


def test_text_on_the_way_stays_on_the_host() -> None:
    nodes = [node("Cast", ["x"], ["t"], to=8), node("Cast", ["t"], ["y"], to=1)]
    proto = model(nodes, {"x": ("float32", (3,))}, ["y"])
    agree(proto, {"x": f32([1, 2, 3])}, host=True)


def test_shape_that_depends_on_the_data() -> None:
    nodes = [node("Reshape", ["x", "s"], ["r"]), node("ReduceMax", ["r"], ["y"], keepdims=0)]
    inputs = {"x": ("float32", (3, 4)), "s": ("int64", (2,))}
    feeds = {"x": floats(3, 4), "s": np.array([6, 2])}
    agree(model(nodes, inputs, ["y"]), feeds, host=True)


def test_known_operands_are_evaluated_by_the_reference() -> None:
    nodes = [node("Det", ["d"], ["s"]), node("Add", ["x", "s"], ["y"])]
    weights = {"d": floats(2, 3, 3)}
    imported = agree(model(nodes, {"x": ("float32", (4, 2))}, ["y"], weights), {"x": floats(4, 2)})
    assert any(isinstance(n, Constant) for n in imported.graph.nodes)


def test_random_numbers_are_not_known() -> None:
    nodes = [node("RandomNormalLike", ["w"], ["r"], name="noise"), node("Add", ["x", "r"], ["y"])]
    proto = model(nodes, {"x": ("float32", (4,))}, ["y"], {"w": floats(4)})
    assert [h.origin for h in hosts(load_model(proto))] == [("noise",)]


def test_large_operands_are_passed_and_small_ones_kept() -> None:
    big = floats(40, 40)
    product = node("FusedGemm", ["x", "u"], ["s"], domain=MICROSOFT, activation="Relu")
    nodes = [product, node("Add", ["s", "b"], ["y"])]
    weights = {"u": big[:, :2], "b": big[:, :1]}
    imported = agree(
        model(nodes, {"x": ("float32", (40, 40))}, ["y"], weights), {"x": big}, host=True
    )
    (host,) = hosts(imported)
    assert len(host.operands) == 1
    proto = model(nodes[:1], {"x": ("float32", (40, 40))}, ["s"], {"u": big})
    (host,) = hosts(agree(proto, {"x": big}, host=True))
    assert len(host.operands) == 2


def test_operator_of_onnxruntime() -> None:
    """Onnx knows nothing of this domain: onnxruntime says what type comes out."""
    proto, feeds = one("Trilu", [floats(3, 4)], domain=MICROSOFT)
    agree(proto, feeds, host=True)


def test_operator_that_onnxruntime_does_not_have() -> None:
    proto, _ = one("Nonsense", [floats(3, 4)], domain=MICROSOFT)
    with pytest.raises(UnsupportedError) as caught:
        load_model(proto)
    lines = str(caught.value).split("\n")
    assert lines[0] == "error: onnxruntime does not take the operator com.microsoft::Nonsense"
    assert lines[1] == "  at: Nonsense_0"
    assert lines[-1] == "  try: export with operators of ONNX itself"


def test_capturing_subgraph_keeps_what_it_reads() -> None:
    """The host model of a Loop gets the values that its body takes from around it."""
    from tests.frontend.test_control import counting_loop

    proto = counting_loop()
    del proto.graph.output[1]
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [2, 3]))
    body = proto.graph.node[0].attribute[0].g
    body.node[1].input[1] = "outer"
    proto.graph.node.insert(0, node("Neg", ["x"], ["outer"]))
    feeds = {"x": floats(2, 3), "n": np.array(3)}
    (host,) = hosts(agree(proto, feeds, host=True))
    assert len(host.operands) == 3


def test_gather_of_a_bad_index_is_an_error() -> None:
    proto, _ = one("Gather", [floats(3, 4), np.array([1, 7])], [1], name="pick")
    with pytest.raises(ModelError) as caught:
        load_model(proto)
    assert str(caught.value) == (
        "error: indices 1 to 7 into an axis of 3\n"
        "  at: pick\n"
        "  try: check the shapes that the model was exported with"
    )
