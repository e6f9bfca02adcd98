"""Broken models: each message in full. Nothing else than a `KcompilerError` may come out."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from kcompiler.errors import KcompilerError, ModelError, UnsupportedError, UsageError
from kcompiler.frontend import load_model
from tests.frontend.oracle import floats, model, node, one, tensor

X = {"x": ("float32", (2, 3))}


def message(proto: ModelProto | bytes | Path, kind: type[KcompilerError] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        load_model(proto)
    assert caught.value.exit_code == 2
    return str(caught.value)


def adding(weight: TensorProto) -> ModelProto:
    proto = model([node("Add", ["x", weight.name], ["y"], name="add")], X, ["y"])
    proto.graph.initializer.append(weight)
    return proto


def test_not_a_protobuf(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"\xff\xff this is no model")
    assert message(path) == (
        "error: this is not an ONNX model\n"
        f"  at: {path}\n"
        "  because: its bytes are not a protobuf message\n"
        "  try: give a model exported to ONNX (torch.onnx.export, tf2onnx, paddle2onnx, ...)"
    )


@pytest.mark.parametrize(
    ("data", "why"), [(b"", "it is empty"), (b"\x08\x08", "the message holds no graph")]
)
def test_message_of_another_kind(data: bytes, why: str) -> None:
    assert message(data) == (
        "error: this is not an ONNX model\n"
        f"  because: {why}\n"
        "  try: give a model exported to ONNX (torch.onnx.export, tf2onnx, paddle2onnx, ...)"
    )


def test_missing_file_and_folder(tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    assert message(path, UsageError) == (
        "error: there is no such model\n"
        f"  at: {path}\n"
        "  try: check the path; it is relative to the current folder"
    )
    assert message(tmp_path, UsageError) == (
        "error: the model is a folder\n"
        f"  at: {tmp_path}\n"
        "  try: give the file: a model is one .onnx file inside it"
    )


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    proto = model([node("Add", ["x", "w"], ["y"])], X, ["y"], {"w": floats(50, 2, 3)})
    path.write_bytes(proto.SerializeToString()[:-40])
    assert message(path).startswith("error: this is not an ONNX model\n")


def test_empty_graph(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.write_bytes(model([], X, ["x"]).SerializeToString())
    assert message(path) == (
        f"error: the model's graph is empty\n  at: {path}\n  try: export the model again"
    )


def test_no_outputs() -> None:
    assert message(model([node("Exp", ["x"], ["y"])], X, [])) == (
        "error: the model has no outputs\n  try: export the model again"
    )


def test_unknown_operator() -> None:
    proto, _ = one("Sofmax", [floats(2, 3)], name="end")
    assert message(proto, UnsupportedError) == (
        "error: unknown operator Sofmax\n"
        "  at: end\n"
        "  because: ONNX up to opset 28 does not have it\n"
        "  try: did you mean Softmax?"
    )
    proto, _ = one("Gelu", [floats(2, 3)], opset=17)
    assert message(proto, UnsupportedError) == (
        "error: unknown operator Gelu\n"
        "  at: Gelu_0\n"
        "  because: opset 17 does not have it\n"
        "  try: export with the opset that the operator needs"
    )


def test_unknown_domain() -> None:
    proto, _ = one("Conv", [floats(2, 3)], domain="org.example")
    assert message(proto, UnsupportedError) == (
        "error: unknown operator org.example::Conv\n"
        "  at: Conv_0\n"
        "  because: the domain 'org.example' belongs to no operator set that kcompiler knows\n"
        "  try: export the operator as a model-local function, or replace it"
    )


def test_opset_of_the_future() -> None:
    proto, _ = one("Exp", [floats(2, 3)])
    proto.opset_import[0].version = 99
    assert message(proto, UnsupportedError) == (
        "error: the model needs ONNX opset 99\n"
        "  because: the installed onnx package knows opsets up to 28\n"
        "  try: pip install --upgrade onnx, or export with an older opset"
    )


def test_no_opset() -> None:
    proto, _ = one("Exp", [floats(2, 3)])
    del proto.opset_import[:]
    assert message(proto) == (
        "error: the model uses the operator set 'ai.onnx' but does not import it\n"
        "  at: Exp_0\n"
        "  try: export the model again: opset_import is incomplete"
    )


def test_missing_input() -> None:
    proto = model([node("Add", ["x", "ghost"], ["y"], name="add")], X, ["y"])
    assert message(proto) == (
        "error: nothing gives 'ghost' a value\n  at: add\n  try: export the model again"
    )


def test_output_that_nothing_computes() -> None:
    assert message(model([node("Exp", ["x"], ["y"])], X, ["z"])) == (
        "error: nothing gives 'z' a value\n  try: export the model again"
    )


def test_cycle() -> None:
    nodes = [
        node("Add", ["x", "c"], ["a"], name="first"),
        node("Exp", ["a"], ["b"], name="second"),
        node("Neg", ["b"], ["c"], name="third"),
    ]
    assert message(model(nodes, X, ["c"])) == (
        "error: the graph has a cycle\n"
        "  at: third\n"
        "  because: the value 'c' depends on itself\n"
        "  try: export the model again: repetition needs a Loop"
    )


def test_duplicate_names() -> None:
    nodes = [node("Exp", ["x"], ["y"]), node("Neg", ["x"], ["y"], name="again")]
    assert message(model(nodes, X, ["y"])) == (
        "error: two nodes give a value to 'y'\n"
        "  at: again\n"
        "  try: export the model again: each name has one value"
    )
    assert message(model([node("Exp", ["x"], ["y"])], X, ["y", "y"])) == (
        "error: two outputs are called 'y'\n  try: name each output once"
    )


def test_shapes_that_contradict_each_other() -> None:
    proto = model([node("Add", ["x", "w"], ["y"], name="add")], X, ["y"], {"w": floats(4)})
    lines = message(proto).split("\n")
    assert lines[:2] == ["error: Add is not valid here", "  at: add"]
    assert lines[2].startswith("  because: [ShapeInferenceError]")


def test_types_that_contradict_each_other() -> None:
    weight = {"w": integers()}
    proto = model([node("Add", ["x", "w"], ["y"], name="add")], X, ["y"], weight)
    lines = message(proto).split("\n")
    assert lines[:2] == ["error: Add is not valid here", "  at: add"]


def integers() -> Any:
    return np.array([1, 2, 3])


def test_schema_is_checked() -> None:
    proto, _ = one("Exp", [floats(2, 3), floats(2, 3)])
    assert message(proto) == "error: Exp takes 1 operands, this one has 2\n  at: Exp_0"
    proto, _ = one("Concat", [floats(2, 3)])
    assert message(proto) == "error: Concat needs the attribute 'axis'\n  at: Concat_0"
    proto, _ = one("Exp", [floats(2, 3)], power=2)
    assert message(proto) == "error: Exp has no attribute 'power'\n  at: Exp_0"
    proto, _ = one("Concat", [floats(2, 3)], axis=1.5)
    assert message(proto) == "error: attribute 'axis' of Concat has a wrong type\n  at: Concat_0"


def test_nan_in_weights() -> None:
    weight = floats(4, 3)
    weight[1, 1:] = np.nan
    proto = model(
        [node("MatMul", ["x", "w"], ["y"], name="fc")],
        {"x": ("float32", (2, 4))},
        ["y"],
        {"w": weight},
    )
    assert message(proto) == (
        "error: weight 'w' holds 2 NaN of 12 values\n"
        "  because: everything computed from it is NaN too\n"
        "  try: check the training, and export the model again"
    )
    assert load_model(proto, allow_nan=True).warnings == ("weight 'w' holds 2 NaN of 12 values",)


def test_infinities_are_a_warning() -> None:
    """An attention mask of -inf is a weight too; a single -inf fills a padding."""
    weight = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
    proto = model(
        [node("Add", ["x", "w"], ["y"])], {"x": ("float32", (3, 3))}, ["y"], {"w": weight}
    )
    assert load_model(proto).warnings == ("weight 'w' holds 3 infinities of 9 values",)
    proto = model([node("Add", ["x", "w"], ["y"])], X, ["y"], {"w": weight[:1, 1:2]})
    assert load_model(proto).warnings == ()


def test_two_gigabytes_declared_in_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "bomb.onnx"
    bomb = tensor("w", [1 << 29], raw_data=b"\0" * 100)
    path.write_bytes(adding(bomb).SerializeToString())
    assert path.stat().st_size < 1024
    assert message(path) == (
        "error: tensor 'w' is damaged: it holds 100 bytes of 2,147,483,648\n"
        f"  at: {path}\n"
        "  because: it declares float[536870912]\n"
        "  try: export the model again, or copy it again: the file is cut short or was edited"
    )


def test_two_gigabytes_of_a_constant_are_never_made() -> None:
    """Shapes may multiply to anything as long as nothing allocates them."""
    shape = np.array([1 << 20, 1 << 20])
    nodes = [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"])]
    proto = model(nodes, {"x": ("float32", (1, 1))}, ["y"], {"s": shape})
    assert load_model(proto).graph.outputs[0][1].shape == (1 << 20, 1 << 20)


@pytest.mark.parametrize("op_type", ["Range", "OneHot", "Trilu", "Resize"])
def test_tables_are_bounded(op_type: str) -> None:
    huge = np.array(1 << 40)
    nodes = {
        "Range": [node("Range", ["zero", "huge", "one"], ["y"])],
        "OneHot": [node("OneHot", ["one1", "huge", "two"], ["y"])],
        "Trilu": [
            node("Expand", ["x", "big"], ["e"]),
            node("Trilu", ["e"], ["y"]),
        ],
        "Resize": [node("Resize", ["x", "", "", "big"], ["y"], mode="linear")],
    }[op_type]
    weights = {
        "zero": np.array(0),
        "one": np.array(1),
        "one1": np.array([1]),
        "huge": huge,
        "two": floats(2),
        "big": np.array([1 << 30, 1 << 30]),
    }
    proto = model(nodes, {"x": ("float32", (1, 1))}, ["y"], weights, opset=18)
    with pytest.raises(UnsupportedError, match=r"a table of [\d,]+ elements would be needed"):
        load_model(proto)


def test_truncated_raw_data() -> None:
    assert message(adding(tensor("w", [2, 3], raw_data=b"\0" * 23))) == (
        "error: tensor 'w' is damaged: it holds 23 bytes of 24\n"
        "  because: it declares float[2, 3]\n"
        "  try: export the model again, or copy it again: the file is cut short or was edited"
    )
    assert message(adding(tensor("w", [2, 3], float_data=[1.0] * 5))) == (
        "error: tensor 'w' is damaged: it holds 5 values of 6\n"
        "  because: it declares float[2, 3]\n"
        "  try: export the model again, or copy it again: the file is cut short or was edited"
    )


def test_impossible_shapes() -> None:
    assert message(adding(tensor("w", [2, -3], raw_data=b""))) == (
        "error: tensor 'w' has the impossible shape [2, -3]"
    )
    assert message(adding(tensor("w", [1 << 62, 4], raw_data=b""))) == (
        f"error: tensor 'w' of shape [{1 << 62}, 4] fits into no memory"
    )


def test_unknown_element_type() -> None:
    assert message(adding(tensor("w", [2], 77, raw_data=b"")), UnsupportedError) == (
        "error: tensor 'w' has the element type number 77\n"
        "  because: a tensor for an NPU holds numbers\n"
        "  try: cut the model where it begins to compute with numbers"
    )


def test_terminal_codes_in_names_are_harmless() -> None:
    proto = model([node("Add", ["x", "gho\x1b[31mst"], ["y"], name="a\x1b[2Jdd")], X, ["y"])
    assert message(proto) == (
        "error: nothing gives 'gho\\x1b[31mst' a value\n"
        "  at: a\\x1b[2Jdd\n"
        "  try: export the model again"
    )


def test_deep_nesting_is_an_error() -> None:
    """Functions within functions, deeper than anyone writes."""
    mine = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    chain = []
    for i in range(45):
        call = (
            node(f"F{i + 1}", ["a"], ["b"], domain="mine") if i < 44 else node("Exp", ["a"], ["b"])
        )
        chain.append(helper.make_function("mine", f"F{i}", ["a"], ["b"], [call], mine))
    start = node("F0", ["x"], ["y"], domain="mine")
    proto = model([start], X, ["y"], imports=mine[1:], functions=chain)
    with pytest.raises(UnsupportedError, match="graphs are nested more than 40 deep"):
        load_model(proto)


def test_error_survives_between_processes() -> None:
    import pickle

    proto = model([node("Add", ["x", "ghost"], ["y"], name="add")], X, ["y"])
    with pytest.raises(ModelError) as caught:
        load_model(proto)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_raw_data_of_all_types() -> None:
    """Little-endian bytes, as every exporter writes them."""
    raw = struct.pack("<6f", *range(6))
    imported = load_model(adding(tensor("w", [2, 3], raw_data=raw)))
    (constant,) = [
        n for n in imported.graph.nodes if not n.operands and n.attributes.get("value") is not None
    ]
    np.testing.assert_array_equal(constant.attributes["value"], np.arange(6.0).reshape(2, 3))


def test_name_that_is_no_text() -> None:
    data = model([node("Add", ["x", "x"], ["y"], name="plus")], X, ["y"]).SerializeToString()
    assert message(data.replace(b"plus", b"pl\xff\xfe")) == (
        "error: the name 'pl\\xff\\xfe' is no text\n"
        "  because: names in ONNX are UTF-8\n"
        "  try: export the model again, or copy it again: the file is damaged"
    )
