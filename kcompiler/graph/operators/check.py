"""The checks that `infer` methods share; a failure names the operator, the shapes and the rule."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from kcompiler.graph.node import Op
from kcompiler.graph.types import is_float, is_integer

Shape = tuple[int, ...]

MOST_ITERATED = 32
"""Dimensions that numpy broadcasts and computes on; its arrays may have more."""


def require(ok: bool, op: Op, rule: str) -> None:
    """Raise the `ValueError` of a broken rule."""
    if not ok:
        operands = ", ".join(str(o.type) for o in op.operands)
        given = ", ".join(f"{k}={_short(v)}" for k, v in op.attributes.items())
        shown = ", ".join(part for part in (operands, given) if part)
        raise ValueError(f"{type(op).__name__}({shown}): {rule}")


def require_axis(op: Op, axis: int, rank: int) -> None:
    """An axis counts from the front: 0 <= axis < rank."""
    require(0 <= axis < rank, op, f"axis {axis} must be in 0..{rank - 1}")


def require_axes(op: Op, axes: Sequence[int], rank: int) -> None:
    """Axes count from the front, ascend and do not repeat."""
    ordered = all(a < b for a, b in pairwise(axes))
    inside = all(0 <= a < rank for a in axes)
    require(ordered and inside, op, f"axes must ascend within 0..{rank - 1}")


def require_float(op: Op, *operands: Op) -> None:
    """The operands are floating point, all of one type."""
    same = len({o.dtype for o in operands}) == 1
    require(same and is_float(operands[0].dtype), op, "operands must be floats of one type")


def require_number(op: Op, *operands: Op) -> None:
    """The operands are floats or integers, all of one type."""
    same = len({o.dtype for o in operands}) == 1
    number = is_float(operands[0].dtype) or is_integer(operands[0].dtype)
    require(same and number, op, "operands must be numbers of one type")


def require_lengths(op: Op, length: int, **attributes: Sequence[int]) -> None:
    """Each attribute has one entry a dimension."""
    for name, value in attributes.items():
        require(len(value) == length, op, f"{name} must have {length} entries")


def broadcast_shape(op: Op, *shapes: Shape) -> Shape:
    """The common shape of numpy broadcasting."""
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except (ValueError, RuntimeError):  # the latter for more dimensions than numpy broadcasts
        require(False, op, "shapes do not broadcast")
        raise


def windows(
    op: Op,
    extents: Shape,
    *,
    window: Shape,
    strides: Shape,
    pads_low: Shape,
    pads_high: Shape,
    dilations: Shape,
) -> Shape:
    """How many positions a sliding window takes along each spatial dimension."""
    n = len(extents)
    given = {"window": window, "strides": strides, "dilations": dilations}
    require_lengths(op, n, **given, pads_low=pads_low, pads_high=pads_high)
    for name, value in given.items():
        require(all(v > 0 for v in value), op, f"{name} must be positive")
    require(all(p >= 0 for p in (*pads_low, *pads_high)), op, "pads must not be negative")
    counts = []
    for extent, k, s, low, high, d in zip(
        extents, window, strides, pads_low, pads_high, dilations, strict=True
    ):
        room = extent + low + high - d * (k - 1) - 1
        require(
            room >= 0, op, f"a window of {d * (k - 1) + 1} is longer than {extent + low + high}"
        )
        counts.append(room // s + 1)
    return tuple(counts)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
