"""Networks of which a part stays on the host: they compile, and compute what onnxruntime does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.compilation import Compilation, HostSegment
from kcompiler.graph.node import Array
from kcompiler.host import HostModel

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32) / 3
V = np.random.default_rng(2).standard_normal((8, 8)).astype(np.float32) / 3
TOLERANCE = {"f16": 0.02, "f32": 1e-5, "bf16": 0.1}
pytestmark = pytest.mark.usefixtures("free_way")
PRECISIONS = pytest.mark.parametrize("precision", [*TOLERANCE])


@pytest.fixture(autouse=True)
def nothing_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """TopK and CumSum stand here for what the NPU does not have."""
    monkeypatch.setattr("kcompiler.passes.expand.MOST_PAIRS", -1)


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node called like its first output; names are separated by blanks."""
    results = outputs.split()
    attributes.setdefault("name", results[0])
    return helper.make_node(op_type, inputs.split(), results, **attributes)


def value(name: str, elem_type: int, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, elem_type, shape)


def model(
    nodes: Sequence[NodeProto],
    feeds: Mapping[str, Array],
    outputs: str = "y",
    opset: int = 17,
    domains: Sequence[tuple[str, int]] = (("com.microsoft", 1), ("ai.onnx.ml", 3)),
    functions: Sequence[Any] = (),
    types: Sequence[Any] = (),
    **weights: Array,
) -> bytes:
    """A serialized model with inputs like `feeds` and weights w and v; `types` are declared."""
    infos = [value(n, helper.np_dtype_to_tensor_dtype(v.dtype), *v.shape) for n, v in feeds.items()]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs.split()]
    tensors = {"w": W, "v": V, **weights}
    initializers = [numpy_helper.from_array(v, k) for k, v in tensors.items()]
    graph = helper.make_graph(nodes, "test", infos, results, initializers, value_info=types)
    imports = [helper.make_opsetid(d, n) for d, n in (("", opset), *domains)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=functions)
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def expected(data: bytes, feeds: Mapping[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def agree(
    data: bytes, feeds: Mapping[str, Array], kinds: str, precision: str = "f16"
) -> Compilation:
    """Compile, save, load, run, compare; `kinds` has a letter a segment: n for NPU, h for host."""
    compiled = kcompiler.compile(data, precision=precision)
    found = kcompiler.Session(compiled.to_bytes()).run(None, dict(feeds))
    return checked(compiled, found, data, feeds, kinds)


def checked(
    compiled: CompiledModel,
    found: Sequence[Array],
    data: bytes,
    feeds: Mapping[str, Array],
    kinds: str,
) -> Compilation:
    """Compare what a model computed with onnxruntime, and where it did."""
    within = TOLERANCE[compiled.compilation.precision]
    for ours, theirs in zip(found, expected(data, feeds), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=within, atol=within)
    compilation = compiled.compilation
    letters = ["h" if isinstance(s, HostSegment) else "n" for s in compilation.segments]
    assert "".join(letters) == kinds
    return compilation


def operators(compilation: Compilation) -> list[tuple[str, str]]:
    """(ONNX node, operator) of everything on the host, for which there must be a reason."""
    found = [o for s in compilation.segments if isinstance(s, HostSegment) for o in s.operators]
    assert all(why for _, _, why in found)
    return [(name, kind) for name, kind, _ in found]


@PRECISIONS
def test_what_the_target_refuses_runs_on_the_host(precision: str) -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("TopK", "h k", "t i", axis=1),
        node("MatMul", "t u", "y"),
    ]
    data = model(nodes, {"x": X}, "y i", k=np.array([3]), u=W[:3])
    found = agree(data, {"x": X}, "nhn", precision)
    assert operators(found) == [("t", "TopK")]
    (host,) = (s for s in found.segments if isinstance(s, HostSegment))
    assert HostModel(host.model).engine == "onnxruntime"


@PRECISIONS
def test_places_alternate(precision: str) -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("CumSum", "h a", "c"),
        node("MatMul", "c v", "g"),
        node("CumSum", "g a", "d"),
        node("MatMul", "d w", "y"),
    ]
    data = model(nodes, {"x": X}, a=np.array(1))
    found = agree(data, {"x": X}, "nhnhn", precision)
    assert operators(found) == [("c", "CumSum"), ("d", "CumSum")]


