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

    def apply(self, x: Array, where: str = "") -> Array:
        """The numbers, in float32; the order of dimensions stays. `where` is their file."""
        if self.idle:
            return x
        numbers = self.scale, self.mean, self.std
        with np.errstate(all="ignore"):  # whoever takes the result asks whether it is finite
            scale, mean, std = (self._spread(v, x, where) for v in numbers)
            return np.asarray((x.astype(np.float32) / scale - mean) / std, np.float32)

    def _spread(self, values: tuple[float, ...], x: Array, where: str) -> Array:
        """Numbers of channels, so that they broadcast to the data."""
        if len(values) == 1:
            return np.asarray(values[0], np.float32)
        axis = -1 if self.layout == "NHWC" else -3
        if x.ndim < 3 or x.shape[axis] != len(values):
            known = f"{x.shape[axis]} channels" if x.ndim >= 3 else "no channels"
            why = f"the data are {list(x.shape)}, in {self.layout or 'NCHW'}: {known}"
            what = f"{len(values)} values a channel do not fit"
            raise UsageError(what, where, why, self._cure(values, x))
        return np.asarray(values, np.float32).reshape((-1,) + (1,) * (-axis - 1))

    def _cure(self, values: tuple[float, ...], x: Array) -> str:
        """What to do about values that are not as many as channels."""
        axis, turned = (-3, "NCHW") if self.layout == "NHWC" else (-1, "NHWC")
        if x.ndim >= 3 and x.shape[axis] == len(values):
            return f"say how they lie with --preprocess layout={turned}"
        return "give one value, or as many as the data have channels"


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
    if any(np.float32(v) == 0 for key in ("scale", "std") for v in numbers.get(key, ())):
        why = "scale or std is 0, in float32"
        raise UsageError("--preprocess divides by 0", why=why, fix="give both other values")
    return Preprocess(layout=layout, **numbers)


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    with np.errstate(over="ignore"):
        narrow = np.float32(value)
    if np.isfinite(value) and not np.isfinite(narrow):
        why = "the largest float32 is about 3.4e38"
        raise UsageError(
            f"--preprocess: {key}={text!r} is too large", why=why, fix="check its unit"
        )
    if not np.isfinite(value):
        raise UsageError(f"--preprocess: {key}={text!r} is no number", fix=f"write it as {_FORM}")
    return value
