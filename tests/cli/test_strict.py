"""`--strict`: nothing but casts of inputs and outputs on the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import kcompiler
from kcompiler import cli
from kcompiler.compilation import Compilation, HostSegment
from kcompiler.errors import UnsupportedError
from kcompiler.frontend.export_operators import operators_of
from kcompiler.graph.parse import parse_graph
from kcompiler.strict import host_work, refuse_host_work
from tests.runtime import dynamic_models
from tests.runtime.models import divided, linear, moded, model, node

Capture = pytest.CaptureFixture[str]
T = ("--target", "rebel", "--no-verify")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(linear())
    Path("divided.onnx").write_bytes(divided())


def test_a_model_for_the_npu_passes() -> None:
    assert cli.main(["m.onnx", *T, "--strict"]) == 0
    assert Path("m.kpkg").exists()


def test_each_operator_on_the_host_is_listed(capsys: Capture) -> None:
    assert cli.main(["divided.onnx", *T, "--strict"]) == 2
    assert capsys.readouterr().err == (
        "error: an operator runs on the host, and --strict allows none\n"
        "  because: det (Det): kcompiler has no Det for an NPU\n"
        "  try: compile without --strict, or change the model\n"
    )
    assert not Path("divided.kpkg").exists()


def test_without_the_option_it_is_compiled() -> None:
    assert cli.main(["divided.onnx", *T]) == 0


def test_operators_that_no_engine_has(capsys: Capture) -> None:
    """They stand inside a kernel: the constraint has to see them there."""
    nodes = [node("Relu", "x", "r"), node("TopK", "r k", "v i"), node("Relu", "v", "y", "after")]
    shape = [("x", TensorProto.FLOAT, [1, 200_000])]
    data = model(nodes, shape, [("y", TensorProto.FLOAT, [1, 300])], k=np.array([300]))
    Path("sorted.onnx").write_bytes(data)
    with pytest.raises(UnsupportedError, match="on the host"):
        kcompiler.compile(data, strict=True)
    assert cli.main(["sorted.onnx", *T, "--strict"]) == 2
    assert "topk (TopK): No engine sorts (TopK)" in capsys.readouterr().err


def test_inputs_that_decide_are_named(capsys: Capture) -> None:
    Path("moded.onnx").write_bytes(moded())
    assert cli.main(["moded.onnx", *T, "--strict"]) == 2
    assert capsys.readouterr().err == (
        "error: an operator runs on the host, and --strict allows none\n"
        "  because: if (If): the branches of the If have different types\n"
        "  try: make constant what the host waits for: --value mode=…; "
        "or compile without --strict, or change the model\n"
    )
    note = "what runs on the host waits for inputs that could be constants: --value mode=…"
    assert note in kcompiler.compile("moded.onnx").report().notes
    assert cli.main(["moded.onnx", *T, "--strict", "--value", "mode=1"]) == 0
    assert not kcompiler.compile("moded.onnx", values={"mode": np.array(1)}).compilation.deciding
    assert [name for name, _ in kcompiler.load("moded.kpkg").compilation.inputs] == ["x"]


def test_every_bucket_counts() -> None:
    nodes = [node("Det", "x", "y")]
    data = model(nodes, [("x", TensorProto.FLOAT, ["b", 3, 3])], [("y", TensorProto.FLOAT, ["b"])])
    with pytest.raises(UnsupportedError):  # what the host makes of padding is not known
        kcompiler.compile(data, dims={"b": "1..4:2"})
    made = kcompiler.compile(dynamic_models.rows(), dims={"seq": "1..8:4"}, strict=True)
    assert host_work(made.compilation) == []


def segment(*operators: tuple[str, str, str], reads: str = "x", makes: str = "h") -> HostSegment:
    """A part of the host between two values."""
    return HostSegment(b"", (reads,), (makes,), operators)


def compilation(*segments: HostSegment) -> Compilation:
    """A model that turns x into y."""
    kind = kcompiler.compile(linear()).compilation.inputs[0][1]
    return Compilation("m", "rebel", "f16", (("x", kind),), (("y", kind),), segments)


def test_casts_at_the_border_are_allowed_and_others_are_not() -> None:
    cast = ("c", "Cast", "no such type")
    assert host_work(compilation(segment(cast))) == []
    assert host_work(compilation(segment(cast, reads="h", makes="y"))) == []
    assert host_work(compilation(segment(cast, reads="h", makes="i"))) == [cast]
    other = ("t", "TopK", "no engine sorts")
    assert host_work(compilation(segment(cast, other))) == [other]


def test_integers_at_the_border_are_casts_of_inputs_and_outputs(examples: Path) -> None:
    """A chip of bytes has the host make them of floats and floats of them: both are listed."""
    calibration = str(examples / "digits.npy")
    made = kcompiler.compile(
        examples / "mnistnet.onnx", "warboy", dims={"s77": 1}, calibration=calibration, strict=True
    )
    hosts = [s for s in made.compilation.segments if isinstance(s, HostSegment)]
    assert [[o[:2] for o in s.operators] for s in hosts] == [
        [("input", "QuantizeLinear")],
        [("node_linear_1", "DequantizeLinear")],
    ]


BODY = """
graph "g"(%0)
%0: {given} = input("x")
%1: {made} = Fused([%0]) {{
    graph "body"(%0)
    %0: {given} = input("x0")
    %1: f32[] = const(2.0)
{body}
    return "y" = %{last}
}}  # "node"
return "y" = %1
"""
BACK = ("%2: f32[8] = Cast(%0, dtype=f32)", "%3: f32[8] = Mul(%2, %1)")
NARROW = (
    *("%2: f32[8] = Mul(%0, %1)", "%3: f32[8] = Round(%2)"),
    "%4: i8[8] = Cast(%3, dtype=i8)",
)
KERNELS = {
    "DequantizeLinear": ("i8", "f32", BACK),
    "QuantizeLinear": ("f32", "i8", NARROW),
    "Mul": ("i8", "f32", (BACK[0], "%3: f32[8] = Mul(%2, %2)")),  # squares
    "Add": ("i8", "f32", (BACK[0], "%3: f32[8] = Add(%2, %1)")),
    "Round": ("f32", "f32", NARROW[:2]),  # stays float
    "Cast": ("f32", "i8", ("%2: i8[8] = Cast(%0, dtype=i8)",)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_only_conversions_are_called_so(name: str) -> None:
    given, made, lines = KERNELS[name]
    body = "\n".join(f'    {line}  # "node"' for line in lines)
    last, kinds = len(lines) + 1, {"given": f"{given}[8]", "made": f"{made}[8]"}
    graph = parse_graph(BODY.format(**kinds, body=body, last=last))
    assert operators_of(graph, ()) == (("node", name, ""),)


@pytest.mark.parametrize("back", [False, True])
def test_a_cast_to_doubles_is_listed(back: bool, capsys: Capture) -> None:
    """What the host does stands in the report, allowed or not."""
    nodes = [
        node("Relu", "x", "r"),
        node("Exp", "r", "e"),
        node("Cast", "e", "d", "wide", to=TensorProto.DOUBLE),
        node("Cast", "d", "z", "whole", to=TensorProto.INT64),
    ]
    outputs = [("d", TensorProto.DOUBLE, [4, 4]), ("z", TensorProto.INT64, [4, 4])]
    end = 4 if back else 3
    data = model(nodes[:end], [("x", TensorProto.FLOAT, [4, 4])], outputs[: end - 2])
    compiled = kcompiler.compile(data, strict=True)
    hosts = [s for s in compiled.compilation.segments if isinstance(s, HostSegment)]
    assert [[o[:2] for o in s.operators] for s in hosts] == [[("wide", "Cast")]]
    assert "Elements must be" in hosts[0].operators[0][2]
    Path("wide.onnx").write_bytes(data)
    assert cli.main(["explain", "wide.onnx", "--target", "rebel"]) == 0
    assert "wide" in capsys.readouterr().out


def test_the_words_of_a_reason_decide_nothing() -> None:
    """What follows from neighbours is marked as such, and is allowed however it is put."""
    told = ("t", "TopK", "Before a part on the host: no engine sorts")
    part = segment(told, ("r", "Relu", "no"))
    assert host_work(compilation(part)) == [told, ("r", "Relu", "no")]
    assert host_work(compilation(replace(part, beside=frozenset({"r"})))) == [told]


def test_work_that_follows_its_neighbours_is_marked() -> None:
    nodes = [node("Relu", "x", "r"), node("Det", "r", "y", "det")]
    data = model(nodes, [("x", TensorProto.FLOAT, [4, 4])], [("y", TensorProto.FLOAT, [])])
    compiled = kcompiler.compile(data).compilation
    (host,) = compiled.segments
    assert isinstance(host, HostSegment)
    assert {name for name, _, _ in host.operators} == {"relu", "det"}
    assert host.beside == {"relu"}
    assert [name for name, _, _ in host_work(compiled)] == ["det"]


def test_a_long_list_ends() -> None:
    many = [(f"n{i}", "TopK", "no engine sorts") for i in range(25)]
    with pytest.raises(UnsupportedError) as error:
        refuse_host_work(compilation(segment(*many)))
    assert error.value.what == "25 operators run on the host, and --strict allows none"
    assert error.value.why.endswith("n19 (TopK): no engine sorts\nand 5 more")
