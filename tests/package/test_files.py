"""Files and requests that cannot work, and the promises about writing: atomic and fast."""

import gc
import os
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompiler.errors import PackageError
from kcompiler.package import read, to_bytes, write

OS_FIX = "check the path, your permissions and the free space of the disk"
READABLE = "give the path of a model.kpkg, as kcompile writes it"
BUFFER_FIX = "pass bytes, or a numpy array of numbers after numpy.ascontiguousarray"
SCALAR_FIX = "use None, a bool, a str, a finite float or an int of 64 bits"
FLATTER = "put bulk data into a section and keep the manifest small"


def failure(call: Callable[[], object]) -> str:
    """The message with which a call fails."""
    with pytest.raises(PackageError) as caught:
        call()
    return str(caught.value)


def message(verb: str, where: object, why: str, fix: str) -> str:
    """The whole text that a user sees."""
    return f"error: cannot {verb} the package\n  at: {where}\n  because: {why}\n  try: {fix}"


def deep(levels: int) -> dict[str, Any]:
    """A manifest that nests so deep."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"d": value}
    return value


MANIFESTS: dict[str, tuple[Any, str, str]] = {
    "list": ([], "the manifest is of type list, not dict", "pass a dict"),
    "int key": ({"a": {1: 2}}, "manifest.a has the key 1", "make every key a string"),
    "numpy": (
        {"a": [np.int64(1)]},
        "manifest.a.0 is np.int64(1) of type int64",
        SCALAR_FIX,
    ),
    "NaN": ({"a": float("nan")}, "manifest.a is nan of type float", SCALAR_FIX),
    "infinity": ({"a": float("inf")}, "manifest.a is inf of type float", SCALAR_FIX),
    "65 bits": ({"a": 2**64}, "manifest.a is 18446744073709551616 of type int", SCALAR_FIX),
    "bytes": ({"a": b""}, "manifest.a is b'' of type bytes", SCALAR_FIX),
    "surrogate": (
        {"a": "\ud800"},
        "the manifest has a string that is not Unicode: surrogates not allowed",
        "use strings without surrogates",
    ),
    "big": (
        {"a": "x" * (16 << 20)},
        "the manifest has 16777251 bytes, at most 16777216 may be",
        FLATTER,
    ),
    "deep": (
        deep(64),
        f"manifest{'.d' * 26}... nests deeper than 64 levels",
        FLATTER,
    ),
}
SECTIONS: dict[str, tuple[Any, str, str]] = {
    "name": (
        {"../a": b""},
        (
            "a section has the name '../a'; names have up to 255 of A-Z a-z 0-9 _ . - and /, "
            "no part empty or starting with . or -"
        ),
        "rename the section",
    ),
    "str": (
        {"a": "text"},
        "section a is of type str and no contiguous block of bytes",
        BUFFER_FIX,
    ),
    "strided": (
        {"a": np.zeros((4, 4))[:, ::2]},
        "section a is of type ndarray and no contiguous block of bytes",
        BUFFER_FIX,
    ),
    "strided view": (
        {"a": memoryview(b"abcd")[::2]},
        "section a is of type memoryview and no contiguous block of bytes",
        BUFFER_FIX,
    ),
    "Fortran": (
        {"a": np.zeros((4, 4), order="F")},
        "section a is of type ndarray and no contiguous block of bytes",
        BUFFER_FIX,
    ),
    "objects": (
        {"a": np.array([object()])},
        "section a is of type ndarray and no contiguous block of bytes",
        BUFFER_FIX,
    ),
    "too many": (
        {f"{i}": b"" for i in range(65537)},
        "there are 65537 sections, at most 65536 may be",
        "join small sections into larger ones",
    ),
}


@pytest.mark.parametrize(("manifest", "why", "fix"), MANIFESTS.values(), ids=MANIFESTS)
def test_manifests_that_cannot_be_written(manifest: Any, why: str, fix: str) -> None:
    assert failure(lambda: to_bytes(manifest, {})) == message("write", "<bytes>", why, fix)


@pytest.mark.parametrize(("sections", "why", "fix"), SECTIONS.values(), ids=SECTIONS)
def test_sections_that_cannot_be_written(sections: Any, why: str, fix: str) -> None:
    assert failure(lambda: to_bytes({}, sections)) == message("write", "<bytes>", why, fix)


def test_the_deepest_manifest() -> None:
    assert to_bytes(deep(63), {})


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none" / "m.kpkg"
    why = "No such file or directory"
    assert failure(lambda: read(path)) == message("read", path, why, OS_FIX)
    assert failure(lambda: write(path, {}, {})) == message("write", path, why, OS_FIX)


def test_not_a_regular_file(tmp_path: Path) -> None:
    why = "it is not a regular file"
    assert failure(lambda: read(tmp_path)) == message("read", tmp_path, why, READABLE)
    why, fix = "it exists and is not a regular file", "choose another file name"
    assert failure(lambda: write(tmp_path, {}, {})) == message("write", tmp_path, why, fix)
    assert failure(lambda: write(os.devnull, {}, {})) == message("write", os.devnull, why, fix)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "it is not a regular file" in failure(lambda: read(tmp_path / "pipe"))


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "m.kpkg"
    path.touch()
    why = r"it begins with b'', a package with b'KPKG\r\n\x1a\n'"
    assert failure(lambda: read(path)) == message("read", path, why, READABLE)


@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_failed_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "m.kpkg"
    write(path, {"old": True}, {})
    with monkeypatch.context() as patched:
        patched.setattr(Path, step, fail)
        why = "No space left on device"
        assert failure(lambda: write(path, {}, {})) == message("write", path, why, OS_FIX)
    assert list(tmp_path.iterdir()) == [path]
    assert read(path).manifest == {"old": True}


def test_an_interrupt_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "m.kpkg", {}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write(tmp_path / "m.kpkg", {}, {})
    assert (tmp_path / "m.kpkg").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_files_are_closed(tmp_path: Path) -> None:
    """Unclosed files would warn, and warnings are errors here."""
    write(tmp_path / "m.kpkg", {}, {"a": b"1"})
    read(tmp_path / "m.kpkg")
    gc.collect()


def test_50_mb_cost_little_more_than_their_hashes(tmp_path: Path) -> None:
    weights = np.ones(50_000_000, dtype=np.int8)
    path = tmp_path / "m.kpkg"
    once = _cpu(lambda: sha256(weights.data).digest())
    # Two hashes, that of the section and that of the file, and the copy into the page cache.
    assert _cpu(lambda: write(path, {}, {"w": weights})) < 0.1 + 3 * once
    assert _cpu(lambda: read(path)) < 0.1 + 2 * once
    assert _cpu(lambda: read(path, verify=False)) < 0.02


def _cpu(call: Callable[[], object]) -> float:
    """The least CPU seconds of three runs."""
    times = []
    for _ in range(3):
        before = time.process_time()
        call()
        times.append(time.process_time() - before)
    return min(times)