def test_independent_parts_share_a_segment() -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("CumSum", "h a", "c"),
        node("MatMul", "x v", "g"),
        node("TopK", "g k", "t i", axis=1),
        node("MatMul", "c w", "p"),
        node("MatMul", "t v", "q"),
        node("Add", "p q", "y"),
    ]
    data = model(nodes, {"x": X}, a=np.array(1), k=np.array([8]))
    found = agree(data, {"x": X}, "nhn")
    assert sorted(operators(found)) == [("c", "CumSum"), ("t", "TopK")]


def test_a_model_that_begins_and_ends_on_the_host() -> None:
    nodes = [
        node("CumSum", "x a", "c"),
        node("MatMul", "c w", "h"),
        node("Relu", "h", "r"),
        node("TopK", "r k", "y i", axis=0),
    ]
    agree(model(nodes, {"x": X}, a=np.array(1), k=np.array([2])), {"x": X}, "hnh")


@pytest.mark.parametrize(("chain", "kinds"), [("CumSum MatMul", "hn"), ("MatMul CumSum", "nh")])
def test_it_begins_where_that_saves_a_change_of_place(chain: str, kinds: str) -> None:
    """Beside the chain, each operator once more, alone: both wait for nothing."""
    second = {"CumSum": "a", "MatMul": "w"}
    first, last = chain.split()
    nodes = [
        node(first, f"x {second[first]}", "h"),
        node(last, f"h {second[last]}", "y"),
        node("MatMul", "x v", "p"),
        node("CumSum", "x a", "q"),
    ]
    agree(model(nodes, {"x": X}, "y p q", a=np.array(1)), {"x": X}, kinds)


def body(nodes: Sequence[NodeProto], inputs: Sequence[Any], outputs: Sequence[Any]) -> GraphProto:
    return helper.make_graph(nodes, "body", inputs, outputs)


def looped(*steps: NodeProto, opset: int, **more: Any) -> tuple[bytes, dict[str, Array]]:
    """A Loop of as many rounds as an input says; `steps` make "s2" of the state "s"."""
    turn = body(
        [node("Identity", "go", "go2"), *steps],
        [value("i", INT64), value("go", BOOL), value("s", FLOAT, 6, 8)],
        [value("go2", BOOL), value("s2", FLOAT, 6, 8)],
    )
    feeds = {"x": X, "n": np.array(3)}
    nodes = [
        node("MatMul", "x w", "h"),
        helper.make_node("Loop", ["n", "", "h"], ["l"], name="l", body=turn),
        node("MatMul", "l w", "y"),
    ]
    return model(nodes, feeds, opset=opset, types=[value("l", FLOAT, 6, 8)], **more), feeds


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_a_loop_whose_operators_are_older_than_ours(opset: int) -> None:
    """ReduceMean has its axes as an operand from opset 18 on, Unsqueeze from 13 on."""
    unsqueeze = (
        node("Unsqueeze", "s", "e", axes=[0]) if opset < 13 else node("Unsqueeze", "s zero", "e")
    )
    steps = [
        unsqueeze,
        node("ReduceMean", "e", "m", axes=[0], keepdims=0),
        node("MatMul", "m v", "mm"),
        node("Tanh", "mm", "s2"),
    ]
    data, feeds = looped(*steps, opset=opset, zero=np.array([0]))
    assert operators(agree(data, feeds, "nhn")) == [("l", "Loop")]


@pytest.mark.parametrize("opset", [19, 21, 23])
def test_a_loop_whose_operators_are_newer_than_ours(opset: int) -> None:
    steps = [node("Unsqueeze", "s zero", "e"), node("ReduceMean", "e zero", "s2", keepdims=0)]
    data, feeds = looped(*steps, opset=opset, zero=np.array([0]))
    agree(data, feeds, "nhn")


