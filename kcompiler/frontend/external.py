"""Weights outside the model's file: memory-mapped, and never from outside the model's folder."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from kcompiler.errors import ModelError


class ExternalData:
    """The files beside a model; `folder` is None for one that did not come from a file."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._mapped: dict[Path, memoryview] = {}

    def read(self, tensor: TensorProto, nbytes: int, where: str) -> memoryview:
        """The bytes of one tensor; raises `ModelError` unless `nbytes` are where it says."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        data = self._map(self._resolve(location, where), location, where)
        offset = _number(entries, "offset", 0, where)
        length = _number(entries, "length", nbytes, where)
        if length != nbytes:
            raise ModelError(
                f"{where} takes {nbytes:,} bytes, its external data is {length:,} long",
                where=location,
            )
        if offset + nbytes > len(data):
            raise ModelError(
                f"{where} lies outside its external file",
                where=location,
                why=f"bytes {offset:,} to {offset + nbytes:,} of a file of {len(data):,}",
                fix="copy the file again: it is cut short or belongs to another model",
            )
        return data[offset : offset + nbytes]

    def _resolve(self, location: str, where: str) -> Path:
        if self.folder is None:
            raise ModelError(
                f"{where} is stored in another file, {location!r}",
                why="the model was given as bytes, so there is no folder to look in",
                fix="give the path of the model, or embed the data into it with onnx.save",
            )
        self._forbid_outside(location, where)
        path = self.folder / location
        try:
            found = path.resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            found = None
        if found is None or not found.is_file():
            raise ModelError(
                f"the external data of {where} is missing",
                where=str(path),
                fix="put the file beside the model, under the name that it was exported with",
            )
        if not found.is_relative_to(self.folder.resolve()):
            raise _outside(location, where, "it is a link that leads out of the model's folder")
        return found

    def _forbid_outside(self, location: str, where: str) -> None:
        posix, windows = PurePosixPath(location), PureWindowsPath(location)
        if not location:
            raise ModelError(f"{where} is stored in another file, but does not say in which")
        if posix.is_absolute() or windows.is_absolute() or windows.drive or windows.root:
            raise _outside(location, where, "it is an absolute path")
        if ".." in posix.parts or ".." in windows.parts:
            raise _outside(location, where, "it climbs out with '..'")

    def _map(self, path: Path, location: str, where: str) -> memoryview:
        if path not in self._mapped:
            try:
                self._mapped[path] = map_file(path)
            except OSError as error:
                why = error.strerror or str(error)
                raise ModelError(f"cannot read the data of {where}", location, why) from None
        return self._mapped[path]


def locations(model: ModelProto) -> tuple[str, ...]:
    """The files that a model says its weights are in, relative to its folder, each once."""
    bodies = [node for function in model.functions for node in function.node]
    tensors = (*_tensors(model.graph), *(t for n in bodies for t in _of_node(n)))
    entries = (e for t in tensors for e in t.external_data if e.key == "location")
    return tuple(dict.fromkeys(e.value for e in entries))


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors(graph)


def map_file(path: Path) -> memoryview:
    """A whole file as memory, read when touched; raises `OSError`."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:  # an empty file cannot be mapped
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _outside(location: str, where: str, why: str) -> ModelError:
    return ModelError(
        f"the external data of {where} is outside the model's folder",
        where=location,
        why=why,
        fix="put the file beside the model and export with a plain file name",
    )


def _number(entries: dict[str, str], key: str, default: int, where: str) -> int:
    text = entries.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"the external data of {where} has the {key} {text!r}")
    return int(text)
