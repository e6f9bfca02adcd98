"""The ranges that observers choose for a format: its steps decide what a cut is worth."""

from __future__ import annotations

import numpy as np

from kcompiler.calibration import OBSERVERS, Histogram, Range, check_observer, observe
from kcompiler.errors import UsageError
from kcompiler.passes.quantize.formats import Format
from kcompiler.passes.quantize.scheme import Scheme

_HALVINGS = 12  # of the range of floats: below, hardly any square error is left to gain


def observers(kind: Format) -> tuple[str, ...]:
    """Those that know a format: entropy counts in steps of one size, which floats have not."""
    return tuple(name for name in OBSERVERS if kind.whole or name != "entropy")


def check(name: str, kind: Format) -> None:
    """Raise `UsageError` for an observer that there is not, or not for the format."""
    check_observer(name)
    known = (*observers(kind), "auto")
    if name not in known:
        why = "it counts in steps of equal size, which they have not"
        fix = f"one of: {', '.join(known)}"
        raise UsageError(f"{name} is no observer of 8-bit floats", why=why, fix=fix)


def observed(seen: Histogram, name: str, kind: Format) -> Range:
    """The range that an observer chooses."""
    if kind.whole or name != "mse" or not seen.total:
        return observe(seen, name)
    return min(_halved(seen), key=lambda covered: _lost(seen, covered, kind))


def _halved(seen: Histogram) -> list[Range]:
    """All that was seen, and less by powers of two: scales of floats are such."""
    size = max(-seen.low, seen.high)
    sizes = [size * 2.0**-n for n in range(_HALVINGS + 1)]
    return [Range.of(max(seen.low, -s), min(seen.high, s)) for s in sizes]


def _lost(seen: Histogram, covered: Range, kind: Format) -> float:
    """Sum of squared errors when the floats of a range stand for what was seen."""
    used = seen.counts > 0
    x = seen.centres[used].clip(seen.low, seen.high)
    near = Scheme.of(covered, kind=kind).near(x)
    return float(np.sum(seen.counts[used] * np.square(near - x)))
