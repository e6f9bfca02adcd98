"""Values that only the host can hold: through compiler, package, session and command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.artifact import pack
from kcompiler.cli import main
from kcompiler.compilation import HostSegment, NpuSegment
from kcompiler.errors import PackageError, UsageError
from kcompiler.graph.types import OpenType
from kcompiler.host import HostModel
from kcompiler.package import to_bytes
from kcompiler.session import NodeArg
from tests.runtime.models import model, node

F, I64 = TensorProto.FLOAT, TensorProto.INT64
DETECTOR = model(
    [node("Relu", "x", "r"), node("NonZero", "r", "found", name="find"), node("Neg", "r", "n")],
    [("x", F, [3, 4])],
    [("found", I64, [2, "K"]), ("n", F, [3, 4])],
)
TEXT = model(
    [node("StringConcat", "t t", "u", name="twice"), node("Relu", "x", "y")],
    [("x", F, [4]), ("t", TensorProto.STRING, [2])],
    [("u", TensorProto.STRING, [2]), ("y", F, [4])],
)
X = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)
WORDS = np.array(["a", "ü"], object)


def sequence() -> bytes:
    """A sequence that grows by a computed tensor."""
    proto = ModelProto.FromString(
        model([node("Relu", "x", "r"), node("SequenceInsert", "q r", "y")], [("x", F, [4])], [])
    )
    for name, values in (("q", proto.graph.input), ("y", proto.graph.output)):
        values.append(helper.make_tensor_sequence_value_info(name, F, None))
    data: bytes = proto.SerializeToString()
    return data


CASES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "detector": (DETECTOR, {"x": X}),
    "text": (TEXT, {"x": X[0], "t": WORDS}),
    "sequence": (sequence(), {"x": X[0], "q": [X[1], X[2]]}),
}


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            same(*pair)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("free_way")
@pytest.mark.parametrize("case", CASES)
def test_package_and_session(case: str) -> None:
    source, feeds = CASES[case]
    compiled = kcompiler.compile(source, precision="f32")
    assert [type(s) for s in compiled.compilation.segments] == [NpuSegment, HostSegment]
    assert compiled.verify(feeds).first_failure is None
    session = kcompiler.Session(compiled.to_bytes())
    names = [output.name for output in session.get_outputs()]
    same(session.run(None, feeds), HostModel(source).run(names, feeds))


def test_what_a_session_says_of_them() -> None:
    session = kcompiler.Session(kcompiler.compile(TEXT).to_bytes())
    assert session.get_inputs()[1] == NodeArg("t", None, "tensor(string)")
    assert session.get_outputs()[0] == NodeArg("u", None, "tensor(string)")


def test_a_difference_is_found() -> None:
    compiled = kcompiler.compile(TEXT, precision="f32")
    changed = kcompiler.compile(
        model(
            [node("Identity", "t", "u")],
            [("t", TensorProto.STRING, [2])],
            [("u", TensorProto.STRING, [2])],
        )
    )
    host = changed.compilation.segments[-1]
    assert isinstance(host, HostSegment)
    first, _ = compiled.compilation.segments
    altered = replace(compiled.compilation, segments=(first, host))
    broken = CompiledModel(altered, compiled.target, TEXT)
    failure = broken.verify({"t": WORDS}).first_failure
    assert failure is not None
    assert "output 'u'" in failure.text


def test_an_open_input_needs_a_value() -> None:
    with pytest.raises(UsageError) as caught:
        kcompiler.compile(TEXT).verify()
    assert str(caught.value) == (
        "error: input 't' is missing\n  because: the model takes x: f32[4], t: tensor(string)"
    )


def test_values_become_constants() -> None:
    source = model(
        [node("Relu", "x", "r"), node("TopK", "r k", "v i")],
        [("x", F, [3, 4]), ("k", I64, [1])],
        [("v", F, [3, "K"]), ("i", I64, [3, "K"])],
    )
    compiled = kcompiler.compile(source, values={"k": np.array([2])})
    assert [name for name, _ in compiled.compilation.inputs] == ["x"]
    assert compiled.verify({"x": X}).first_failure is None
    assert compiled.run({"x": X})["i"].shape == (3, 2)
    (open_,) = {n for n, kind in kcompiler.compile(source).compilation.inputs} - {"x"}
    assert kcompiler.compile(source).compilation.deciding == (open_,)


@pytest.mark.parametrize("which", ["inputs", "outputs"])
def test_a_package_that_gives_text_to_the_npu(which: str) -> None:
    compiled = kcompiler.compile(TEXT)
    manifest, sections = pack(compiled.compilation, compiled.target)
    tensor = next(t for t in manifest[which] if "dtype" in t)
    del tensor["dtype"], tensor["shape"]
    tensor["type"] = "tensor(string)"
    with pytest.raises(PackageError) as caught:
        kcompiler.load(to_bytes(manifest, sections))
    assert "tensor(string)" in str(caught.value)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, package, words = tmp_path / "m.onnx", tmp_path / "m.kpkg", tmp_path / "t.npy"
    source.write_bytes(TEXT)
    np.save(words, WORDS.astype(str))
    np.save(tmp_path / "x.npy", X[0])
    target = ["--target", "rebel"]
    assert main([str(source), *target, "-o", str(package), "--input", f"t={words}"]) == 0
    assert "t: tensor(string)" in capsys.readouterr().out
    assert main(["inspect", str(package), "--json"]) == 0
    assert '"type": "tensor(string)"' in capsys.readouterr().out
    assert main(["explain", str(source), *target]) == 0
    assert "input 't' is a tensor(string)" in " ".join(capsys.readouterr().out.split())
    arguments = ["--input", f"t={words}", "--input", f"x={tmp_path / 'x.npy'}"]
    assert main(["run", str(package), *arguments, "-o", f"u={tmp_path / 'u.npy'}"]) == 0
    assert "u: text[2]" in capsys.readouterr().out
    assert np.load(tmp_path / "u.npy").tolist() == ["aa", "üü"]


def test_a_sequence_fits_in_no_array_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = model([node("SplitToSequence", "x", "y")], [("x", F, [3, 4])], [("y", F, [])])
    proto = ModelProto.FromString(source)
    proto.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", F, None))
    package = tmp_path / "m.kpkg"
    kcompiler.compile(proto).save(package)
    np.save(tmp_path / "x.npy", X)
    arguments = ["run", str(package), "--input", f"x={tmp_path / 'x.npy'}"]
    assert main(arguments) == 0
    assert "y: 3 values" in capsys.readouterr().out
    assert main([*arguments, "-o", f"y={tmp_path / 'y.npy'}"]) == 2
    assert "a .npy file holds one tensor" in capsys.readouterr().err


def test_names_of_types() -> None:
    assert dict(kcompiler.compile(sequence()).compilation.inputs)["q"] == OpenType(
        "seq(tensor(float))"
    )


@pytest.mark.parametrize("opset", [13, 17, 20, 21])
def test_text_that_is_a_weight(opset: int) -> None:
    """Among the weights, as exporters of tokenizers and classifiers leave it: of any opset."""
    string = TensorProto.STRING
    nodes = [
        helper.make_node("Gather", ["k", "i"], ["labels"]),
        helper.make_node("Cast", ["k2"], ["numbers"], to=F),
        helper.make_node("Mul", ["x", "numbers"], ["y"]),
    ]
    ends = [("i", I64, [3]), ("x", F, [2])], [("labels", string, [3]), ("y", F, [2])]
    inputs, outputs = ([helper.make_tensor_value_info(*v) for v in end] for end in ends)
    weights = [
        numpy_helper.from_array(np.array(["cat", "hündin"], object), "k"),
        numpy_helper.from_array(np.array(["0.5", "-3"], object), "k2"),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    feeds = {"i": np.array([1, 0, 1]), "x": np.array([3, -4], np.float32)}
    compiled = kcompiler.compile(source, precision="f32")
    assert compiled.verify(feeds).first_failure is None
    found = compiled.run(feeds)
    names = [o.name for o in outputs]
    expected = HostModel(source.SerializeToString()).run(names, feeds)
    same([found[name] for name in names], expected)
    assert expected[0].tolist() == ["hündin", "cat", "hündin"]
