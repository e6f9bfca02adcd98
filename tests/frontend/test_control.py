"""If, Loop, Scan and functions: inlined where what they depend on is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from kcompiler.errors import ModelError, UnsupportedError
from kcompiler.frontend import load_model
from kcompiler.graph.operators import Where
from tests.frontend.oracle import agree, floats, hosts, model, node, wrap

F = TensorProto.FLOAT
X = {"x": ("float32", (2, 3))}


def branch(op_type: str, *names: str, name: str = "b") -> GraphProto:
    outputs = [helper.make_empty_tensor_value_info("r")]
    return helper.make_graph([node(op_type, names, ["r"])], name, [], outputs)


def conditional(**weights: Any) -> ModelProto:
    then, other = branch("Exp", "x"), branch("Neg", "x")
    choice = node("If", ["c"], ["y"], then_branch=then, else_branch=other, name="choice")
    inputs = dict(X) if weights else {**X, "c": ("bool", ())}
    return model([choice], inputs, ["y"], weights)


@pytest.mark.parametrize("condition", [True, False])
def test_known_condition_picks_its_branch(condition: bool) -> None:
    imported = agree(conditional(c=np.array(condition)), {"x": floats(2, 3)})
    assert [type(n).__name__ for n in imported.graph.nodes] == [
        "Input",
        "Exp" if condition else "Neg",
    ]
    assert imported.graph.nodes[-1].origin == ("Exp_0" if condition else "Neg_0",)


@pytest.mark.parametrize("condition", [True, False])
def test_open_condition_chooses_between_values(condition: bool) -> None:
    imported = agree(conditional(), {"x": floats(2, 3), "c": np.array(condition)})
    assert any(isinstance(n, Where) for n in imported.graph.nodes)


def test_open_condition_with_a_branch_for_the_host_stays_there() -> None:
    then, other = branch("Det", "s"), branch("ReduceSum", "s")
    other.node[0].attribute.add(name="keepdims", i=0, type=2)
    choice = node("If", ["c"], ["y"], then_branch=then, else_branch=other, name="choice")
    square = node("MatMul", ["x", "w"], ["s"])
    inputs = {**X, "c": ("bool", ())}
    proto = model(
        [square, choice], {**inputs, "x": ("float32", (3, 3))}, ["y"], {"w": floats(3, 3)}
    )
    feeds = {"x": floats(3, 3, seed=2), "c": np.array(True)}
    imported = agree(proto, feeds, host=True)
    (host,) = hosts(imported)
    assert host.origin == ("choice",)
    assert host.attributes["reason"] == "a branch of the If needs the host"


def counting_loop(rounds: Any = None, condition: Any = None) -> ModelProto:
    """Y = x + 0 + 1 + ..., and every partial sum; stops by itself after `condition` rounds."""
    body_nodes = [
        node("Cast", ["i"], ["f"], to=F),
        node("Add", ["v", "f"], ["v1"]),
        node("Less", ["i", "most"], ["on"]),
    ]
    body = helper.make_graph(
        body_nodes,
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", F, [2, 3]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v1", F, [2, 3]),
            helper.make_tensor_value_info("v1", F, [2, 3]),
        ],
        [numpy_helper.from_array(np.array(99 if condition is None else condition), "most")],
    )
    body.node.add(op_type="Identity", input=["v1"], output=["each"])
    body.output[2].name = "each"
    loop = node("Loop", ["n", "", "x"], ["y", "all"], body=body, name="loop")
    weights = {} if rounds is None else {"n": np.array(rounds)}
    inputs = {**X, "n": ("int64", ())} if rounds is None else X
    return model([loop], inputs, ["y", "all"], weights)


@pytest.mark.parametrize(("rounds", "condition"), [(1, None), (4, None), (9, 2)])
def test_loop_is_unrolled(rounds: int, condition: int | None) -> None:
    imported = agree(counting_loop(rounds, condition), {"x": floats(2, 3)})
    assert imported.graph.nodes[-1].origin[0].startswith("loop")


def test_loop_of_open_length_has_no_fixed_type() -> None:
    proto = counting_loop()
    imported = load_model(proto)
    assert imported.deciding == ("n",)
    assert imported.tail is not None
    why = "the number of rounds of a Loop depends on the inputs"
    assert imported.tail.operators == (("loop", "Loop", why),)
    assert load_model(proto, values={"n": np.array(3)}).tail is None


def test_loop_of_open_length_stays_on_the_host() -> None:
    """ONNX infers no shape for a loop's state: the declared one is taken."""
    proto = counting_loop()
    del proto.graph.output[1]
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", F, [2, 3]))
    agree(proto, {"x": floats(2, 3), "n": np.array(3)}, host=True)


