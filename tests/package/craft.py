"""Packages assembled by hand: an oracle that shares no code with the writer."""

import hashlib
import json
import struct
from typing import Any

from kcompiler.errors import PackageError
from kcompiler.package import Package, from_bytes

PAGE = 4096
MANIFEST = {"model": "tiny", "program": {"code_bytes": 5}}
SECTIONS = {"code": b"\x01\x02\x03\x04\x05", "weights/w0": b"abc"}


def text(value: object) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def entry(name: object, offset: object, payload: bytes, **other: object) -> dict[str, object]:
    """One line of the section table."""
    digest = hashlib.sha256(payload).hexdigest()
    return {"name": name, "offset": offset, "length": len(payload), "sha256": digest} | other


def seal(envelope: bytes, data: bytes = b"", **fields: Any) -> bytes:
    """A file around an envelope and the section data; `fields` replaces those of the header."""
    padding = -(64 + len(envelope)) % PAGE
    head = {
        "magic": b"KPKG\r\n\x1a\n",
        "version": 1,
        "reserved": 0,
        "size": 64 + len(envelope) + padding + len(data),
        "length": len(envelope),
    }
    packed = struct.pack("<8sIIQQ", *(head | fields).values())
    digest = hashlib.sha256(packed + envelope).digest()
    return packed + digest + envelope + bytes(padding) + data


def forge(*table: object, data: bytes = b"") -> bytes:
    """A file with correct hashes around a section table of which nothing need be true."""
    return seal(text({"manifest": {}, "sections": table}), data)


def refusal(blob: bytes, *, verify: bool = True) -> str:
    """The whole message with which a file is refused; empty if it is accepted."""
    try:
        from_bytes(blob, verify=verify, origin="m.kpkg")
    except PackageError as error:
        return str(error)
    return ""


def content(package: Package) -> tuple[bytes, dict[str, bytes]]:
    """What a package holds, in a form that tells 1 from 1.0 and True."""
    return text(package.manifest), {k: bytes(v) for k, v in package.sections.items()}
