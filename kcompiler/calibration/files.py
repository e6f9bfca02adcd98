"""Arrays and pictures from files that nobody vouches for: sizes are checked, nothing is run."""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from kcompiler.errors import UsageError
from kcompiler.graph.node import Array

LARGEST_ARRAY = 1 << 30  # bytes that one member of an archive may unpack to
MOST_PIXELS = 64 << 20
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def read_array(path: Path) -> Array:
    """The array of a .npy file, mapped into memory."""
    try:
        return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
    except OSError as error:
        raise UsageError("the file cannot be read", str(path), _why(error)) from None
    except (ValueError, EOFError, OverflowError, SyntaxError) as error:
        fix = "write it with numpy.save(path, array)"
        raise UsageError("this is not an array file (.npy)", str(path), _why(error), fix) from None


def read_archive(path: Path) -> dict[str, Array]:
    """The arrays of a .npz file by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removesuffix(".npy"): _member(archive, info)
                for info in archive.infolist()
            }
    except OSError as error:
        raise UsageError("the file cannot be read", str(path), _why(error)) from None
    except _DAMAGED as error:
        fix = "write it with numpy.savez(path, name=array)"
        raise UsageError("this is not an archive of arrays", str(path), _why(error), fix) from None


_DAMAGED = (
    *(ValueError, EOFError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, MemoryError),
)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    with archive.open(info) as file:
        shape, fortran, dtype = _header(file)
        nbytes = prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds Python objects")
        if nbytes > LARGEST_ARRAY or nbytes > info.file_size:
            raise ValueError(f"{info.filename} says that it has {nbytes} bytes")
        data = file.read(nbytes)
    if len(data) != nbytes:
        raise ValueError(f"{info.filename} ends early")
    flat: Array = np.frombuffer(data, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version} of the format")


def read_picture(path: Path, height: int, width: int) -> Array:
    """The middle of a picture in an input's proportions, resized: uint8, height x width x 3."""
    try:
        from PIL import Image
    except ImportError:
        fix = "pip install pillow, or convert the pictures to one .npy file"
        raise UsageError("pictures need Pillow, which is not installed", fix=fix) from None
    try:
        with Image.open(path) as opened:
            _check_pixels(opened.width * opened.height)
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError("the picture cannot be read", str(path), _why(error)) from None
    scale = min(image.width / width, image.height / height)
    wide, high = scale * width, scale * height
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, left + wide, top + high)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box))


def _check_pixels(count: int) -> None:
    if count > MOST_PIXELS:
        raise ValueError(f"it has {count} pixels, more than {MOST_PIXELS}")


def _why(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
