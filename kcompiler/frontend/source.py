"""Where a model comes from: a path, bytes, or a message in memory."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from kcompiler.errors import ModelError, UsageError
from kcompiler.frontend.external import ExternalData, map_file
from kcompiler.frontend.text import check_text
from kcompiler.frontend.wire import cut_weights
from kcompiler.package.layout import MAGIC

ModelSource = str | Path | bytes | ModelProto


class Source:
    """A parsed model: the message without its large weights, and where these are."""

    def __init__(
        self, model: ModelProto, weights: dict[int, memoryview], folder: Path | None, name: str
    ) -> None:
        self.model = model
        self.weights = weights
        self.folder = folder
        self.external = ExternalData(folder)
        self.name = name


def open_source(source: ModelSource) -> Source:
    """Parse a model; raises `ModelError` when it is none, `UsageError` when nothing is there."""
    if isinstance(source, ModelProto):
        return _checked(Source(source, {}, None, ""))
    if isinstance(source, bytes | bytearray | memoryview):
        return _checked(_parse(memoryview(source), None, ""))
    path = Path(source)
    return _checked(_parse(_map(path), path.parent, str(path)))


def _map(path: Path) -> memoryview:
    try:
        if path.is_dir():
            fix = "give the file: a model is one .onnx file inside it"
            raise UsageError("the model is a folder", str(path), fix=fix)
        if path.exists() and not path.is_file():  # asked before a pipe is opened, which may wait
            fix = "write the model to a file first"
            raise UsageError("the model is not a regular file", str(path), fix=fix)
        return map_file(path)
    except FileNotFoundError:
        fix = "check the path; it is relative to the current folder"
        raise UsageError("there is no such model", str(path), fix=fix) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("the model cannot be read", str(path), why) from None


def _parse(data: memoryview, folder: Path | None, name: str) -> Source:
    if not len(data):
        raise _no_onnx(name, "it is empty")
    if data[: len(MAGIC)] == MAGIC:
        fix = "kcompile run and inspect take packages; give the model that it is from"
        raise UsageError("this is a package of kcompile, not an ONNX model", name, fix=fix)
    skeleton, weights = cut_weights(data)
    model = ModelProto()
    try:
        model.ParseFromString(skeleton)
    except DecodeError:
        raise _no_onnx(name, "its bytes are not a protobuf message") from None
    return Source(model, weights, folder, name)


def _checked(source: Source) -> Source:
    model = source.model
    if not model.HasField("graph"):
        raise _no_onnx(source.name, "the message holds no graph")
    if not model.graph.node:
        raise ModelError("the model's graph is empty", source.name, fix="export the model again")
    try:
        check_text(model)
    except ModelError as error:
        raise ModelError(error.what, source.name, error.why, error.fix) from None
    return source


def _no_onnx(name: str, why: str) -> ModelError:
    fix = "give a model exported to ONNX (torch.onnx.export, tf2onnx, paddle2onnx, ...)"
    return ModelError("this is not an ONNX model", name, why, fix)
