"""Weights: every encoding of ONNX, external files, and no copies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from kcompiler.errors import ModelError
from kcompiler.frontend import load_model
from kcompiler.frontend.external import ExternalData
from kcompiler.frontend.source import open_source
from kcompiler.frontend.tensors import decode
from kcompiler.frontend.wire import cut_weights
from kcompiler.graph.node import Constant
from tests.frontend.oracle import agree, floats, model, node

NOWHERE = ExternalData(None)
TYPES = [
    n for n in TensorProto.DataType.values() if n not in {TensorProto.UNDEFINED, TensorProto.STRING}
]
SUPPORTED = [t for t in TYPES if not TensorProto.DataType.Name(t).startswith("FLOAT6")]


@pytest.mark.parametrize("data_type", SUPPORTED)
@pytest.mark.parametrize("raw", [False, True])
def test_every_type_in_both_encodings(data_type: int, raw: bool) -> None:
    """What onnx itself writes and reads back is the judge."""
    dtype = helper.tensor_dtype_to_np_dtype(data_type)
    values = np.array([0, 1, 2, 1, 0, 1, 2], np.float32).astype(dtype)
    if raw:
        proto = numpy_helper.from_array(values, "w")
    else:
        proto = helper.make_tensor("w", data_type, [7], values)
    found = decode(proto, NOWHERE)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found.astype(np.complex64), values.astype(np.complex64))
    assert found.tobytes() == numpy_helper.to_array(proto).tobytes()
    assert not found.flags.writeable


def big_model() -> tuple[ModelProto, Any]:
    weight = floats(64, 64)
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    weights = {"w": weight, "b": floats(64, seed=1)}
    return model(nodes, {"x": ("float32", (2, 64))}, ["y"], weights), weight


def test_large_weights_are_views_of_the_file(tmp_path: Path) -> None:
    proto, weight = big_model()
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    source = open_source(path)
    assert list(source.weights) == [0]
    assert not source.model.graph.initializer[0].raw_data
    imported = agree(str(path), {"x": floats(2, 64)})
    (constant,) = [
        n for n in imported.graph.nodes if isinstance(n, Constant) and n.shape == (64, 64)
    ]
    np.testing.assert_array_equal(constant.value, weight)
    assert not constant.value.flags.owndata


@given(st.data())
def test_cutting_loses_nothing(data: st.DataObject) -> None:
    """The message without weights, put together again, is the message."""
    sizes = data.draw(st.lists(st.sampled_from([0, 10, 1023, 1024, 1025, 5000]), max_size=4))
    weights = {f"w{i}": floats(n, seed=i) for i, n in enumerate(sizes)}
    proto = model([node("Exp", ["x"], ["y"])], {"x": ("float32", (2,))}, ["y"], weights)
    proto.graph.initializer.add(name="empty")
    proto.doc_string = "after the graph"
    skeleton, cut = cut_weights(memoryview(proto.SerializeToString()))
    again = ModelProto.FromString(bytes(skeleton))
    assert sorted(cut) == [i for i, n in enumerate(sizes) if 4 * n >= 4096]
    for index, view in cut.items():
        assert not again.graph.initializer[index].raw_data
        again.graph.initializer[index].raw_data = bytes(view)
    assert again == proto


@given(st.binary(max_size=60))
def test_cutting_survives_garbage(data: bytes) -> None:
    skeleton, cut = cut_weights(memoryview(data))
    assert not cut
    assert len(skeleton) <= len(data) + 20


def test_cutting_leaves_unusual_messages_to_protobuf() -> None:
    proto, _ = big_model()
    data = proto.SerializeToString()
    graph = proto.graph.SerializeToString()
    twice = (
        data
        + b"\x3a"
        + bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7 & 0x7F | 0x80, len(graph) >> 14])
        + graph
    )
    skeleton, cut = cut_weights(memoryview(twice))
    assert bytes(skeleton) == twice
    assert cut == {}


def saved(folder: Path, **options: Any) -> tuple[Path, ModelProto]:
    """A model whose weights are in another file of its folder."""
    proto, _ = big_model()
    path = folder / "m.onnx"
    onnx.save(
        proto, path, save_as_external_data=True, size_threshold=0, location="m.bin", **options
    )
    return path, onnx.load(path, load_external_data=False)


def changed(path: Path, proto: ModelProto, **entries: str) -> Path:
    """The same model with other entries for its first weight's place."""
    place = proto.graph.initializer[0].external_data
    kept = {e.key: e.value for e in place} | entries
    del place[:]
    for key, value in kept.items():
        place.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    return path


