"""Where the samples of a resized axis come from, and with what weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Axis:
    """An axis whose `extent` becomes `size`; `region` is the box of tf_crop_and_resize."""

    extent: int
    size: int
    scale: float
    mode: str
    region: tuple[float, float] = (0.0, 1.0)


def coordinates(axis: Axis) -> Array:
    """The position in the input of each element of the output, in float32 as in runtimes."""
    one = np.float32
    x, scale, n, m = np.arange(axis.size, dtype=one), one(axis.scale), axis.extent, axis.size
    half = one(0.5)
    match axis.mode:
        case "half_pixel":
            return (x + half) / scale - half
        case "pytorch_half_pixel":
            return (x + half) / scale - half if m > 1 else np.zeros(m, one)
        case "half_pixel_symmetric":
            adjustment = one(m) / (scale * one(n))
            offset = one(n) / one(2) * (one(1) - adjustment)
            return offset + (x + half) / scale - half
        case "align_corners":
            return x * one(n - 1) / one(m - 1) if m > 1 else np.zeros(m, one)
        case "asymmetric":
            return x / scale
        case "tf_half_pixel_for_nn":
            return (x + half) / scale
        case "tf_crop_and_resize":
            start, end = map(one, axis.region)
            if m > 1:
                return start * one(n - 1) + x * (end - start) * one(n - 1) / one(m - 1)
            return np.full(m, half * (start + end) * one(n - 1))
    raise ValueError(f"coordinate transformation {axis.mode!r} is unknown")


def outside(axis: Axis) -> Array:
    """Whether each sample lies outside of the input."""
    x = coordinates(axis)
    return np.asarray((x < 0) | (x > axis.extent - 1))


def nearest_indices(axis: Axis, rounding: str) -> Array:
    """The input element that each output element copies."""
    x = coordinates(axis)
    rules = {
        "round_prefer_floor": lambda: np.ceil(x - np.float32(0.5)),
        "round_prefer_ceil": lambda: np.floor(x + np.float32(0.5)),
        "floor": lambda: np.floor(x),
        "ceil": lambda: np.ceil(x),
    }
    if rounding not in rules:
        raise ValueError(f"rounding {rounding!r} is unknown")
    return np.clip(rules[rounding](), 0, axis.extent - 1).astype(np.int64)


def matrix(axis: Axis, cubic: float | None, antialias: bool, exclude_outside: bool) -> Array:
    """The weights [size, extent] of linear or cubic (coefficient `cubic`) interpolation.

    Taps outside of the input repeat its edge, or drop out with the rest scaled up. With antialias
    the kernel is as wide as the reduction.
    """
    stretch = min(1.0, axis.scale) if antialias else 1.0
    x = coordinates(axis).astype(np.float64)
    if cubic is None and not antialias:
        x = np.clip(x, 0, axis.extent - 1)
    reach = 1 if cubic is None else 2
    first = np.floor(x).astype(np.int64)
    span = int(np.ceil(reach / stretch)) + 1
    taps = first[:, None] + np.arange(-span, span + 1)
    distance = np.abs(taps - x[:, None]) * stretch
    weights = _linear(distance) if cubic is None else _cubic(distance, cubic)
    if exclude_outside:
        weights = np.where((taps >= 0) & (taps < axis.extent), weights, 0)
    total = weights.sum(1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    result = np.zeros((axis.size, axis.extent))
    rows = np.broadcast_to(np.arange(axis.size)[:, None], taps.shape)
    np.add.at(result, (rows, np.clip(taps, 0, axis.extent - 1)), weights)
    return result


def _linear(distance: Array) -> Array:
    return np.asarray(np.maximum(0, 1 - distance))


def _cubic(s: Array, a: float) -> Array:
    near = ((a + 2) * s - (a + 3)) * s * s + 1
    far = ((a * s - 5 * a) * s + 8 * a) * s - 4 * a
    return np.where(s <= 1, near, np.where(s < 2, far, 0))
