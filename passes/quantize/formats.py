"""The narrow numbers that quantization may store: 8-bit integers, or 8-bit floats (e4m3).

See docs/adr/0015-floats-of-eight-bits-for-products-alone.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kcompiler.errors import UsageError
from kcompiler.graph.node import Array
from kcompiler.graph.types import is_float, parse_dtype
from kcompiler.scalar import convert


@dataclass(frozen=True)
class Format:
    """A type of narrow numbers, and how tensors become such.

    `largest` is the size that weights reach. With `shared`, every reader of a tensor reads what is
    stored, and pools do so on purpose; otherwise products alone read narrow numbers.
    """

    name: str
    dtype: np.dtype[Any]
    largest: int
    shared: bool
    shares: tuple[float, ...]
    """What of the largest weight a scale may cover: of these the one with the least error."""

    @property
    def whole(self) -> bool:
        """Whether they are integers."""
        return not is_float(self.dtype)

    def nearest(self, x: Array) -> Array:
        """Numbers as the nearest of the format, halves to even; what is too large saturates."""
        if self.whole:
            return np.asarray(np.clip(np.rint(x), -self.largest, self.largest))
        with np.errstate(over="ignore"):
            single = np.asarray(x, np.float32)  # rounded twice, in a fifth of the time
        return convert(single, self.dtype).astype(x.dtype)


INT8 = Format("int8", np.dtype(np.int8), 127, True, tuple(np.linspace(1.0, 0.6, 33).tolist()))
# One number in eight to a binade: where the largest lies between them matters, cutting does not.
FP8 = Format(
    *("fp8", parse_dtype("f8e4m3fn"), 448, False),
    tuple(np.exp2(np.arange(8) / 8).tolist()),
)
FORMATS = {f.name: f for f in (INT8, FP8)}


def format_of(name: str) -> Format:
    """The format of a name; raises `UsageError` for an unknown one."""
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}", fix=f"one of: {', '.join(FORMATS)}")
    return FORMATS[name]
