"""Canonical JSON inside limits: the same value has one spelling, and a hostile one costs little."""

import json
import math
import re
from typing import Any

from kcompiler.package.defect import DAMAGED, DefectError, brief

# What a hostile file can make the reader do; the writer keeps to the same.
MAX_BYTES = 16 << 20
MAX_VALUES = 1 << 20  # as a Python object a value can take a hundred times its bytes
MAX_DEPTH = 64
MIN_INT, MAX_INT = -(1 << 63), (1 << 64) - 1

# Possessive, and an open string runs to the end: linear time on any input.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
BRACKETS = bytes.maketrans(b"{}", b"[]")
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
FLATTER = "put bulk data into a section and keep the manifest small"


def encode(value: object) -> bytes:
    """The one spelling of a value that `check_plain` accepts."""
    try:
        data = _spell(value)
    except UnicodeEncodeError as error:
        why = f"the manifest has a string that is not Unicode: {error.reason}"
        raise DefectError(why, "use strings without surrogates") from None
    check_limits(data, FLATTER)
    return data


def decode(data: bytes) -> Any:
    """The value of an untrusted text, which must be what `encode` makes of that value."""
    check_limits(data, DAMAGED)
    try:
        text = data.decode()
        value = json.loads(text, parse_int=_int, parse_float=_float, parse_constant=_constant)
        spelling = _spell(value)
    except DefectError:
        raise
    except ValueError as error:
        raise DefectError(f"the manifest is not JSON: {error}") from None
    # Keys twice or unsorted, spaces, another spelling of a number.
    if spelling != data:
        raise DefectError("the manifest is not canonical JSON (sorted unique keys, no spaces)")
    return value


def _spell(value: object) -> bytes:
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def check_limits(data: bytes, fix: str) -> None:
    """Bound size, number of values and depth, before anything is built from the text."""
    if len(data) > MAX_BYTES:
        raise DefectError(f"the manifest has {len(data)} bytes, at most {MAX_BYTES} may be", fix)
    # Every value follows a comma or an opening bracket, so this never counts too few.
    values = sum(map(data.count, (b",", b"[", b"{")))
    if values > MAX_VALUES:
        why = f"the manifest has {values} commas and opening brackets, at most {MAX_VALUES} may be"
        raise DefectError(why, fix)
    # Parsers recurse, some on the C stack. Each round takes away the innermost brackets.
    brackets = STRING.sub(b"", data).translate(BRACKETS, NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        why = f"the manifest nests deeper than {MAX_DEPTH} levels or has an unmatched bracket"
        raise DefectError(why, fix)


def check_plain(value: object, at: str, depth: int = 1) -> None:
    """Refuse what JSON would bend or not hold: keys that are no strings, numpy scalars, NaN."""
    if depth > MAX_DEPTH:
        raise DefectError(f"{at[:60]}... nests deeper than {MAX_DEPTH} levels", FLATTER)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise DefectError(f"{at} has the key {brief(key)}", "make every key a string")
            check_plain(item, f"{at}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{at}.{index}", depth + 1)
    elif not _is_scalar(value):
        fix = "use None, a bool, a str, a finite float or an int of 64 bits"
        raise DefectError(f"{at} is {brief(value)} of type {type(value).__name__}", fix)


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return MIN_INT <= value <= MAX_INT
    return value is None or isinstance(value, str)


def _int(text: str) -> int:
    # The length first: the time to convert digits grows with their square.
    if len(text) > 20 or not MIN_INT <= int(text) <= MAX_INT:
        raise DefectError(f"the manifest has the integer {brief(text)}, beyond 64 bits")
    return int(text)


def _float(text: str) -> float:
    if len(text) > 32 or not math.isfinite(float(text)):
        raise DefectError(f"the manifest has the number {brief(text)}, which no float64 holds")
    return float(text)


def _constant(text: str) -> float:
    raise DefectError(f"the manifest has {text}, which is not JSON")
