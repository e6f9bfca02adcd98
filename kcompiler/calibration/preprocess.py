"""Raw data to model inputs: `scale=255,mean=0.498,std=0.502,layout=NHWC`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kcompiler.errors import UsageError
from kcompiler.graph.node import Array

LAYOUTS = ("NCHW", "NHWC")
_FORM = "scale=255,mean=0.485,0.456,0.406,std=0.229,0.224,0.225,layout=NHWC"


@dataclass(frozen=True)
class Preprocess:
    """(x / scale - mean) / std, with one number or one a channel; `layout` is the data's."""

    scale: tuple[float, ...] = (1.0,)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str | None = None

    @property
    def idle(self) -> bool:
        """Whether numbers stay as they are."""
        return (self.scale, self.mean, self.std) == ((1.0,), (0.0,), (1.0,))

    def apply(self, x: Array) -> Array:
        """The numbers, in float32; the order of dimensions stays."""
        if self.idle:
            return x
        scale, mean, std = (self._spread(v, x) for v in (self.scale, self.mean, self.std))
        return np.asarray((x.astype(np.float32) / scale - mean) / std, np.float32)

    def _spread(self, values: tuple[float, ...], x: Array) -> Array:
        """Numbers of channels, so that they broadcast to the data."""
        if len(values) == 1:
            return np.asarray(values[0], np.float32)
        axis = -1 if self.layout == "NHWC" else -3
        if x.ndim < 3 or x.shape[axis] != len(values):
            shape = list(x.shape)
            why = f"the data are {shape}, and {self.layout or 'NCHW'} has its channels elsewhere"
            raise UsageError(f"{len(values)} values a channel do not fit", why=why)
        return np.asarray(values, np.float32).reshape((-1,) + (1,) * (-axis - 1))


def parse_preprocess(text: str) -> Preprocess:
    """The preprocessing that a text describes; raises `UsageError` for what it cannot mean."""
    found: dict[str, list[str]] = {}
    name = ""
    for part in text.split(","):
        key, equals, value = part.partition("=")
        name = key.strip() if equals else name
        if equals and name in found:
            raise UsageError(f"--preprocess names {name!r} twice", fix=f"write it as {_FORM}")
        if name not in {"scale", "mean", "std", "layout"}:
            raise UsageError(f"--preprocess: cannot read {part!r}", fix=f"write it as {_FORM}")
        found.setdefault(name, []).append((value if equals else part).strip())
    layout = ",".join(found.pop("layout", [])).upper() or None
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"--preprocess: there is no layout {layout!r}", fix="NCHW or NHWC")
    numbers = {key: tuple(_number(key, v) for v in values) for key, values in found.items()}
    if any(0 in numbers.get(key, ()) for key in ("scale", "std")):
        raise UsageError("--preprocess divides by 0", fix="give scale and std other values")
    return Preprocess(layout=layout, **numbers)


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UsageError(f"--preprocess: {key}={text!r} is no number", fix=f"write it as {_FORM}")
    return value