def test_functions_of_the_model_inside_a_loop() -> None:
    steps = [node("ReduceMean", "a", "m", axes=[1], keepdims=1), node("Sub", "a m", "b")]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("mine", "Centred", ["a"], ["b"], steps, opsets)
    call = node("Centred", "s", "s2", domain="mine")
    data, feeds = looped(call, opset=17, domains=[("mine", 1)], functions=[function])
    agree(data, feeds, "nhn")


def test_a_branch_that_needs_the_host() -> None:
    branches = {
        "then_branch": body([node("Det", "h", "t")], [], [value("t", FLOAT)]),
        "else_branch": body([node("ReduceMax", "h", "e", keepdims=0)], [], [value("e", FLOAT)]),
    }
    nodes = [
        node("MatMul", "x w", "h"),
        node("ReduceSum", "h", "r", keepdims=0),
        node("Greater", "r zero", "c"),
        node("If", "c", "d", **branches),
        node("Mul", "d h", "y"),
    ]
    data = model(nodes, {"x": W}, zero=np.array(0, np.float32))
    for x in (W, -W):
        assert operators(agree(data, {"x": x}, "nhn")) == [("d", "If")]


def test_text_on_the_way() -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("Round", "h", "r"),
        node("Cast", "r", "s", to=TensorProto.STRING),
        node("Cast", "s", "b", to=FLOAT),
        node("MatMul", "b v", "y"),
    ]
    found = agree(model(nodes, {"x": X}), {"x": X}, "nhn")
    assert operators(found) == [("s", "Cast"), ("b", "Cast")]


def test_a_sequence_on_the_way() -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("SplitToSequence", "h k", "s", axis=0),
        node("ConcatFromSequence", "s", "c", axis=1),
        node("Relu", "c", "y"),
    ]
    types = [value("c", FLOAT, 2, 24)]
    agree(model(nodes, {"x": X}, k=np.array([2, 2, 2]), types=types), {"x": X}, "nhn")


def test_a_shape_on_the_way_that_depends_on_data() -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("Relu", "h", "r"),
        node("NonZero", "r", "nz"),
        node("Shape", "nz", "sh"),
        node("Gather", "sh one", "count", axis=0),
        node("Cast", "count", "cf", to=FLOAT),
        node("Div", "h cf", "y"),
    ]
    found = agree(model(nodes, {"x": X}, one=np.array(1)), {"x": X}, "nhn")
    assert operators(found) == [("nz", "NonZero"), ("sh", "Shape")]


@pytest.mark.parametrize(
    ("domain", "op_type"), [("com.microsoft", "Inverse"), ("ai.onnx.ml", "Binarizer")]
)
def test_operators_of_other_domains(domain: str, op_type: str) -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node(op_type, "h", "b", domain=domain),
        node("MatMul", "b v", "y"),
    ]
    x = np.eye(8, dtype=np.float32)
    data = model(nodes, {"x": x}, w=W + x)
    assert operators(agree(data, {"x": x}, "nhn")) == [("b", op_type)]


def test_tensors_without_elements() -> None:
    nodes = [node("MatMul", "x w", "h"), node("Relu", "h", "y")]
    agree(model(nodes, {"x": X[:0]}), {"x": X[:0]}, "h")


def test_an_input_that_is_an_output() -> None:
    nodes = [node("MatMul", "x w", "y"), node("Identity", "x", "z")]
    agree(model(nodes, {"x": X}, "y z"), {"x": X}, "nh")


def test_the_same_model_gives_the_same_bytes() -> None:
    nodes = [node("MatMul", "x w", "h"), node("CumSum", "h a", "y")]
    data = model(nodes, {"x": X}, a=np.array(1))
    first, second = (kcompiler.compile(data).to_bytes() for _ in range(2))
    assert first == second
