"""Samples of a model's inputs, from files, arrays or a generator."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kcompiler.calibration.files import PICTURES, read_archive, read_array, read_picture
from kcompiler.calibration.preprocess import Preprocess
from kcompiler.errors import UsageError
from kcompiler.graph.node import Array
from kcompiler.graph.types import TensorType, is_float

Inputs: TypeAlias = Sequence[tuple[str, TensorType]]
Feeds: TypeAlias = dict[str, Array]
Source: TypeAlias = "str | os.PathLike[str] | Array | Mapping[str, Array] | Iterable[Any]"

MOST_SAMPLES = 512
_NUMBERS = "biuf"


def read_samples(
    source: Source,
    inputs: Inputs,
    preprocess: Preprocess | None = None,
    limit: int = MOST_SAMPLES,
) -> list[Feeds]:
    """At most `limit` runs' inputs; raises `UsageError` for data that do not fit the model.

    `source` is a .npy or .npz file, a folder of .npy files or of pictures, an array, arrays by
    input, or anything that yields arrays or arrays by input, one run each or several.
    """
    reader = _Reader(inputs, preprocess or Preprocess())
    found = list(islice(reader.samples(source), limit))
    if not found:
        raise UsageError("there are no calibration data", _name(source))
    return found


class _Reader:
    """Fits data to the inputs of a model."""

    def __init__(self, inputs: Inputs, preprocess: Preprocess) -> None:
        self.inputs = inputs
        self.preprocess = preprocess

    def samples(self, source: Source) -> Iterator[Feeds]:
        """One dictionary a run."""
        if isinstance(source, str | os.PathLike):
            yield from self._path(Path(source))
        elif isinstance(source, Mapping):
            yield from self._named(source, "the calibration data")
        elif isinstance(source, np.ndarray):
            yield from self._alone(source, "the calibration data")
        else:
            for each in source:
                yield from self.samples(_checked(each))

    def _path(self, path: Path) -> Iterator[Feeds]:
        if path.is_dir():
            yield from self._folder(path)
        elif path.suffix == ".npz":
            yield from self._named(read_archive(path), str(path))
        elif path.suffix.lower() in PICTURES:
            yield from self._picture(path)
        else:
            yield from self._alone(read_array(path), str(path))

    def _folder(self, path: Path) -> Iterator[Feeds]:
        known = {".npy", ".npz", *PICTURES}
        files = [p for p in sorted(path.iterdir()) if p.suffix.lower() in known and p.is_file()]
        if not files:
            fix = "give a folder of .npy files or of pictures"
            raise UsageError("the folder has no calibration data", str(path), fix=fix)
        for file in files:
            yield from self._path(file)

    def _picture(self, path: Path) -> Iterator[Feeds]:
        _, kind = self._only(str(path))
        if len(kind.shape) != 4 or 3 not in {kind.shape[1], kind.shape[3]}:
            raise UsageError("the model does not take pictures", str(path), f"its input is {kind}")
        last = kind.shape[1] != 3
        height, width = kind.shape[1:3] if last else kind.shape[2:]
        pixels = read_picture(path, height, width)
        yield from self._alone(pixels, str(path), layout="NHWC")

    def _only(self, where: str) -> tuple[str, TensorType]:
        if len(self.inputs) != 1:
            names = ", ".join(name for name, _ in self.inputs)
            fix = "give a .npz file (or a dictionary) with one array for each"
            raise UsageError("the model has several inputs", where, f"they are {names}", fix)
        return self.inputs[0]

    def _alone(self, value: Array, where: str, layout: str | None = None) -> Iterator[Feeds]:
        name, kind = self._only(where)
        for each in self._runs(value, kind, where, layout):
            yield {name: each}

    def _named(self, values: Mapping[str, Array], where: str) -> Iterator[Feeds]:
        missing = [name for name, _ in self.inputs if name not in values]
        if missing and len(self.inputs) == len(values) == 1:
            yield from self._alone(next(iter(values.values())), where)
            return
        if missing:
            given = ", ".join(values) or "nothing"
            raise UsageError("an input has no calibration data", missing[0], f"given: {given}")
        runs = [self._runs(np.asarray(values[n]), kind, where) for n, kind in self.inputs]
        for each in zip(*runs, strict=False):
            yield {name: x for (name, _), x in zip(self.inputs, each, strict=True)}

    def _runs(
        self, value: Array, kind: TensorType, where: str, layout: str | None = None
    ) -> Iterator[Array]:
        """The runs that an array holds: its first dimension counts runs, or elements of batches."""
        if value.dtype.kind not in _NUMBERS:
            raise UsageError("calibration data must be numbers", where, f"they are {value.dtype}")
        layout = layout or self.preprocess.layout
        found = _shape_of_runs(value.shape, kind.shape, layout)
        if found is None:
            why = f"they are {list(value.shape)}, the input is {kind}"
            fix = "say how they lie with --preprocess layout=NHWC" if value.ndim > 2 else ""
            raise UsageError("the calibration data do not fit", where, why, fix)
        for part in _parts(value, *found):
            yield self._fitted(part, kind, where, layout)

    def _fitted(self, part: Array, kind: TensorType, where: str, layout: str | None) -> Array:
        """One run as the model takes it."""
        prepared = self.preprocess
        if prepared.layout != layout:
            prepared = Preprocess(prepared.scale, prepared.mean, prepared.std, layout)
        x = prepared.apply(part) if is_float(kind.dtype) else part
        if x.shape != kind.shape:
            x = np.moveaxis(x, -1, -3) if layout == "NHWC" else np.moveaxis(x, -3, -1)
        if is_float(kind.dtype) and not np.isfinite(x).all():
            raise UsageError("calibration data must be finite", where)
        return np.ascontiguousarray(x, kind.dtype)


def _shape_of_runs(
    have: tuple[int, ...], want: tuple[int, ...], layout: str | None
) -> tuple[str, tuple[int, ...]] | None:
    """(how, shape of a run) by which an array holds runs of a shape."""
    turned = (*want[:-3], *want[-2:], want[-3]) if len(want) >= 3 else want
    orders = {"NHWC": (turned, want), "NCHW": (want, (*want[:-3], want[-1], *want[-3:-1]))}
    for shape in orders.get(layout or "", (want,)) if len(want) >= 3 else (want,):
        if have == shape:
            return "one", shape
        if have[1:] == shape:
            return "stacked", shape
        if shape and have[1:] == shape[1:]:
            return "batched", shape
        if shape and shape[0] == 1 and have == shape[1:]:
            return "bare", shape
    return None


def _parts(value: Array, how: str, shape: tuple[int, ...]) -> Iterator[Array]:
    """The runs of an array."""
    if how in {"one", "bare"}:
        yield value.reshape(shape)
    elif how == "stacked":
        yield from value
    else:
        size = max(shape[0], 1)
        for start in range(0, len(value) - size + 1, size):
            yield value[start : start + size]


def _checked(value: Any) -> Source:
    if isinstance(value, np.ndarray | Mapping):
        return value
    kind = type(value).__name__
    raise UsageError(f"calibration data yield a {kind}", fix="arrays, or dictionaries of arrays")


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else ""
