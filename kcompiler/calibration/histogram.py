"""How often a tensor takes which values, counted in one pass over the samples."""

from __future__ import annotations

import numpy as np

from kcompiler.graph.node import Array

HALF = 2048  # bins on each side of 0
_LEAST = 1e-30  # of the reach: float32 has its reciprocal


class Histogram:
    """Counts in equal bins from -reach to reach; the reach doubles when a value lies beyond it.

    Doubling joins bins in pairs, so no value is counted by a guess: at least half of the bins on
    the longer side cover what was seen. Extremes are exact.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * HALF, np.int64)
        self.reach = 0.0
        self.low = np.inf
        self.high = -np.inf
        self.left_out = 0

    def add(self, values: Array) -> None:
        """Count values; those that are not finite are left out, and `left_out` counts them."""
        flat = np.asarray(values, np.float32).reshape(-1)
        if not np.isfinite(flat).all():
            known = flat[np.isfinite(flat)]
            self.left_out += flat.size - known.size
            flat = known
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        place = (flat * np.float32(HALF / self.reach)).astype(np.float32)
        bins = np.clip(np.floor(place).astype(np.int32) + HALF, 0, 2 * HALF - 1)
        self.counts += np.bincount(bins, minlength=2 * HALF)

    def _grow(self, size: float) -> None:
        if self.reach == 0.0:
            self.reach = max(size, _LEAST) if size else 1.0
        while self.reach < size:
            inner = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([np.zeros(HALF // 2, np.int64), inner])
            self.counts = np.concatenate([self.counts, np.zeros(HALF // 2, np.int64)])
            self.reach *= 2

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def centres(self) -> Array:
        """The middle of every bin."""
        return (np.arange(2 * HALF) - HALF + 0.5) * (self.reach / HALF)

    @property
    def width(self) -> float:
        """The width of a bin."""
        return self.reach / HALF
