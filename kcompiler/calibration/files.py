"""Arrays and pictures from files that nobody vouches for: sizes are checked, nothing is run."""

from __future__ import annotations

import lzma
import warnings
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import IO, Literal

import numpy as np

from kcompiler.errors import UsageError
from kcompiler.graph.node import Array

LARGEST_ARCHIVE = 4 << 30  # bytes that the arrays of an archive may unpack to
MOST_PIXELS = 64 << 20
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # whatever a file's name says: no decoder of documents


def check_regular(path: Path) -> None:
    """Raise `UsageError` for a pipe or a device, which opening may wait for."""
    try:
        waits = path.exists() and not path.is_file() and not path.is_dir()
    except OSError:  # said by whoever opens it
        return
    if waits:
        fix = "write the data to a file first"
        raise UsageError("this is not a regular file", str(path), fix=fix)


def read_array(path: Path) -> Array:
    """The array of a .npy file, mapped into memory."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file, path.name)
            start = file.tell()
        if not prod(shape):
            return np.zeros(shape, dtype)
        _check_bytes(path.stat().st_size - start, prod(shape) * dtype.itemsize)
        order: Literal["F", "C"] = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", start, shape, order).view(np.ndarray)
    except FileNotFoundError:
        raise UsageError("there is no such file", str(path)) from None
    except OSError as error:
        raise UsageError("the file cannot be read", str(path), _why(error)) from None
    except ValueError as error:
        fix = "write it with numpy.save(path, array)"
        raise UsageError("this is not an array file (.npy)", str(path), _why(error), fix) from None


def read_archive(path: Path) -> dict[str, Array]:
    """The arrays of a .npz file by name."""
    check_regular(path)
    found: dict[str, Array] = {}
    room = LARGEST_ARCHIVE
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                value = _member(archive, info, room)
                found[info.filename.removesuffix(".npy")] = value
                room -= value.nbytes
    except OSError as error:
        raise UsageError("the file cannot be read", str(path), _why(error)) from None
    except _DAMAGED as error:
        fix = "write it with numpy.savez(path, name=array)"
        raise UsageError("this is not an archive of arrays", str(path), _why(error), fix) from None
    return found


_DAMAGED = (
    *(ValueError, EOFError, OverflowError, SyntaxError, zlib.error, lzma.LZMAError),
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, MemoryError, TypeError),
)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: int) -> Array:
    """One array; its header is checked before there is memory for it."""
    with archive.open(info) as file:
        shape, fortran, dtype = _header(file, info.filename)
        nbytes = prod(shape) * dtype.itemsize
        if nbytes > room or nbytes > info.file_size:
            raise ValueError(f"{info.filename} says that it has {nbytes} bytes")
        data = file.read(nbytes)
    if len(data) != nbytes:
        raise ValueError(f"{info.filename} ends early")
    flat: Array = np.frombuffer(data, dtype) if nbytes else np.zeros(0, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """(shape, whether in Fortran's order, type) that a file says; nothing of it is run."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in read:
        raise ValueError(f"version {version} of the format")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = read[version](file)
    except Exception as error:  # noqa: BLE001 - numpy parses it as Python, which raises anything
        raise ValueError(f"{name} has a damaged header: {_why(error)}") from None
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are not read")
    if any(n < 0 for n in shape):
        raise ValueError(f"{name} has a negative extent")
    return shape, fortran, dtype


def read_picture(path: Path, height: int, width: int) -> Array:
    """The middle of a picture in an input's proportions, resized: uint8, height x width x 3."""
    try:
        from PIL import Image
    except ImportError:
        fix = "pip install pillow, or convert the pictures to one .npy file"
        raise UsageError("pictures need Pillow, which is not installed", fix=fix) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as opened:
                _check_pixels(opened.width * opened.height)
                image = opened.convert("RGB")
    except Exception as error:  # noqa: BLE001 - damaged pictures raise whatever a decoder meets
        raise UsageError("the picture cannot be read", str(path), _why(error)) from None
    scale = min(image.width / width, image.height / height)
    wide, high = scale * width, scale * height
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, left + wide, top + high)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box))


def _check_bytes(room: int, count: int) -> None:
    if count > room:
        raise ValueError(f"it says that it has {count} bytes")


def _check_pixels(count: int) -> None:
    if count > MOST_PIXELS:
        raise ValueError(f"it has {count} pixels, more than {MOST_PIXELS}")


def _why(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