def message(path: Path | bytes) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_external_data_is_mapped(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    imported = agree(str(path), {"x": floats(2, 64)})
    (constant,) = [
        n for n in imported.graph.nodes if isinstance(n, Constant) and n.shape == (64, 64)
    ]
    assert not constant.value.flags.owndata


def test_missing_external_data(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    (tmp_path / "m.bin").unlink()
    assert message(path) == (
        "error: the external data of tensor 'w' is missing\n"
        f"  at: {tmp_path / 'm.bin'}\n"
        "  try: put the file beside the model, under the name that it was exported with"
    )


OUTSIDE = (
    "error: the external data of tensor 'w' is outside the model's folder\n"
    "  at: {}\n"
    "  because: {}\n"
    "  try: put the file beside the model and export with a plain file name"
)


@pytest.mark.parametrize("location", ["../m.bin", "a/../../m.bin", "..\\m.bin"])
def test_external_data_may_not_climb_out(tmp_path: Path, location: str) -> None:
    path = changed(*saved(tmp_path), location=location)
    assert message(path) == OUTSIDE.format(location.replace("\\", "\\"), "it climbs out with '..'")


@pytest.mark.parametrize("location", ["/etc/passwd", "C:\\m.bin", "\\\\server\\m.bin"])
def test_external_data_may_not_be_absolute(tmp_path: Path, location: str) -> None:
    path = changed(*saved(tmp_path), location=location)
    assert message(path) == OUTSIDE.format(location, "it is an absolute path")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_external_data_may_not_be_a_link_to_the_outside(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path, _ = saved(folder)
    (tmp_path / "secret.bin").write_bytes((folder / "m.bin").read_bytes())
    (folder / "m.bin").unlink()
    (folder / "m.bin").symlink_to(tmp_path / "secret.bin")
    why = "it is a link that leads out of the model's folder"
    assert message(path) == OUTSIDE.format("m.bin", why)


def test_links_within_the_folder_are_fine(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    (tmp_path / "m.bin").rename(tmp_path / "blob")
    (tmp_path / "m.bin").symlink_to(tmp_path / "blob")
    load_model(path)


def test_external_data_outside_its_file(tmp_path: Path) -> None:
    path = changed(*saved(tmp_path), offset="16000")
    size = (tmp_path / "m.bin").stat().st_size
    assert message(path) == (
        "error: tensor 'w' lies outside its external file\n"
        "  at: m.bin\n"
        f"  because: bytes 16,000 to 32,384 of a file of {size:,}\n"
        "  try: copy the file again: it is cut short or belongs to another model"
    )


def test_external_data_of_another_length(tmp_path: Path) -> None:
    path = changed(*saved(tmp_path), length="100")
    assert message(path) == (
        "error: tensor 'w' takes 16,384 bytes, its external data is 100 long\n  at: m.bin"
    )


@pytest.mark.parametrize("text", ["-4", "1e3", "٣", "9" * 30])
def test_external_data_at_no_number(tmp_path: Path, text: str) -> None:
    path = changed(*saved(tmp_path), offset=text)
    assert message(path).startswith("error: the external data of tensor 'w' has the offset ")


def test_external_data_without_a_name(tmp_path: Path) -> None:
    path = changed(*saved(tmp_path), location="")
    assert message(path).startswith("error: tensor 'w' is stored in another file, but does not say")


def test_external_data_that_is_a_folder(tmp_path: Path) -> None:
    path = changed(*saved(tmp_path), location=".")
    assert message(path).startswith("error: the external data of tensor 'w' is missing")


def test_external_data_of_a_model_without_a_folder(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    assert message(path.read_bytes()) == (
        "error: tensor 'w' is stored in another file, 'm.bin'\n"
        "  because: the model was given as bytes, so there is no folder to look in\n"
        "  try: give the path of the model, or embed the data into it with onnx.save"
    )


def test_sparse_weights() -> None:
    proto = model([node("Add", ["x", "w"], ["y"])], {"x": ("float32", (2, 3))}, ["y"])
    values = numpy_helper.from_array(np.array([5, 7], np.float32), "w")
    for indices in ([1, 5], [[0, 1], [1, 2]]):
        del proto.graph.sparse_initializer[:]
        sparse = helper.make_sparse_tensor(
            values, numpy_helper.from_array(np.array(indices), "i"), [2, 3]
        )
        proto.graph.sparse_initializer.append(sparse)
        agree(proto, {"x": floats(2, 3)})
    proto.graph.sparse_initializer[0].indices.CopyFrom(
        numpy_helper.from_array(np.array([1, 6]), "i")
    )
    with pytest.raises(ModelError, match="sparse tensor 'w' is damaged"):
        load_model(proto)
    proto.graph.sparse_initializer[0].dims[:] = [1 << 40, 1 << 20]
    with pytest.raises(ModelError, match="sparse tensor 'w' has the impossible shape"):
        load_model(proto)
