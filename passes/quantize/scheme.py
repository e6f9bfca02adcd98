"""How one tensor becomes 8-bit integers or floats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kcompiler.calibration import Range
from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Op
from kcompiler.graph.operators import Dequantize, Quantize
from kcompiler.graph.types import F32
from kcompiler.passes.quantize.formats import INT8, Format

I32 = np.dtype(np.int32)
_LOW, _HIGH = -128, 127
_TINY = float(np.finfo(np.float32).tiny) * 512
_SMALLEST, _LARGEST = -116, 119  # powers of two; 448 of the largest are finite


@dataclass(frozen=True)
class Scheme:
    """One scale and one zero point: number = (integer - zero) * scale."""

    scale: float
    zero: int
    kind: Format = INT8

    @staticmethod
    def of(covered: Range, *, symmetric: bool = False, kind: Format = INT8) -> Scheme:
        """The scheme that covers a range, with an integer for 0; symmetric ones have zero 0.

        8-bit floats are as exact whatever the power of two in their scale: it is one, so that what
        is divided by it takes a product.
        """
        if not kind.whole:
            size = max(-covered.low, covered.high) / kind.largest
            return Scheme(_power_of_two(size), 0, kind)
        if symmetric:
            size = max(-covered.low, covered.high)
            return Scheme(_float32(size / _HIGH), 0)
        scale = _float32((covered.high - covered.low) / (_HIGH - _LOW))
        return Scheme(scale, int(np.clip(np.rint(_LOW - covered.low / scale), _LOW, _HIGH)))

    def near(self, x: Array) -> Array:
        """The numbers that the integers for `x` stand for."""
        if not self.kind.whole:
            step = np.float32(self.scale)
            with np.errstate(all="ignore"):
                return np.asarray(self.kind.nearest(np.asarray(x / step)) * step, np.float32)
        with np.errstate(all="ignore"):
            whole = np.asarray(np.rint(x / np.float32(self.scale)))  # of a scalar, no array
        np.clip(whole, _LOW - self.zero, _HIGH - self.zero, out=whole)
        whole *= np.float32(self.scale)
        return np.asarray(whole, np.float32)

    def apply(self, x: Op) -> Op:
        """The tensor as integers and back."""
        scale, zero = constant(self.scale, F32), constant(self.zero, self.kind.dtype)
        return Dequantize(Quantize(x, scale, zero), scale, zero)


def _power_of_two(least: float) -> float:
    """The smallest power of two that is not below a size, of those that one can divide by.

    Beyond the last, numbers saturate or vanish where float32 itself ends; of zeros any will do.
    """
    if least <= 0:
        return 1.0
    mantissa, exponent = np.frexp(least)
    found = int(exponent) - int(mantissa == 0.5)
    return float(np.ldexp(1.0, min(max(found, _SMALLEST), _LARGEST)))


def _float32(scale: float) -> float:
    """A scale that float32 has and can divide by."""
    rounded = float(np.float32(scale))
    return rounded if rounded > _TINY and np.isfinite(rounded) else 1.0
