"""Packages whose container is sound and whose content is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.artifact import pack
from kcompiler.errors import KcompilerError, PackageError
from kcompiler.package import to_bytes

Manifest = dict[str, Any]
Sections = dict[str, Any]
Change = Callable[[Manifest, Sections], object]


def changed(model: CompiledModel, change: Change) -> bytes:
    """The package of a model with a changed content: a forger has computed new hashes."""
    manifest, sections = pack(model.compilation, model.target)
    manifest, sections = copy.deepcopy(manifest), dict(sections)
    change(manifest, sections)
    return to_bytes(manifest, sections)


def npu(manifest: Manifest) -> dict[str, Any]:
    """The first program."""
    part: dict[str, Any] = next(s for s in manifest["segments"] if s["kind"] == "npu")
    return part


def tensor(manifest: Manifest, role: str) -> dict[str, Any]:
    """The first tensor of a role in the first program."""
    part = npu(manifest)
    found: dict[str, Any] = part["tensors"][part[role][0]]
    return found


def constant(manifest: Manifest) -> str:
    """The section of the first program's first constant."""
    return f"constant/{npu(manifest)['values'][0]}"


def small_memory(manifest: Manifest, _: Sections) -> None:
    npu(manifest)["used"]["hbm"] = 64


def no_segments(manifest: Manifest, _: Sections) -> None:
    manifest["segments"] = []


def twice(manifest: Manifest, sections: Sections) -> None:
    manifest["segments"] += manifest["segments"]
    sections |= {"1" + name[1:]: data for name, data in sections.items()}


