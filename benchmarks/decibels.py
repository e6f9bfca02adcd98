"""Signal to noise, as all benchmarks have it."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def decibels(exact: Array, found: Array) -> float:
    """The energy of what is exact over that of the error; infinite without an error."""
    wide = exact.astype(np.float64)
    noise = float(np.sum((wide - found) ** 2))
    return float(10 * np.log10(np.sum(wide**2) / noise)) if noise else float("inf")
