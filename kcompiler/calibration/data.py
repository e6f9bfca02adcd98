"""Samples of a model's inputs, from files, arrays or a generator."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kcompiler.calibration import remarks
from kcompiler.calibration.files import (
    PICTURES,
    check_regular,
    read_archive,
    read_array,
    read_picture,
)
from kcompiler.calibration.preprocess import LAYOUTS, Preprocess
from kcompiler.errors import UsageError
from kcompiler.graph.node import Array
from kcompiler.graph.types import TensorType, is_float

Inputs: TypeAlias = Sequence[tuple[str, TensorType]]
Feeds: TypeAlias = dict[str, Array]
Runs: TypeAlias = Array  # the first dimension counts runs
Run: TypeAlias = "tuple[Feeds, Array | None]"
Source: TypeAlias = "str | os.PathLike[str] | Array | Mapping[str, Array] | Iterable[Any]"

MOST_SAMPLES = 512
MOST_BYTES = 2 << 30  # of all samples together, as the model takes them
LABELS = "labels"
NAMELESS = "arr_0"  # what numpy.savez calls an array without a name
_IMAGE = 3  # dimensions
_NUMBERS = "biuf"


@dataclass(frozen=True)
class Samples:
    """Inputs of runs, and the right class of each of their elements where the data say it.

    `more` says that there were data beyond the limits, `notes` what a user should know of them.
    """

    runs: tuple[Feeds, ...]
    labels: tuple[Array, ...] | None = None
    more: bool = False
    notes: tuple[str, ...] = ()


def read_samples(
    source: Source,
    inputs: Inputs,
    preprocess: Preprocess | None = None,
    limit: int = MOST_SAMPLES,
) -> Samples:
    """At most `limit` runs' inputs; raises `UsageError` for data that do not fit the model.

    `source` is a .npy or .npz file, a folder of .npy files or of pictures, an array, arrays by
    input, or anything that yields arrays or arrays by input, one run each or several. Beside inputs
    by name there may be `labels`, whole numbers.
    """
    reader = _Reader(inputs, preprocess or Preprocess())
    size = sum(kind.nbytes for _, kind in inputs)
    limit = max(1, min(limit, MOST_BYTES // max(size, 1)))
    found = list(islice(reader.samples(source), limit + 1))
    if not found:
        raise UsageError("there are no calibration data", _name(source))
    kept = found[:limit]
    labels = tuple(label for _, label in kept if label is not None)
    whole = labels if len(labels) == len(kept) else None
    runs = tuple(feeds for feeds, _ in kept)
    notes = (*reader.notes(), *remarks.constants(runs, inputs))
    return Samples(runs, whole, len(found) > limit, notes)


class _Reader:
    """Fits data to the inputs of a model."""

    def __init__(self, inputs: Inputs, preprocess: Preprocess) -> None:
        self.inputs = inputs
        self.preprocess = preprocess
        self._notes: dict[str, None] = {}
        self._bytes: dict[str, tuple[float, float]] = {}  # least and largest, by input

    def notes(self) -> Iterator[str]:
        """What a user should know of the samples so far."""
        yield from self._notes
        for name, limits in self._bytes.items():
            yield remarks.raw_bytes(name, *limits)

    def samples(self, source: Source) -> Iterator[Run]:
        """Inputs and labels, run by run."""
        if isinstance(source, str | os.PathLike):
            yield from self._path(Path(source))
        elif isinstance(source, Mapping):
            yield from self._named(source, "the calibration data")
        elif isinstance(source, np.ndarray):
            yield from self._alone(source, "the calibration data")
        else:
            for each in _iterated(source):
                yield from self.samples(_checked(each))

    def _path(self, path: Path) -> Iterator[Run]:
        if path.is_dir():
            yield from self._folder(path)
        elif not path.is_file():
            check_regular(path)
            raise UsageError("there is no such file or folder", str(path))
        elif path.suffix.lower() == ".npz":
            yield from self._named(read_archive(path), str(path))
        elif path.suffix.lower() in PICTURES:
            yield from self._pictures(path, [path])
        else:
            yield from self._alone(read_array(path), str(path))

    def _folder(self, path: Path) -> Iterator[Run]:
        known = {".npy", ".npz", *PICTURES}
        files = [p for p in sorted(path.iterdir()) if p.suffix.lower() in known and p.is_file()]
        if not files:
            fix = "give a folder of .npy files or of pictures"
            raise UsageError("the folder has no calibration data", str(path), fix=fix)
        if others := remarks.listed(path, files):
            self._notes[remarks.skipped(others, str(path))] = None
        for file in files:
            if file.suffix.lower() not in PICTURES:
                yield from self._path(file)
        yield from self._pictures(path, [f for f in files if f.suffix.lower() in PICTURES])

    def _pictures(self, where: Path, files: Sequence[Path]) -> Iterator[Run]:
        """As many pictures in a run as the model takes; what does not fill one is left out."""
        if not files:
            return
        _, kind = self._only(str(where))
        if len(kind.shape) != 4 or 3 not in {kind.shape[1], kind.shape[3]}:
            raise UsageError("the model does not take pictures", str(where), f"its input is {kind}")
        height, width = kind.shape[1:3] if kind.shape[1] != 3 else kind.shape[2:]
        batch = max(kind.shape[0], 1)
        if len(files) < batch:
            why = f"the model takes {batch} pictures at a time, and there are {len(files)}"
            raise UsageError("there are too few pictures", str(where), why, _fewer(batch))
        self._rest(len(files), batch, str(where))
        for start in range(0, len(files) - batch + 1, batch):
            pixels = [read_picture(f, height, width) for f in files[start : start + batch]]
            yield from self._alone(np.stack(pixels), str(where), layout="NHWC")

    def _rest(self, count: int, size: int, where: str) -> None:
        if count % size:
            self._notes[remarks.left_out(count, size, count % size, where)] = None

    def _only(self, where: str) -> tuple[str, TensorType]:
        if len(self.inputs) != 1:
            names = ", ".join(name for name, _ in self.inputs)
            fix = "give a .npz file (or a dictionary) with one array for each"
            raise UsageError("the model has several inputs", where, f"they are {names}", fix)
        return self.inputs[0]

    def _alone(self, value: Array, where: str, layout: str | None = None) -> Iterator[Run]:
        name, kind = self._only(where)
        layout = layout or self.preprocess.layout
        for each in self._runs(value, kind, where, layout):
            yield {name: self._fitted(name, each, kind, where, layout)}, None

    def _named(self, values: Mapping[str, Array], where: str) -> Iterator[Run]:
        names = {name for name, _ in self.inputs}
        labels = None if LABELS in names else values.get(LABELS)
        given = {k: v for k, v in values.items() if k != LABELS or labels is None}
        missing = [name for name, _ in self.inputs if name not in given]
        if len(self.inputs) == len(given) == 1 and NAMELESS in given:
            given, missing = {self.inputs[0][0]: given[NAMELESS]}, []
        if missing:
            known = ", ".join(given) or "nothing"
            fix = f"numpy.savez(path, {missing[0]}=array)" if missing[0].isidentifier() else None
            why = f"given: {known}"
            raise UsageError("an input has no calibration data", missing[0], why, fix or "")
        if others := given.keys() - names:
            self._notes[remarks.unread(sorted(others), where)] = None
        layout = self.preprocess.layout
        parts = {n: self._runs(np.asarray(given[n]), k, where, layout) for n, k in self.inputs}
        count = len(next(iter(parts.values()), []))
        uneven = next((n for n, each in parts.items() if len(each) != count), None)
        if uneven is not None:
            why = f"they hold {len(parts[uneven])} and {count} runs"
            raise UsageError("the inputs have different numbers of samples", where, why)
        marked = _labels(labels, count, where)
        for number in range(count):
            feeds = {n: self._fitted(n, parts[n][number], k, where, layout) for n, k in self.inputs}
            yield feeds, None if marked is None else marked[number]

    def _runs(self, value: Array, kind: TensorType, where: str, layout: str | None = None) -> Runs:
        """The runs that an array holds: its first dimension counts runs, or elements of batches."""
        if value.dtype.kind not in _NUMBERS:
            raise UsageError("calibration data must be numbers", where, f"they are {value.dtype}")
        if value.ndim and not len(value) and 0 not in kind.shape:
            why = f"they are {list(value.shape)}: no runs of {kind}"
            several = bool(kind.shape) and kind.shape[0] > 1
            fix = _fewer(kind.shape[0]) if several else "give arrays of one run or more"
            raise UsageError("there are no calibration data", where, why, fix)
        found = _shape_of_runs(value.shape, kind.shape, layout)
        if found is None:
            why = f"they are {list(value.shape)}, the input is {kind}"
            fix = _cure(value.shape, kind.shape)
            raise UsageError("the calibration data do not fit", where, why, fix)
        if found[0] == "batched":
            self._rest(len(value), max(kind.shape[0], 1), where)
        return _parts(value, *found)

    def _fitted(
        self, name: str, part: Array, kind: TensorType, where: str, layout: str | None
    ) -> Array:
        """One run as the model takes it."""
        prepared = self.preprocess
        if prepared.layout != layout:
            prepared = Preprocess(prepared.scale, prepared.mean, prepared.std, layout)
        x = prepared.apply(part, where) if is_float(kind.dtype) else part
        if part.dtype == np.uint8 and is_float(kind.dtype) and prepared.idle and part.size:
            low, high = self._bytes.get(name, (np.inf, -np.inf))
            self._bytes[name] = min(low, float(part.min())), max(high, float(part.max()))
        if x.shape != kind.shape:
            x = np.moveaxis(x, -1, -3) if layout == "NHWC" else np.moveaxis(x, -3, -1)
        with np.errstate(all="ignore"):
            found = np.array(x, kind.dtype, order="C", copy=None)
        if is_float(kind.dtype):
            if not np.isfinite(found.astype(np.float32)).all():
                raise UsageError("calibration data must be finite", where)
        elif not np.array_equal(found, x):
            why = f"they are {part.dtype}, and the input is {kind}"
            raise UsageError("calibration data are no such integers", where, why)
        return found


def _shape_of_runs(
    have: tuple[int, ...], want: tuple[int, ...], layout: str | None
) -> tuple[str, tuple[int, ...]] | None:
    """(how, shape of a run) by which an array holds runs of a shape."""
    for shape in _orders(want, layout):
        if have == shape:
            return "one", shape
        if have[1:] == shape:
            return "stacked", shape
        if have and shape and have[1:] == shape[1:] and have[0] >= shape[0]:
            return "batched", shape
        if shape and shape[0] == 1 and have == shape[1:]:
            return "bare", shape
    return None


def _cure(have: tuple[int, ...], want: tuple[int, ...]) -> str:
    """What a user may do about an array of another shape."""
    for layout in LAYOUTS:
        if _shape_of_runs(have, want, layout) is not None:
            return f"say how they lie with --preprocess layout={layout}"
    if have and want and have[1:] == want[1:] and have[0] < want[0]:
        return _fewer(want[0])
    return "give arrays of the input's shape; one more dimension before it may count runs"


def _fewer(batch: int) -> str:
    return f"give {batch} or more, or compile for fewer at a time"


def _orders(want: tuple[int, ...], layout: str | None) -> tuple[tuple[int, ...], ...]:
    """The shapes that a run may have in a layout; only images have one."""
    if layout is None or len(want) < _IMAGE:
        return (want,)
    if layout == "NHWC":
        return (*want[:-3], *want[-2:], want[-3]), want
    return want, (*want[:-3], want[-1], *want[-3:-1])


def _parts(value: Array, how: str, shape: tuple[int, ...]) -> Runs:
    """The runs of an array, as views of it; what does not fill a batch is left out."""
    if how in {"one", "bare"}:
        return value.reshape(1, *shape)
    if how == "stacked":
        return value
    size = max(shape[0], 1)
    count = len(value) // size
    return np.asarray(value[: count * size]).reshape(count, *shape)


def _labels(labels: Array | None, count: int, where: str) -> Array | None:
    """The labels of each run."""
    if labels is None:
        return None
    flat = np.asarray(labels).reshape(-1)
    if flat.dtype.kind not in "iu" or not count or len(flat) % count:
        why = f"there are {len(flat)} of type {flat.dtype} for {count} runs"
        raise UsageError("the labels do not fit the calibration data", where, why)
    if flat.min() < 0:
        why = f"the least is {flat.min()}, and they count classes from 0"
        raise UsageError("the labels do not fit the calibration data", where, why)
    return flat.astype(np.int64).reshape(count, -1)


def _iterated(source: Iterable[Any]) -> Iterator[Any]:
    try:
        return iter(source)
    except TypeError:
        kind = type(source).__name__
        fix = "a file, a folder, an array, arrays by input, or what yields these"
        raise UsageError(f"calibration data cannot be a {kind}", fix=fix) from None


def _checked(value: Any) -> Source:
    if isinstance(value, np.ndarray | Mapping):
        return value
    kind = type(value).__name__
    raise UsageError(f"calibration data yield a {kind}", fix="arrays, or dictionaries of arrays")


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else ""