CHANGES: dict[str, tuple[Change, str]] = {
    "address": (
        lambda m, _: tensor(m, "inputs").update(address=1 << 40),
        "is 1099511627776, allowed is 0 to",
    ),
    "end": (small_memory, "of hbm, 64 are in use"),
    "negative address": (
        lambda m, _: tensor(m, "inputs").update(address=-64),
        "is -64, allowed is 0 to",
    ),
    "float address": (
        lambda m, _: tensor(m, "inputs").update(address=0.0),
        "is 0.0, not of type int",
    ),
    "memory": (
        lambda m, _: tensor(m, "inputs").update(memory="l1"),
        "lies in 'l1', not in ['shm', 'hbm']",
    ),
    "dtype": (
        lambda m, _: tensor(m, "inputs").update(dtype="f33"),
        "there is no element type 'f33'",
    ),
    "shape": (
        lambda m, _: tensor(m, "inputs").update(shape=[1 << 30, 1 << 30]),
        "a tensor of 1152921504606846976 elements is beyond 1099511627776",
    ),
    "rank": (
        lambda m, _: tensor(m, "inputs").update(shape=[1] * 65),
        "is 65, allowed is any to 64",
    ),
    "type": (
        lambda m, _: tensor(m, "inputs").update(dtype="i32"),
        "segment 0 needs 'x' as i32[50,96], but it is f32[50,96]",
    ),
    "used": (
        lambda m, _: npu(m)["used"].update(hbm=1 << 50),
        "segments.0.used.hbm is 1125899906842624, allowed is 0 to",
    ),
    "used of a memory that is not there": (
        lambda m, _: npu(m)["used"].update(sram=1),
        "segment 0 uses a memory that the chip has not",
    ),
    "constant": (
        lambda m, s: s.update({constant(m): bytes(3)}),
        "has 3 bytes, its tensor",
    ),
    "no constant": (
        lambda m, s: s.pop(constant(m)),
        "there is no 'constant/",
    ),
    "code": (
        lambda _, s: s.update({"0/code": s["0/code"][:-8]}),
        "the code of segment 0 does not decode: byte",
    ),
    "opcode": (
        lambda _, s: s.update({"0/code": b"\xff" + s["0/code"][1:]}),
        "the code of segment 0 does not decode: byte 0: unknown opcode 0xff",
    ),
    "empty code": (
        lambda _, s: s.update({"0/code": b""}),
        "instructions, the code has 0",
    ),
    "first": (
        lambda m, _: npu(m)["kernels"][0].update(first=1),
        "begins at instruction 1, not at 0",
    ),
    "count": (
        lambda m, _: npu(m)["kernels"][-1].update(count=1 << 30),
        "instructions, the code has",
    ),
    "kernel's tensor": (
        lambda m, _: npu(m)["kernels"][0].update(output=10**6),
        "segments.0.kernels.0.output is 1000000, allowed is 0 to",
    ),
    "kind": (
        lambda m, _: npu(m).update(kind="gpu"),
        "segment 0 is of the kind 'gpu', neither npu nor host",
    ),
    "missing value": (
        lambda m, _: tensor(m, "inputs").update(name="q"),
        "segment 0 needs 'q', which nothing computes before it",
    ),
    "missing output": (no_segments, "the model needs 'y', which nothing computes before it"),
    "value computed twice": (twice, "segment 1 computes 'y', which is there already"),
    "output's type": (
        lambda m, _: m["outputs"][0].update(shape=[2000]),
        "the model needs 'y' as f32[2000], but it is f32[50,40]",
    ),
    "input twice": (
        lambda m, _: m["inputs"].append(m["inputs"][0]),
        "two of its inputs have the same name",
    ),
    "chip": (
        lambda m, _: m["chip"].update(sha256="0" * 64),
        "it was compiled for another chip description of the target 'rebel'",
    ),
    "instruction set": (
        lambda m, _: m.update(instruction_set="0" * 64),
        "it was compiled for another instruction set of the target 'rebel'",
    ),
    "target": (lambda m, _: m.update(target="rebbel"), "known: "),
    "precision": (lambda m, _: m.update(precision="f12"), "has no precision 'f12'"),
    "field": (lambda m, _: m.pop("notes"), "the field notes is missing"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_forged_package_is_refused(linear: CompiledModel, name: str) -> None:
    change, why = CHANGES[name]
    with pytest.raises(KcompilerError) as caught:
        kcompiler.load(changed(linear, change))
    assert why in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unchanged_one_is_not(linear: CompiledModel) -> None:
    assert changed(linear, lambda _m, _s: None) == linear.to_bytes()
    kcompiler.load(linear.to_bytes())


def test_truth_values_are_checked(linear: CompiledModel) -> None:
    def change(manifest: Manifest, sections: Sections) -> None:
        bits = tensor(manifest, "constants")
        bits.update(dtype="bool", shape=[64])
        sections[constant(manifest)] = bytes(63) + b"\2"

    with pytest.raises(PackageError, match="holds booleans other than 0 and 1"):
        kcompiler.load(changed(linear, change))


def serialized(graph: onnx.GraphProto) -> bytes:
    """A model of a graph."""
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def external() -> bytes:
    """A model whose weight is in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[6, 6])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret")
    node = helper.make_node("Det", ["w"], ["d"])
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("d", 1, [])])
    graph.initializer.append(weight)
    return serialized(graph)


def constant_inside() -> bytes:
    """The same in the attribute of a node of a branch."""
    inner = onnx.load_from_string(external()).graph
    node = helper.make_node("Constant", [], ["w"], value=inner.initializer.pop())
    inner.node.insert(0, node)
    branch = helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner)
    value = helper.make_tensor_value_info("d", 1, [])
    return serialized(helper.make_graph([branch], "g", [], [value]))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (external(), "refers to another file"),
        (constant_inside(), "refers to another file"),
        (b"\xff\xff", "is not an ONNX model"),
        (b"", "neither onnxruntime nor onnx.reference can run the model"),
    ],
)
def test_host_parts_are_checked(
    divided: CompiledModel, data: bytes, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(bytes(144))
    monkeypatch.chdir(tmp_path)
    package = changed(divided, lambda _, s: s.update({"1/model": data}))
    session = kcompiler.Session(package)
    with pytest.raises(KcompilerError, match=text):
        session.run(None, {"x": np.eye(6, dtype=np.float32)})


def test_an_instruction_that_leaves_a_memory(linear: CompiledModel) -> None:
    """Sizes that are consistent, and a program that goes beyond them."""
    isa = linear.target.isa
    code = isa.decode_program(linear.programs[0].program.code)
    place = next(i for i, x in enumerate(code) if x.mnemonic == "ndma.load")
    loaded: Any = code[place]
    code[place] = replace(loaded, base=(1 << 40) - 8)
    package = changed(linear, lambda _, s: s.update({"0/code": isa.encode_program(code)}))
    with pytest.raises(PackageError) as caught:
        kcompiler.Session(package).run(None, {"x": np.zeros((50, 96), np.float32)})
    text = str(caught.value)
    assert text.startswith("error: the program did what the NPU does not allow")
    assert f"instruction {place} (ndma.load) of kernel k0" in text
    assert "touches hbm bytes [0xfffffffff8, " in text
