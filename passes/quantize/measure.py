"""Ratios of signal to noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kcompiler.graph.node import Array


def finite(x: Array) -> Array:
    """The tensor with 0 for what is no number or infinite."""
    known = np.isfinite(x)
    return x if known.all() else np.where(known, x, np.zeros((), x.dtype))


def has_numbers(x: Array) -> bool:
    """Whether a tensor holds numbers, and no text."""
    return np.asarray(x).dtype.kind not in "OSU"


@dataclass
class Ratio:
    """Sums over many pairs of what should be and what is.

    Where nothing finite should be, there is no ratio: such elements are left out, and what should
    be finite and is not counts as 0. `broken` counts both, unless they are the same.
    """

    signal: float = 0.0
    noise: float = 0.0
    found: float = 0.0
    product: float = 0.0
    broken: int = 0

    def add(self, expected: Array, found: Array) -> None:
        """Count one pair; text has no ratio, and is broken where it differs."""
        if not (has_numbers(expected) and has_numbers(found)):
            self.broken += 0 if np.array_equal(expected, found) else 1
            return
        a, b = (v.reshape(-1).astype(np.float64) for v in (expected, found))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            a, b = self._comparable(a, b)
        self.signal += float(a @ a)
        self.found += float(b @ b)
        self.product += float(a @ b)
        difference = a - b
        self.noise += float(difference @ difference)

    def _comparable(self, a: Array, b: Array) -> tuple[Array, Array]:
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        self.broken += int(np.sum(~same & ~(np.isfinite(a) & np.isfinite(b))))
        known = np.isfinite(a)
        return a[known], finite(b[known])

    @property
    def sqnr_db(self) -> float | None:
        """Signal to noise in dB; None without noise."""
        if not self.noise or not self.signal:
            return None
        return float(10 * np.log10(self.signal / self.noise))

    @property
    def cosine(self) -> float:
        """The cosine of the angle between both."""
        size = float(np.sqrt(self.signal * self.found))
        return self.product / size if size else 1.0


@dataclass(frozen=True)
class OutputReport:
    """How far an output is from float32 on the calibration data, as integers will compute it.

    For an output of scores of classes, `agreement` is how often the largest is the same, and
    `correct` and `correct_float` how often it is the label's, each of `count`.
    """

    name: str
    sqnr_db: float | None
    cosine: float
    count: int = 0
    agreement: int | None = None
    correct: int | None = None
    correct_float: int | None = None


def report_output(
    name: str, exact: Sequence[Array], near: Sequence[Array], labels: Sequence[Array] | None
) -> OutputReport:
    """The row of an output; its values, run by run."""
    ratio = Ratio()
    for pair in zip(exact, near, strict=True):
        ratio.add(*pair)
    if exact[0].ndim != 2 or exact[0].shape[1] < 2 or not has_numbers(exact[0]):
        return OutputReport(name, ratio.sqnr_db, ratio.cosine)
    right, ours = (np.concatenate([v.argmax(1) for v in side]) for side in (exact, near))
    row = OutputReport(name, ratio.sqnr_db, ratio.cosine, len(right), int(np.sum(right == ours)))
    if labels is None or sum(map(len, labels)) != len(right):
        return row
    known = np.concatenate(list(labels))
    hits, exact_hits = (int(np.sum(side == known)) for side in (ours, right))
    return replace(row, correct=hits, correct_float=exact_hits)
