"""Few weights that share a scale: integers of 8 or 4 bits, or 8-bit floats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.passes.quantize.formats import FP8
from kcompiler.scalar import convert

KINDS = ("int8", "int4", "fp8")
_SHARES = np.linspace(1.0, 0.75, 6)  # what of a group's range its integers may cover
_ROUNDS = 2  # of fitting a scale to its integers, and these to the scale
Nearest = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Groups:
    """Narrow numbers with a scale and a zero point for each group, which broadcast to them."""

    values: Array
    scale: Array
    zero: Array

    @property
    def near(self) -> Array:
        """The numbers that they stand for."""
        whole = self.values.astype(np.float32) - self.zero.astype(np.float32)
        return np.asarray(whole * self.scale)


def quantize_groups(w: Array, axis: int, kind: str) -> Groups:
    """Weights whose `axis` is a group each: with a zero point in int4, else symmetric."""
    if kind == "fp8":
        return _searched(w, axis, _symmetric(w, axis, FP8.largest, FP8.shares), _float, FP8.dtype)
    if kind == "int8":
        starts = _symmetric(w, axis, 127, tuple(_SHARES))
        return _searched(w, axis, starts, _integer(-127, 127), np.dtype(np.int8))
    return _searched(w, axis, _asymmetric(w, axis, 15), _integer(0, 15), np.dtype(np.uint8))


Start = tuple[Array, Array]


def _symmetric(w: Array, axis: int, largest: int, shares: Iterable[float]) -> Iterator[Start]:
    """(scale, zero point) that cover shares of a group's range on both sides of 0."""
    size = np.abs(w).max(axis, keepdims=True)
    zero = np.zeros_like(size)
    for share in shares:
        yield _positive(size * np.float32(share / largest)), zero


def _asymmetric(w: Array, axis: int, largest: int) -> Iterator[Start]:
    """(scale, zero point) that cover shares of a group's range and 0."""
    smallest = np.minimum(w.min(axis, keepdims=True), 0)
    widest = np.maximum(w.max(axis, keepdims=True), 0) - smallest
    for share in _SHARES:
        step = _positive(widest * np.float32(share / largest))
        yield step, np.clip(np.rint(-smallest * np.float32(share) / step), 0, largest)


def _searched(
    w: Array, axis: int, starts: Iterable[Start], nearest: Nearest, dtype: np.dtype[Any]
) -> Groups:
    """Of several starts the fit with the least squared error, group by group."""
    best: Groups | None = None
    error: Array = np.zeros(())
    for step, zero in starts:
        made, lost = _fitted(w, axis, step, zero, nearest)
        if best is None:
            best, error = made, lost
            continue
        better = lost < error
        error = np.where(better, lost, error)
        pairs = zip(vars(made).values(), vars(best).values(), strict=True)
        best = Groups(*(np.where(better, new, old) for new, old in pairs))
    if best is None:
        raise ValueError("no start was given")
    return Groups(convert(best.values, dtype), best.scale, convert(best.zero, dtype))


def _fitted(
    w: Array, axis: int, step: Array, zero: Array, nearest: Nearest
) -> tuple[Groups, Array]:
    """Numbers for a zero point, the scale that fits them best, and their squared error."""
    for _ in range(_ROUNDS):
        whole = nearest(w / step, zero) - zero
        power = np.sum(whole * whole, axis, keepdims=True)
        fit = np.sum(whole * w, axis, keepdims=True) / np.maximum(power, 1)
        step = _positive(np.where(power > 0, fit, step))
    whole = nearest(w / step, zero)
    lost = np.sum(np.square((whole - zero) * step - w), axis, keepdims=True)
    return Groups(whole, step, zero), lost


def _integer(low: int, high: int) -> Nearest:
    """What rounds to integers of a range, around a zero point."""
    return lambda ratio, zero: np.asarray(np.clip(np.rint(ratio) + zero, low, high))


def _float(ratio: Array, _: Array) -> Array:
    return FP8.nearest(ratio)


def _positive(step: Array) -> Array:
    """Scales that one can divide by: groups of zeros have any."""
    return np.where(step > 1e-30, step, 1).astype(np.float32)
