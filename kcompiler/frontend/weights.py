"""A look at every weight: a network with NaN in it computes nothing."""

from __future__ import annotations

import numpy as np

from kcompiler.errors import ModelError
from kcompiler.graph.node import Array
from kcompiler.graph.types import is_float

_CHUNK = 1 << 20  # elements looked at together, so that the check needs no memory


class WeightCheck:
    """Refuses NaN (unless `allow_nan`) and notes infinities, which masks hold on purpose."""

    def __init__(self, allow_nan: bool) -> None:
        self.allow_nan = allow_nan
        self.warnings: list[str] = []

    def __call__(self, name: str, value: Array) -> None:
        """Look at one tensor; raises `ModelError`."""
        if not is_float(value.dtype):
            return
        nans, infinities = _count(value)
        if nans and not self.allow_nan:
            raise ModelError(
                f"weight {name!r} holds {nans:,} NaN of {value.size:,} values",
                why="everything computed from it is NaN too",
                fix="check the training, and export the model again",
            )
        if nans or (infinities and value.size > 1):
            kinds = [f"{nans:,} NaN"] * bool(nans) + [f"{infinities:,} infinities"] * bool(
                infinities
            )
            found = " and ".join(kinds)
            self.warnings.append(f"weight {name!r} holds {found} of {value.size:,} values")


def _count(value: Array) -> tuple[int, int]:
    flat = value.reshape(-1)
    nans = infinities = 0
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        if np.isfinite(part).all():
            continue
        bad = int(np.isnan(part).sum())
        nans += bad
        infinities += int((~np.isfinite(part)).sum()) - bad
    return nans, infinities
