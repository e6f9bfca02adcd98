"""Where things lie in the file, and the section table that says so."""

import re
import struct
from typing import Any

from kcompiler.package.defect import DAMAGED, DefectError, brief

MAGIC = b"KPKG\r\n\x1a\n"
VERSION = 1
HEAD = struct.Struct("<8sIIQQ")  # magic, version, reserved, bytes of the file, of the envelope
HEADER_BYTES = HEAD.size + 32  # and a SHA-256
ALIGNMENT = 4096  # a page: sections can be memory-mapped and handed to numpy as they lie
MAX_SECTIONS = 1 << 16
MAX_NAME = 255

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
DIGEST = re.compile(r"[0-9a-f]{64}")
FIELDS = ("length", "name", "offset", "sha256")


def aligned(offset: int) -> int:
    """The next place where a section may start."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def check_count(count: int, fix: str = DAMAGED) -> None:
    """Bound the number of sections."""
    if count > MAX_SECTIONS:
        raise DefectError(f"there are {count} sections, at most {MAX_SECTIONS} may be", fix)


def check_name(name: object, fix: str = DAMAGED) -> None:
    """Someone may unpack sections into files: no "..", no absolute path, no odd characters."""
    if not isinstance(name, str) or len(name) > MAX_NAME or not NAME.fullmatch(name):
        rule = f"up to {MAX_NAME} of A-Z a-z 0-9 _ . - and /, no part empty or starting with . or -"
        raise DefectError(f"a section has the name {brief(name)}; names have {rule}", fix)


def check_table(table: Any, data: memoryview) -> None:
    """Check that the sections fill `data`, the rest of the file, just as `write` lays them out."""
    if not isinstance(table, list):
        raise DefectError(f"the section table is {brief(table)}, not a list")
    check_count(len(table))
    end, last = 0, ""
    for index, entry in enumerate(table):
        _check_entry(entry, index)
        _check_place(entry, end, last, data)
        end, last = entry["offset"] + entry["length"], entry["name"]
    if end != len(data):
        raise DefectError(f"the last section ends at {end}, the section data at {len(data)}")


def check_zeros(gap: memoryview, where: str) -> None:
    """Padding is zero, as it would otherwise be a hiding place that no hash covers."""
    if bytes(gap).strip(b"\0"):
        raise DefectError(f"the padding before {where} is not zero")


def _check_entry(entry: Any, index: int) -> None:
    if not isinstance(entry, dict) or tuple(sorted(entry)) != FIELDS:
        raise DefectError(f"entry {index} of the section table must hold {', '.join(FIELDS)}")
    check_name(entry["name"])
    for field in ("offset", "length"):
        value = entry[field]
        if type(value) is not int or value < 0:  # isinstance would let a bool pass
            raise DefectError(f"section {entry['name']} has the {field} {brief(value)}")
    digest = entry["sha256"]
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise DefectError(f"section {entry['name']} has the sha256 {brief(digest)}")


def _check_place(entry: dict[str, Any], end: int, last: str, data: memoryview) -> None:
    """`last` is the section before and `end` its end."""
    name, start, length = entry["name"], entry["offset"], entry["length"]
    if name <= last:
        raise DefectError(f"section {name} follows {last}: names must be sorted and unique")
    if start % ALIGNMENT:
        raise DefectError(f"section {name} starts at {start}, not a multiple of {ALIGNMENT}")
    if start < end:
        raise DefectError(f"section {name} starts at {start}, inside {last} which ends at {end}")
    if start + length > len(data):
        raise DefectError(f"section {name} ends at {start + length}, the data at {len(data)}")
    if start != aligned(end):
        raise DefectError(f"section {name} starts at {start} instead of {aligned(end)}")
    check_zeros(data[end:start], f"section {name}")