def test_scan() -> None:
    body = helper.make_graph(
        [node("Add", ["s", "r"], ["t"]), node("Identity", ["t"], ["o"])],
        "body",
        [helper.make_tensor_value_info(n, F, [3]) for n in ("s", "r")],
        [helper.make_tensor_value_info(n, F, [3]) for n in ("t", "o")],
    )
    for backward in (0, 1):
        scan = node(
            "Scan",
            ["w", "x"],
            ["last", "each"],
            body=body,
            num_scan_inputs=1,
            scan_input_directions=[backward],
            scan_output_directions=[backward],
            scan_output_axes=[1],
        )
        agree(model([scan], X, ["last", "each"], {"w": floats(3, seed=4)}), {"x": floats(2, 3)})


@pytest.mark.parametrize("batch", [1, 3])
def test_scan_as_it_was_in_opset_8(batch: int) -> None:
    """Each element of the batch has a state of its own, and no axes can be chosen."""
    body = helper.make_graph(
        [node("Add", ["s", "r"], ["t"]), node("Identity", ["t"], ["o"])],
        "body",
        [helper.make_tensor_value_info(n, F, [3]) for n in ("s", "r")],
        [helper.make_tensor_value_info(n, F, [3]) for n in ("t", "o")],
    )
    options = {"body": body, "num_scan_inputs": 1, "directions": [1]}
    scan = node("Scan", ["", "w", "x"], ["last", "each"], **options)
    inputs = {"x": ("float32", (batch, 4, 3))}
    proto = model([scan], inputs, ["last", "each"], {"w": floats(batch, 3, seed=4)}, opset=8)
    agree(proto, {"x": floats(batch, 4, 3)})


def function(
    name: str, nodes: Any, inputs: Any, outputs: Any, attributes: Any = ()
) -> FunctionProto:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, inputs, outputs, nodes, imports, attributes)


def calling(nodes: Any, functions: Any) -> ModelProto:
    return model(nodes, X, ["y"], imports=[helper.make_opsetid("mine", 1)], functions=functions)


def test_function_is_inlined() -> None:
    leaky = node("LeakyRelu", ["a"], ["b"], name="inner")
    attribute = leaky.attribute.add(name="alpha", ref_attr_name="slope", type=1)
    del attribute
    twice = function("Twice", [leaky, node("Add", ["b", "a"], ["c"])], ["a"], ["c"], ["slope"])
    call = node("Twice", ["x"], ["y"], domain="mine", name="call", slope=0.3)
    imported = agree(calling([call], [twice]), {"x": floats(2, 3)})
    origins = {o for n in imported.graph.nodes if n.operands for o in n.origin}
    assert origins == {"call/inner", "call/Add_1"}


def test_function_within_function() -> None:
    inner = function("Inner", [node("Exp", ["a"], ["b"])], ["a"], ["b"])
    outer = function(
        "Outer",
        [node("Inner", ["a"], ["b"], domain="mine"), node("Neg", ["b"], ["c"])],
        ["a"],
        ["c"],
    )
    agree(
        calling([node("Outer", ["x"], ["y"], domain="mine")], [inner, outer]), {"x": floats(2, 3)}
    )


def test_recursion_is_an_error() -> None:
    a = function("A", [node("B", ["a"], ["b"], domain="mine")], ["a"], ["b"])
    b = function("B", [node("A", ["a"], ["b"], domain="mine")], ["a"], ["b"])
    with pytest.raises(ModelError) as caught:
        load_model(calling([node("A", ["x"], ["y"], domain="mine")], [a, b]))
    assert str(caught.value) == (
        "error: the function 'A' of the model calls itself\n"
        "  because: mine::A calls mine::B calls mine::A\n"
        "  try: ONNX forbids recursion; write it as a Loop"
    )


def test_exponential_expansion_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty functions that each call the next one twice would be a billion nodes."""
    chain = [function("F0", [node("Exp", ["a"], ["b"])], ["a"], ["b"])]
    for i in range(1, 30):
        calls = [node(f"F{i - 1}", [s], [t], domain="mine") for s, t in (("a", "m"), ("m", "b"))]
        chain.append(function(f"F{i}", calls, ["a"], ["b"]))
    monkeypatch.setattr("kcompiler.frontend.importer.NODES", 1_000)
    with pytest.raises(UnsupportedError, match="more than 1,000 nodes once loops and functions"):
        load_model(calling([node("F29", ["x"], ["y"], domain="mine")], chain))


def test_a_standard_function_stands_in_for_a_missing_importer() -> None:
    x = floats(2, 3)
    proto = model([node("SwiGLU", ["x", "x"], ["y"])], X, ["y"], opset=28)
    imported = load_model(proto)
    assert not hosts(imported)
    from kcompiler.graph.interpreter import run_graph

    found = run_graph(imported.graph, {"x": x})["y"]
    np.testing.assert_allclose(found, x / (1 + np.exp(-x)) * x, 1e-5)


def test_a_graph_may_be_an_input_alone() -> None:
    graph = helper.make_graph(
        [node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", F, [2])],
        [helper.make_empty_tensor_value_info("y")],
    )
    agree(wrap(graph), {"x": floats(2)})
