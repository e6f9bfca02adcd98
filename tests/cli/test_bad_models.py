"""Bad input on the command line: the whole message, the exit code, and no package left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kcompiler import cli
from tests.runtime import models
from tests.runtime.models import model, node, values

Capture = pytest.CaptureFixture[str]
FLOAT = TensorProto.FLOAT
Case = tuple[Callable[[], Any], list[str], str]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def unary(operator: str, *shape: int, domain: str = "") -> bytes:
    """One operator from x to y."""
    ends = [("x", FLOAT, shape)], [("y", FLOAT, shape)]
    made = onnx.load_from_string(model([node(operator, "x", "y")], *ends))
    if domain:
        made.graph.node[0].domain = domain
        made.opset_import.add(domain=domain, version=1)
    data: bytes = made.SerializeToString()
    return data


def external(location: str) -> bytes:
    """A model whose weight is in another file."""
    made = onnx.load_from_string(models.linear())
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    data: bytes = made.SerializeToString()
    return data


def bomb() -> bytes:
    """Two gigabytes, as a small file declares them."""
    made = onnx.load_from_string(model([node("Relu", "x", "y")], [("x", FLOAT, [1])], []))
    made.graph.initializer.add(name="w", data_type=FLOAT, dims=[1 << 29], raw_data=bytes(100))
    made.graph.node.add(op_type="Add", input=["y", "w"], output=["z"], name="add")
    made.graph.output.add().CopyFrom(helper.make_tensor_value_info("z", FLOAT, [1 << 29]))
    data: bytes = made.SerializeToString()
    assert len(data) < 1024
    return data


def nan_weights() -> bytes:
    """A weight with a NaN in it."""
    weight = values(96, 40)
    weight[3, 5] = np.nan
    return model(
        [node("MatMul", "x w", "y")], [("x", FLOAT, [1, 96])], [("y", FLOAT, [1, 40])], w=weight
    )


def contradiction() -> bytes:
    """Shapes that no product has."""
    return model(
        [node("MatMul", "x w", "y", name="product")],
        [("x", FLOAT, [1, 95])],
        [("y", FLOAT, [1, 40])],
        w=values(96, 40),
    )


def recursion() -> bytes:
    """Two functions that call each other."""
    made = onnx.load_from_string(unary("A", 2, domain="mine"))
    for name, called in ("AB", "BA"):
        step = helper.make_node(called, ["a"], ["b"], domain="mine")
        opsets = [helper.make_opsetid("mine", 1)]
        made.functions.append(helper.make_function("mine", name, ["a"], ["b"], [step], opsets))
    data: bytes = made.SerializeToString()
    return data


CASES: dict[str, Case] = {
    "not a protobuf": (
        lambda: b"\xff\xff\xff",
        [],
        (
            "error: this is not an ONNX model\n"
            "  at: bad.onnx\n"
            "  because: its bytes are not a protobuf message\n"
            "  try: give a model exported to ONNX (torch.onnx.export, tf2onnx, paddle2onnx, ...)\n"
        ),
    ),
    "empty graph": (
        lambda: model([], [], []),
        [],
        ("error: the model's graph is empty\n  at: bad.onnx\n  try: export the model again\n"),
    ),
    "missing external data": (
        lambda: external("w.bin"),
        [],
        (
            "error: the external data of tensor 'w' is missing\n"
            "  at: w.bin\n"
            "  try: put the file beside the model, under the name that it was exported with\n"
        ),
    ),
    "external data outside of the folder": (
        lambda: external("../w.bin"),
        [],
        (
            "error: the external data of tensor 'w' is outside the model's folder\n"
            "  at: ../w.bin\n"
            "  because: it climbs out with '..'\n"
            "  try: put the file beside the model and export with a plain file name\n"
        ),
    ),
    "unknown operator": (
        lambda: unary("Rolu", 2),
        [],
        (
            "error: unknown operator Rolu\n"
            "  at: rolu\n"
            "  because: ONNX up to opset 28 does not have it\n"
            "  try: did you mean Relu?\n"
        ),
    ),
    "unknown domain": (
        lambda: unary("Relu", 2, domain="acme.ai"),
        [],
        (
            "error: unknown operator acme.ai::Relu\n"
            "  at: relu\n"
            "  because: the domain 'acme.ai' belongs to no operator set that kcompiler knows\n"
            "  try: export the operator as a model-local function, or replace it\n"
        ),
    ),
    "unknown dim": (
        models.open_linear,
        ["--dim", "bach=1"],
        (
            "error: the model has no dimension 'bach'\n"
            "  at: bad.onnx\n"
            "  because: the open ones are batch\n"
            "  try: write batch\n"
        ),
    ),
    "contradictory shapes": (
        contradiction,
        [],
        (
            "error: MatMul is not valid here\n"
            "  at: product\n"
            "  because: [ShapeInferenceError] Inference error(s): "
            "(op_type:MatMul, node name: product): [ShapeInferenceError] Incompatible "
            "dimensions for matrix multiplication\n"
            "  try: check the shapes and types of what it reads: f32[1,95], f32[96,40]\n"
        ),
    ),
    "NaN weights": (
        nan_weights,
        [],
        (
            "error: weight 'w' holds 1 NaN of 3,840 values\n"
            "  at: bad.onnx\n"
            "  because: everything computed from it is NaN too\n"
            "  try: check the training, and export the model again\n"
        ),
    ),
    "a tensor larger than the chip's memory": (
        lambda: unary("Relu", 1 << 20, 1 << 20),
        [],
        (
            "error: the model needs 8,796,093,022,208 bytes of hbm, which has 150,323,855,360\n"
            "  at: x\n"
            "  because: the largest tensor, f32[1048576,1048576], "
            "alone takes 4,398,046,511,104 bytes\n"
            "  try: a smaller batch or a narrower precision\n"
        ),
    ),
    "unknown target": (
        models.linear,
        ["--target", "rebell"],
        (
            "error: there is no target 'rebell'\n"
            "  because: known: rebel, warboy, warboy-2pe\n"
            "  try: did you mean rebel?\n"
        ),
    ),
    "two gigabytes declared in a small file": (
        bomb,
        [],
        (
            "error: tensor 'w' is damaged: it holds 100 bytes of 2,147,483,648\n"
            "  at: bad.onnx\n"
            "  because: it declares float[536870912]\n"
            "  try: export the model again, or copy it again: the file is cut short or was edited\n"
        ),
    ),
    "recursion in functions": (
        recursion,
        [],
        (
            "error: the function 'A' of the model calls itself\n"
            "  at: bad.onnx\n"
            "  because: mine::A calls mine::B calls mine::A\n"
            "  try: ONNX forbids recursion; write it as a Loop\n"
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, capsys: Capture) -> None:
    made, more, text = CASES[name]
    Path("bad.onnx").write_bytes(made())
    assert cli.main(["bad.onnx", "--target", "rebel", *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == text
    assert not list(Path().glob("*.kpkg"))
