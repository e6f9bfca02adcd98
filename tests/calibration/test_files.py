"""Files that nobody vouches for: each is refused with a reason, before there is memory for it."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcompiler.calibration import files
from kcompiler.calibration.files import read_archive, read_array, read_picture
from kcompiler.errors import UsageError


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def header(text: str) -> bytes:
    """A .npy file of version 1 with any header."""
    body = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


def described(shape: str, dtype: str = "'<f4'") -> bytes:
    return header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}")


def archive(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members:
            made.writestr(name, data)
    return path


def refused(path: Path) -> str:
    """The error of an array or archive."""
    read = read_archive if path.suffix == ".npz" else read_array
    with pytest.raises(UsageError) as caught:
        read(path)
    return str(caught.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    objects = np.array([Evil(mark)], object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "b.npz", objects, allow_pickle=True)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Evil(mark)))
    for name in ("a.npy", "b.npz", "c.npy"):
        assert "Python objects" in refused(tmp_path / name) or "magic" in refused(tmp_path / name)
    assert not mark.exists()


BAD_HEADERS = [
    described("(1 << 60,)"),
    described("(4611686018427387904, 4611686018427387904)"),
    described("(-1, -4)"),
    described("(2.5,)"),
    described("()", "'|O'"),
    described("(3,)", "[('a', '<f4')]"),
    described("(3,)", "__import__('os').abort()"),
    header("{'shape': (1,)}"),
    header("["),
    b"",
    b"\x93NUMPY\x01\x00\xff\xff{",
    b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16,
]


@pytest.mark.parametrize("data", BAD_HEADERS)
def test_bad_headers(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    path = archive(tmp_path / "a.npz", ("x.npy", data))
    if b"('a', '<f4')" not in data:  # fields are no numbers, as whoever reads samples says
        assert "this is not an array file" in refused(tmp_path / "a.npy")
    assert "this is not an archive of arrays" in refused(path)


def test_the_size_of_a_member_is_what_it_says_at_most(tmp_path: Path) -> None:
    """A header that promises 64 GB over eight bytes, and 2 GB of zeros in two kilobytes."""
    small = archive(tmp_path / "a.npz", ("x.npy", described("(17179869184,)")))
    assert "says that it has 68719476736 bytes" in refused(small)


def test_bombs_do_not_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_ARCHIVE", 1 << 20)
    zeros = described("(16777216,)") + bytes(1 << 26)
    bomb = archive(tmp_path / "a.npz", ("x.npy", zeros))
    assert bomb.stat().st_size < 1 << 18
    tracemalloc.start()
    assert "says that it has 67108864 bytes" in refused(bomb)
    assert tracemalloc.get_traced_memory()[1] < 1 << 21
    tracemalloc.stop()


def test_the_limit_is_for_all_members_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST_ARCHIVE", 1 << 10)
    part = described("(200,)") + bytes(800)
    assert set(read_archive(archive(tmp_path / "a.npz", ("x.npy", part)))) == {"x"}
    two = archive(tmp_path / "b.npz", ("x.npy", part), ("y.npy", part))
    assert "y.npy says that it has 800 bytes" in refused(two)


def test_orders_and_empty_arrays(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.int16).reshape(3, 4)
    np.savez(tmp_path / "a.npz", c=x, f=np.asfortranarray(x), e=np.zeros((0, 5)), s=np.float32(2))
    found = read_archive(tmp_path / "a.npz")
    assert np.array_equal(found["c"], x)
    assert np.array_equal(found["f"], x)
    assert found["e"].shape == (0, 5)
    assert found["s"].shape == ()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    x = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    np.save(folder / "a.npy", x)
    np.savez_compressed(folder / "a.npz", x=x, y=x[0])
    found = {p.name: p.read_bytes() for p in folder.iterdir()}
    image = pytest.importorskip("PIL.Image")
    for suffix in ("png", "jpg", "bmp", "webp"):
        out = io.BytesIO()
        image.fromarray(x).save(out, {"jpg": "jpeg"}.get(suffix, suffix))
        found[f"a.{suffix}"] = out.getvalue()
    return found


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_damage_is_a_users_error(
    data: st.DataObject, good: dict[str, bytes], tmp_path: Path
) -> None:
    """Bytes changed, cut off or put in: either numbers, or an error that says what is wrong."""
    name = data.draw(st.sampled_from(sorted(good)))
    damaged = bytearray(good[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.none(), st.integers(0, len(damaged))))
    path = tmp_path / name
    path.write_bytes(bytes(damaged[:end]))
    try:
        if path.suffix == ".npy":
            np.asarray(read_array(path)).sum(dtype=object)
        elif path.suffix == ".npz":
            read_archive(path)
        else:
            assert read_picture(path, 4, 4).shape == (4, 4, 3)
    except UsageError as error:
        text = str(error)
        assert str(path) in text
    except TypeError:  # fields cannot be summed: `read_samples` refuses them by their type
        assert path.suffix == ".npy"


def png(width: int, height: int) -> bytes:
    """A picture that says that it is large, with a few bytes of data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    parts = chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("side", [9000, 12000, 60000])
def test_picture_bombs(tmp_path: Path, side: int) -> None:
    pytest.importorskip("PIL")
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side))
    tracemalloc.start()
    with pytest.raises(UsageError, match="the picture cannot be read"):
        read_picture(path, 8, 8)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_documents_are_no_pictures(tmp_path: Path) -> None:
    """PostScript in a file named .png would be handed to an interpreter of programs."""
    pytest.importorskip("PIL")
    path = tmp_path / "a.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(UsageError, match="the picture cannot be read"):
        read_picture(path, 8, 8)
