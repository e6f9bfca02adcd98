"""What range of a tensor its integers cover: all of it, or less of it more finely."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kcompiler.calibration.histogram import HALF, Histogram
from kcompiler.errors import UsageError
from kcompiler.graph.node import Array

LEVELS = 256
_STEPS = 40  # candidates of a search for the best limit
_LOPSIDED = 1 / 8  # of the longer side: a shorter one has too few integers to weigh anything
_SMALLEST = 0.2  # of the extremes: what the search goes down to


@dataclass(frozen=True)
class Range:
    """The numbers that integers cover; 0 is one of them, because padding and relu need it."""

    low: float
    high: float

    @staticmethod
    def of(low: float, high: float) -> Range:
        """The range, widened to 0."""
        return Range(min(low, 0.0), max(high, 0.0))

    def symmetric(self) -> Range:
        """The same to both sides."""
        size = max(-self.low, self.high)
        return Range(-size, size)


def min_max(seen: Histogram) -> Range:
    """Everything that was seen."""
    return Range.of(seen.low, seen.high)


def percentile(seen: Histogram, share: float = 0.9999) -> Range:
    """All but the outermost values: `share` of them stay, what is cut is split evenly."""
    total = np.cumsum(seen.counts) / max(seen.total, 1)
    cut = (1 - share) / 2
    first, last = int(np.searchsorted(total, cut, "right")), int(np.searchsorted(total, 1 - cut))
    edges = (np.arange(2 * HALF + 1) - HALF) * seen.width
    low, high = edges[min(first, 2 * HALF - 1)], edges[min(last + 1, 2 * HALF)]
    return Range.of(max(float(low), seen.low), min(float(high), seen.high))


def mean_square(seen: Histogram) -> Range:
    """The range with the least mean square error, of rounding inside and of cutting outside."""
    used = seen.counts > 0
    x, n = seen.centres[used], seen.counts[used]
    whole = min_max(seen)
    shares = np.linspace(1.0, _SMALLEST, _STEPS)
    low, high = whole.low, whole.high
    for _ in range(2):  # one side after the other, twice: each depends little on the other
        if high > 0:
            high = min((whole.high * s for s in shares), key=lambda h: _error(x, n, low, h))
        if low < 0:
            low = min((whole.low * s for s in shares), key=lambda v: _error(x, n, v, high))
    return Range.of(float(low), float(high))


def _error(x: Array, n: Array, low: float, high: float) -> float:
    """Sum of squared errors when LEVELS numbers cover a range."""
    if high <= low:
        return float(np.sum(n * x**2))
    step = (high - low) / (LEVELS - 1)
    near = np.rint((np.clip(x, low, high) - low) / step) * step + low
    return float(np.sum(n * (near - x) ** 2))


def entropy(seen: Histogram) -> Range:
    """The range whose integers tell most: least Kullback-Leibler divergence from what was seen.

    As in S. Migacz, "8-bit inference with TensorRT" (GTC 2017): for each limit, the counts up to it
    with the rest added to the last bins, against the same counts in as many bins as integers.
    Integers cover no more on the shorter side than there is; where hardly any of them lies on
    one side of 0, the other decides.
    """
    whole = min_max(seen)
    low, high = (min(HALF, int(np.ceil(v / seen.width))) for v in (-whole.low, whole.high))
    counts, middle = _without_zero(seen.counts), HALF
    if min(low, high) < max(low, high) * _LOPSIDED:
        counts, middle = counts[HALF:] if high > low else counts[HALF - 1 :: -1], 0
        low, high = 0, max(low, high)
    reaches = np.arange(1, max(low, high) + 1)
    enough = reaches[np.minimum(reaches, low) + np.minimum(reaches, high) >= LEVELS]
    if len(enough) < 2:
        return whole
    tried = map(int, np.unique(np.linspace(enough[0], enough[-1], 64).astype(int)))
    lost = {m: _divergence(counts, middle - min(m, low), middle + min(m, high)) for m in tried}
    reach = min(lost, key=lost.__getitem__) * seen.width
    return Range.of(max(whole.low, -reach), min(whole.high, reach))


def _without_zero(counts: Array) -> Array:
    """Counts without those of 0 itself: an integer stands for it, however often it occurs.

    After relu it is half of everything, after a mask more, and would draw all integers to it.
    """
    found = counts.copy()
    found[HALF] = 0
    return found


def _divergence(counts: Array, first: int, last: int) -> float:
    """KL(P | Q) of counts cut to the bins from `first` to `last`, and the same in LEVELS bins."""
    inside = counts[first:last].astype(np.float64)
    p = inside.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[last:].sum()
    bins = np.minimum(np.arange(last - first) * LEVELS // (last - first), LEVELS - 1)
    filled = inside > 0
    total = np.bincount(bins, inside, LEVELS)
    used = np.bincount(bins, filled.astype(np.float64), LEVELS)
    q = np.where(filled, total[bins] / np.maximum(used[bins], 1), 0.0)
    p, q = p / max(p.sum(), 1.0), q / max(q.sum(), 1.0)
    lost = (p > 0) & (q == 0)
    both = (p > 0) & (q > 0)
    return float(np.sum(p[both] * np.log(p[both] / q[both])) + 20.0 * p[lost].sum())


OBSERVERS: Mapping[str, Callable[[Histogram], Range]] = {
    "min-max": min_max,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mean_square,
}
AUTO = "auto"  # of each tensor the one with the least error where it is used


def check_observer(name: str, known: Sequence[str] = (*OBSERVERS, AUTO)) -> None:
    """Raise `UsageError` for a name that is none of those known."""
    if name not in known:
        raise UsageError(f"there is no observer {name!r}", fix=f"one of: {', '.join(known)}")


def observe(seen: Histogram, observer: str) -> Range:
    """The range that one of `OBSERVERS` chooses; raises `UsageError` for an unknown one."""
    check_observer(observer, tuple(OBSERVERS))
    if not seen.total:
        return Range(0.0, 0.0)
    return OBSERVERS[observer](seen)
