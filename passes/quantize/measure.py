"""Ratios of signal to noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kcompiler.graph.node import Array


@dataclass
class Ratio:
    """Sums over many pairs of what should be and what is."""

    signal: float = 0.0
    noise: float = 0.0
    found: float = 0.0
    product: float = 0.0

    def add(self, expected: Array, found: Array) -> None:
        """Count one pair."""
        a, b = (v.reshape(-1).astype(np.float64) for v in (expected, found))
        self.signal += float(a @ a)
        self.found += float(b @ b)
        self.product += float(a @ b)
        difference = a - b
        self.noise += float(difference @ difference)

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
