"""What a run gives, in a line or as an object."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompiler.graph.types import TensorType, dtype_name, is_float
from kcompiler.report.units import printable


def summary(name: str, value: Any) -> str:
    """`logits: f32[16,10], -12.3 to 8.7, mean 0.12, NaN 3`."""
    name, found = printable(name), facts(value)
    if "dtype" not in found:
        return f"{name}: " + ("nothing" if value is None else f"{found['values']} values")
    if found["dtype"] == "text":
        return f"{name}: text{found['shape']}"
    text = f"{name}: {TensorType(value.dtype, value.shape)}"
    if not is_float(value.dtype):
        return text + (f", {found['min']} to {found['max']}" if "min" in found else "")
    if "min" in found:
        text += f", {found['min']:.4g} to {found['max']:.4g}, mean {found['mean']:.4g}"
    odd = found["not_finite"]
    return text + (f", {odd} not finite" if odd else "")


def facts(value: Any) -> dict[str, Any]:
    """Type, shape and range of an output; `values` where it is no tensor: how many, or None.

    Extremes and mean are those of the finite elements, and absent where there are none.
    """
    if value is None or isinstance(value, list | tuple | dict):
        return {"values": None if value is None else len(value)}
    if value.dtype.kind in "OUS":
        return {"dtype": "text", "shape": list(value.shape)}
    found: dict[str, Any] = {"dtype": dtype_name(value.dtype), "shape": list(value.shape)}
    if not is_float(value.dtype):
        if value.size and value.dtype.kind in "biuV":
            found |= {"min": value.min().item(), "max": value.max().item()}
        return found
    real = value.astype(np.float64)
    finite = real[np.isfinite(real)]
    if finite.size:
        ends = {"min": finite.min(), "max": finite.max(), "mean": finite.mean()}
        found |= {name: float(end) for name, end in ends.items()}
    return found | {"not_finite": int(value.size - finite.size)}
