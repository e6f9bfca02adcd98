"""What is written is what is read, for every manifest and every kind of buffer."""

import array
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.package import from_bytes, read, to_bytes, write
from tests.package.craft import PAGE, content, text

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)
MANIFESTS = st.dictionaries(st.text(), VALUES)
NAMES = st.from_regex(r"[A-Za-z0-9_][\w.-]{0,8}(/[A-Za-z0-9_][\w.-]{0,8}){0,2}", fullmatch=True)
NAMES = NAMES.filter(str.isascii)
PAYLOADS = st.binary(max_size=20) | st.integers(PAGE - 2, 2 * PAGE + 2).map(bytes)


@given(MANIFESTS, st.dictionaries(NAMES, PAYLOADS, max_size=5))
def test_round_trip(manifest: dict[str, Any], sections: dict[str, bytes]) -> None:
    blob = to_bytes(manifest, sections)
    package = from_bytes(blob)
    assert content(package) == (text(manifest), sections)
    assert to_bytes(dict(package.manifest), package.sections) == blob


@pytest.mark.parametrize(
    "buffer",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"a view")[1:4],
        array.array("d", [1.5, 2.5]),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.array(7, dtype=np.int64),
        np.zeros((0, 3), dtype=np.float32),
        np.ones(5, dtype=ml_dtypes.bfloat16),
        np.ones((2, 2), dtype=ml_dtypes.int4),
        np.array([True, False]),
        b"",
    ],
)
def test_every_kind_of_buffer(buffer: Any) -> None:
    expected = buffer.tobytes() if hasattr(buffer, "tobytes") else bytes(buffer)
    package = from_bytes(to_bytes({}, {"it": buffer}))
    assert package.section("it") == expected


def test_a_tuple_becomes_a_list() -> None:
    assert from_bytes(to_bytes({"shape": (1, 2)}, {})).manifest == {"shape": [1, 2]}


def test_sections_lie_on_pages_and_are_read_only(tmp_path: Path) -> None:
    weights = np.arange(5000, dtype=np.float32)
    write(tmp_path / "m.kpkg", {}, {"a": b"odd", "w": weights})
    mapped = np.frombuffer(read(tmp_path / "m.kpkg").section("w"), dtype=np.float32)
    np.testing.assert_array_equal(mapped, weights)
    assert mapped.ctypes.data % PAGE == 0
    assert not mapped.flags.writeable


def test_a_section_outlives_its_package(tmp_path: Path) -> None:
    path = tmp_path / "m.kpkg"
    write(path, {}, {"w": b"first"})
    view = read(path).section("w")
    write(path, {}, {"w": b"other"})  # puts a new file in place, the mapped one stays
    assert bytes(view) == b"first"
    assert read(path).section("w").tobytes() == b"other"


def test_nothing_is_copied(tmp_path: Path) -> None:
    weights = np.ones(20_000_000, dtype=np.int8)
    tracemalloc.start()
    try:
        write(tmp_path / "m.kpkg", {}, {"w": weights})
        assert len(read(tmp_path / "m.kpkg").section("w")) == weights.size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
