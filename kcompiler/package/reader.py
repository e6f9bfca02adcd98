"""Read a package from an untrusted file: nothing is believed before it is checked."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcompiler.errors import PackageError
from kcompiler.package.defect import DefectError, brief, reported
from kcompiler.package.envelope import MAX_BYTES, decode
from kcompiler.package.fields import RECOMPILE, Kind, require
from kcompiler.package.layout import (
    HEAD,
    HEADER_BYTES,
    MAGIC,
    VERSION,
    aligned,
    check_table,
    check_zeros,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

WHAT = "cannot read the package"
ANOTHER = "give the path of a model.kpkg, as kcompile writes it"
A_MODEL = "if it is an ONNX model, compile it first: kcompile MODEL --target T"


@dataclass(frozen=True)
class Package:
    """A package that was read; its sections are read-only views of the file, nothing is copied."""

    manifest: Mapping[str, Any]
    sections: Mapping[str, memoryview]
    origin: str = "<bytes>"

    def section(self, name: str) -> memoryview:
        """Return a section that must be there."""
        if name in self.sections:
            return self.sections[name]
        some = ", ".join(list(self.sections)[:8])
        why = f"there is no {brief(name)} among its {len(self.sections)} sections: {some}"
        raise PackageError("the package lacks a section", self.origin, why, RECOMPILE)

    def require(
        self,
        *keys: str | int,
        kind: type[Kind],
        low: float | None = None,
        high: float | None = None,
    ) -> Kind:
        """Return a checked field of the manifest: see `kcompiler.package.require`."""
        return require(self.manifest, *keys, kind=kind, low=low, high=high, origin=self.origin)


def read(path: str | os.PathLike[str], *, verify: bool = True) -> Package:
    """Map a package into memory, or raise `PackageError` where any check fails.

    With `verify=False` the hash of a section is checked when that section is first accessed: a big
    package opens at once, but errors come late. While a package is in use, nobody may overwrite or
    shorten its file in place: the system would end this process. `write` is safe, as it renames.
    """
    origin = os.fspath(path)
    with reported(WHAT, origin):
        return _decode(_map(Path(path)), origin, verify=verify)


def from_bytes(data: Buffer, *, verify: bool = True, origin: str = "<bytes>") -> Package:
    """Read a package from memory, like `read`; the sections are views of `data`."""
    with reported(WHAT, origin):
        return _decode(memoryview(data).cast("B").toreadonly(), origin, verify=verify)


class _Sections(Mapping[str, memoryview]):
    """Sections by name; the first access to each checks its hash."""

    def __init__(self, views: dict[str, memoryview], hashes: dict[str, str], origin: str) -> None:
        self._views = views
        self._unchecked = hashes
        self._origin = origin

    def __getitem__(self, name: str) -> memoryview:
        view, expected = self._views[name], self._unchecked.get(name)
        if expected is not None:
            with reported(WHAT, self._origin):
                check_hash(f"section {name}", hashlib.sha256(view).hexdigest(), expected)
            self._unchecked.pop(name, None)  # only now: what failed once fails again
        return view

    def __contains__(self, name: object) -> bool:
        return name in self._views  # the inherited one would compute the hash

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


def check_hash(what: str, actual: str, expected: str) -> None:
    """Compare two SHA-256 in hex."""
    if actual != expected:
        raise DefectError(f"the SHA-256 of {what} is {actual}, recorded is {expected}")


def _map(path: Path) -> memoryview:
    if not stat.S_ISREG(path.stat().st_mode):  # asked before open, which waits for ever on a pipe
        raise DefectError("it is not a regular file", ANOTHER)
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")  # mmap refuses empty files
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _decode(file: memoryview, origin: str, *, verify: bool) -> Package:
    envelope = _check_header(file)
    end = HEADER_BYTES + len(envelope)
    start = aligned(end)
    if start > len(file):
        raise DefectError(f"the section data starts at {start}, the file ends at {len(file)}")
    check_zeros(file[end:start], "the section data")
    manifest, table = _split(decode(envelope))
    data = file[start:]
    check_table(table, data)
    views = {e["name"]: data[e["offset"] : e["offset"] + e["length"]] for e in table}
    sections = _Sections(views, {e["name"]: e["sha256"] for e in table}, origin)
    if verify:
        for name in sections:
            sections[name]
    return Package(manifest, sections, origin)


def _check_header(file: memoryview) -> bytes:
    """The envelope, once its length and its hash are right."""
    if not file or bytes(file[: len(MAGIC)]) != MAGIC[: len(file)]:
        begin = bytes(file[: len(MAGIC)])
        fix = A_MODEL if begin[:1] == b"\x08" else ANOTHER
        raise DefectError(f"it begins with {begin!r}, a package with {MAGIC!r}", fix)
    if len(file) < HEADER_BYTES:
        raise DefectError(f"the file has {len(file)} bytes, a header has {HEADER_BYTES}")
    _, version, reserved, size, length = HEAD.unpack_from(file)
    if version != VERSION:
        fix = "compile the model again, or use the version of kcompiler that wrote the file"
        raise DefectError(f"it has format version {version}, this kcompiler reads {VERSION}", fix)
    if reserved:
        raise DefectError(f"the reserved field of the header is {reserved}, not 0")
    if size != len(file):
        raise DefectError(f"the header declares {size} bytes, the file has {len(file)}")
    if length > min(len(file) - HEADER_BYTES, MAX_BYTES):
        room = f"the file has {len(file) - HEADER_BYTES} and the limit is {MAX_BYTES}"
        raise DefectError(f"the header declares a manifest of {length} bytes, {room}")
    envelope = bytes(file[HEADER_BYTES : HEADER_BYTES + length])
    actual = hashlib.sha256(bytes(file[: HEAD.size]) + envelope).hexdigest()
    check_hash("the manifest", actual, bytes(file[HEAD.size : HEADER_BYTES]).hex())
    return envelope


def _split(content: Any) -> tuple[dict[str, Any], Any]:
    """The manifest and the section table."""
    if not isinstance(content, dict) or content.keys() != {"manifest", "sections"}:
        raise DefectError("the envelope must hold exactly a manifest and sections")
    if not isinstance(content["manifest"], dict):
        raise DefectError(f"the manifest is {brief(content['manifest'])}, not an object")
    return content["manifest"], content["sections"]
