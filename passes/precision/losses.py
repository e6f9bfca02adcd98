"""What the numbers of a weight lose in a narrower type, where it is more than rounding."""

from __future__ import annotations

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import dtype_name, is_float

ROUNDING = 2.0**-11
"""What vanishes is worth a word from this part of the whole on, as a root of sums of squares."""


def loss(value: Array, narrow: Array) -> str:
    """How many elements left the range of the narrow type, in words; empty where none counts."""
    if value.dtype == narrow.dtype or not value.size or not is_float(narrow.dtype):
        return ""
    import ml_dtypes

    info = ml_dtypes.finfo(narrow.dtype)  # type: ignore[no-untyped-call]
    least, most = float(info.smallest_subnormal), float(info.max)
    ends = float(value.min()), float(value.max())
    if -most <= ends[0] and ends[1] <= most and not _could_count(ends, value.size, least):
        return ""
    kind, found = dtype_name(narrow.dtype), []
    beyond = int(np.count_nonzero(np.isfinite(value) & (np.abs(value) > most)))
    if beyond:
        numbers = f"{beyond:,} of {value.size:,} elements"
        found.append(f"{numbers} are beyond {kind} and become its ends, \u00b1{most:,.6g}")
    gone = int(np.count_nonzero(value) - np.count_nonzero(narrow))
    if gone and _counts(value, gone, least):
        found.append(f"{gone:,} of {value.size:,} elements are too small for {kind} and become 0")
    return "; ".join(found)


def _could_count(ends: tuple[float, float], size: int, least: float) -> bool:
    """Whether it were worth a word if all elements vanished beside the largest."""
    return bool(np.sqrt(size) * least / 2 > ROUNDING * max(map(abs, ends)))


def _counts(value: Array, gone: int, least: float) -> bool:
    """Whether elements that vanish, all below half the least number, are not lost in rounding."""
    finite = value[np.isfinite(value)]
    largest = float(np.abs(finite).max(initial=0))
    if not largest:
        return False
    scaled = (finite / finite.dtype.type(largest)).ravel()
    whole = largest * float(np.sqrt(np.vdot(scaled, scaled)))
    return bool(np.sqrt(gone) * least / 2 > ROUNDING * whole)
