"""Resize and Upsample: repetition where that is all, else one interpolation matrix an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import table_size, take, wide
from kcompiler.frontend.interpolation import Axis, matrix, nearest_indices, outside
from kcompiler.frontend.limits import INDICES
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import BOOL, is_float


@onnx_op("Upsample")
def upsample(node: Node) -> Op:
    """Resize as it was before opset 10: asymmetric, rounding down."""
    scales = node.numbers("scales") if node.opset < 9 else _floats(node, 1)
    axes = [_scaled(n, s, "asymmetric") for n, s in zip(node[0].shape, scales or (), strict=True)]
    return _resized(node[0], list(enumerate(axes)), node, "floor")


@onnx_op("Resize")
def resize(node: Node) -> Op:
    """By scales or to sizes, along some axes; opset 10 has no choice of coordinates."""
    x = node[0]
    if node.opset < 11:
        scales = _floats(node, 1) or ()
        old = [_scaled(n, s, "asymmetric") for n, s in zip(x.shape, scales, strict=True)]
        return _resized(x, list(enumerate(old)), node, "floor")
    chosen = node.integers("axes") if node.has("axes") else range(x.type.rank)
    axes = [build.normal_axis(a, x.type.rank) for a in chosen]
    found = _axes(node, [x.shape[a] for a in axes])
    rounding = node.string("nearest_mode", "round_prefer_floor")
    return _resized(x, list(zip(axes, found, strict=True)), node, rounding)


def _axes(node: Node, extents: Sequence[int]) -> list[Axis]:
    """What happens along each of the chosen axes."""
    mode = node.string("coordinate_transformation_mode", "half_pixel")
    roi = _floats(node, 1) if mode == "tf_crop_and_resize" else None
    boxes = zip(roi[: len(extents)], roi[len(extents) :], strict=True) if roi else None
    regions = list(boxes) if boxes else [(0.0, 1.0)] * len(extents)
    scales = _floats(node, 2)
    if scales:
        return [
            _scaled(*each[:2], mode, each[2]) for each in zip(extents, scales, regions, strict=True)
        ]
    sizes = node.integers_of(3)
    if sizes is None:
        raise ValueError("neither scales nor sizes are given")
    policy = node.string("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        ratios = [s / n for s, n in zip(sizes, extents, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        return [
            Axis(n, int(ratio * n + 0.5), ratio, mode, region)
            for n, region in zip(extents, regions, strict=True)
        ]
    return [
        Axis(n, s, s / n if n else 1.0, mode, region)
        for n, s, region in zip(extents, sizes, regions, strict=True)
    ]


def _scaled(extent: int, scale: float, mode: str, region: tuple[float, float] = (0.0, 1.0)) -> Axis:
    if not scale > 0:
        raise ValueError(f"a scale of {scale}")
    size = int(np.float32(extent) * np.float32(scale))  # in float32, as onnxruntime does
    return Axis(extent, size, scale, mode, region)


def _floats(node: Node, index: int) -> tuple[float, ...] | None:
    value = node.value(index)
    return None if value is None else tuple(value.reshape(-1).tolist())


def _resized(x: Op, axes: list[tuple[int, Axis]], node: Node, rounding: str) -> Op:
    mode = node.string("mode", "nearest")
    cropped = [(i, a) for i, a in axes if a.mode == "tf_crop_and_resize"]
    changed = [(i, a) for i, a in axes if a.size != a.extent or a.scale != 1 or (i, a) in cropped]
    for _, axis in changed:
        table_size(axis.size, limit=INDICES)
        table_size(axis.size, axis.extent if mode != "nearest" else 1)
    if mode == "nearest":
        y = x
        for i, axis in changed:
            y = take(y, i, nearest_indices(axis, rounding))
    elif mode in {"linear", "cubic"}:
        if not is_float(x.dtype):
            raise NotExpressible(f"{mode} interpolation of integers")
        y = wide(x, lambda v: _interpolated(v, changed, node, mode))
    else:
        raise ValueError(f"interpolation {mode!r} is unknown")
    return _extrapolated(y, cropped, node.number("extrapolation_value", 0.0))


def _interpolated(x: Op, axes: list[tuple[int, Axis]], node: Node, mode: str) -> Op:
    letters = "abcdefghijklmnop"[: x.type.rank]
    for i, axis in axes:
        weights = matrix(
            axis,
            cubic=node.number("cubic_coeff_a", -0.75) if mode == "cubic" else None,
            antialias=node.flag("antialias"),
            exclude_outside=node.flag("exclude_outside"),
        )
        table = build.constant(weights, x.dtype)
        result = letters.replace(letters[i], "z")
        x = ops.Contract(x, table, f"{letters},z{letters[i]}->{result}", x.dtype)
    return x


def _extrapolated(y: Op, cropped: list[tuple[int, Axis]], value: float) -> Op:
    """Another value where the region of interest reaches outside of the input."""
    for i, axis in cropped:
        mask = outside(axis)
        if mask.any():
            shaped = mask.reshape(-1, *(1,) * (y.type.rank - i - 1))
            y = ops.Where(build.constant(shaped, BOOL), build.scalar(y, value), y)
    return y
