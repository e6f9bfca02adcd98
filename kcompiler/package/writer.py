"""Write a package: deterministic, atomic, without copying the sections."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kcompiler.package.defect import DefectError, reported
from kcompiler.package.envelope import check_plain, encode
from kcompiler.package.layout import (
    HEAD,
    HEADER_BYTES,
    MAGIC,
    VERSION,
    aligned,
    check_count,
    check_name,
)

if TYPE_CHECKING:
    import os

    import numpy.typing as npt
    from typing_extensions import Buffer

    Data: TypeAlias = Buffer | npt.NDArray[Any]
    Sections: TypeAlias = "Mapping[str, Data | Hashed]"

WHAT = "cannot write the package"


@dataclass(frozen=True)
class PackageInfo:
    """What was written: the file, its size in bytes and its SHA-256, as `sha256sum` prints it."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Hashed:
    """Data of a section whose SHA-256 is known: it is not computed again."""

    data: Data
    sha256: str


def write(
    path: str | os.PathLike[str], manifest: dict[str, Any], sections: Sections
) -> PackageInfo:
    """Write a package, all of it or nothing: a reader never sees half a file.

    The manifest holds JSON values (a tuple becomes a list). A section is a bytes-like object or a
    C-contiguous numpy array of any numeric type, and is not copied. Raises `PackageError`.
    """
    target = Path(path)
    with reported(WHAT, str(target)):
        # The rename would put a file in the place of a device such as /dev/null.
        if target.exists() and not target.is_file():
            raise DefectError("it exists and is not a regular file", "choose another file name")
        return _replace(target, _chunks(manifest, sections))


def to_bytes(manifest: dict[str, Any], sections: Sections) -> bytes:
    """Return the bytes that `write` would put into the file."""
    with reported(WHAT, "<bytes>"):
        return b"".join(_chunks(manifest, sections))


def _replace(target: Path, chunks: list[bytes | memoryview]) -> PackageInfo:
    # Beside the target, because only within a file system is a rename atomic.
    draft = target.with_name(f".kpkg-{secrets.token_hex(8)}.tmp")
    digest, size = hashlib.sha256(), 0
    try:
        with draft.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return PackageInfo(target, size, digest.hexdigest())


def _chunks(manifest: object, sections: Sections) -> list[bytes | memoryview]:
    """The file in pieces, those of the sections being the caller's own memory."""
    check_count(len(sections), "join small sections into larger ones")
    for name in sections:
        check_name(name, "rename the section")
    table: list[dict[str, str | int]] = []
    chunks: list[bytes | memoryview] = []
    end = 0
    for name in sorted(sections):
        section, start = sections[name], aligned(end)
        view = _view(name, section.data if isinstance(section, Hashed) else section)
        known = section.sha256 if isinstance(section, Hashed) else ""
        digest = known or hashlib.sha256(view).hexdigest()
        table.append({"name": name, "offset": start, "length": len(view), "sha256": digest})
        chunks += [bytes(start - end), view]
        end = start + len(view)
    return [_front(manifest, table, end), *chunks]


def _front(manifest: object, table: list[dict[str, str | int]], length: int) -> bytes:
    """All that comes before the section data, which has `length` bytes."""
    if not isinstance(manifest, dict):
        kind = type(manifest).__name__
        raise DefectError(f"the manifest is of type {kind}, not dict", "pass a dict")
    check_plain(manifest, "manifest", depth=2)  # 1 is the envelope around it
    envelope = encode({"manifest": manifest, "sections": table})
    start = aligned(HEADER_BYTES + len(envelope))
    head = HEAD.pack(MAGIC, VERSION, 0, start + length, len(envelope))
    return (head + hashlib.sha256(head + envelope).digest() + envelope).ljust(start, b"\0")


def _view(name: str, data: Any) -> memoryview:
    """The bytes of a section where they lie."""
    try:
        if hasattr(data, "__array_interface__"):
            data = _array_bytes(data)
        view = memoryview(data).toreadonly()
        return view.cast("B") if view.nbytes else memoryview(b"")  # cast refuses empty shapes
    except (AttributeError, TypeError, ValueError, BufferError):
        why = f"section {name} is of type {type(data).__name__} and no contiguous block of bytes"
        fix = "pass bytes, or a numpy array of numbers after numpy.ascontiguousarray"
        raise DefectError(why, fix) from None


def _array_bytes(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A numpy array as bytes: memoryview itself knows neither bfloat16 nor int4."""
    if not array.flags.c_contiguous:
        raise TypeError("not in C order")
    return array.reshape(-1).view("u1")  # numpy refuses this for Python objects
