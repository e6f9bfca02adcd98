"""How near the outputs must come to the reference's: by precision, and by what the model rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from kcompiler.compilation import Compilation
from kcompiler.graph.node import Op
from kcompiler.graph.operators import Cast, Quantize
from kcompiler.graph.types import dtype_name, is_float

LEAST_SQNR: Mapping[str, float] = {
    "f32": 60.0,
    "f16": 20.0,
    "bf16": 12.0,
    "mixed": 6.0,
    "int8": 6.0,
    "fp8": 6.0,
    "int8-weights": 20.0,
    "fp8-weights": 12.0,
    "int4-weights": 6.0,
}
"""dB below which the outputs have little to do with the reference's. Loss of precision alone costs
less in networks that work at all: one rounding to f16 leaves about 70 dB, to bf16 about 50 dB, to
int8 about 40 dB, to fp8 about 31 dB; whether a quantized network is good enough, its report
says."""
_LEAST = min(LEAST_SQNR.values())  # where a target has a precision of its own
_BIT = 20 * np.log10(2)
_INTEGERS = {8: 20.0, 4: 6.0}  # bits -> dB: numbers of ten steps, or of two (root mean square)


@dataclass(frozen=True)
class Limit:
    """The least ratio of signal to noise of one output, in dB, and what it follows from."""

    decibels: float
    what: str

    def __str__(self) -> str:
        return f"{self.what} should give {self.decibels:.0f} dB at least"


def limits(compilation: Compilation) -> dict[str, Limit]:
    """The limit of each output.

    A model that rounds to 8 bits itself rounds what lies halfway to either side, with the last bit
    of a float32 sum: its outputs, in onnxruntime's own kernels too, are a step apart here and
    there. The limit behind such a rounding is what one step of every number makes.
    """
    whole = Limit(LEAST_SQNR.get(compilation.precision, _LEAST), compilation.precision)
    if compilation.graph is None:
        return {name: whole for name, _ in compilation.outputs}
    found: dict[int, Limit] = {}
    for node in compilation.graph.nodes:
        before = [found[id(o)] for o in node.operands]
        own = [one_step(node.dtype)] if _rounds(node) else []
        found[id(node)] = min((whole, *before, *own), key=lambda limit: limit.decibels)
    known = {name: found[id(value)] for name, value in compilation.graph.outputs}
    return {name: known.get(name, whole) for name, _ in compilation.outputs}


def one_step(dtype: np.dtype[Any]) -> Limit:
    """The ratio of numbers of a narrow type to errors of one step each.

    The step of a float with m bits of mantissa is at most 2^-m of it.
    """
    what = f"a model that rounds to {dtype_name(dtype)}"
    if is_float(dtype):
        info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
        return Limit(float(info.nmant * _BIT), what)
    bits = int(ml_dtypes.iinfo(dtype).bits)  # type: ignore[no-untyped-call]
    return Limit(_INTEGERS.get(bits, _LEAST), what)


def _rounds(node: Op) -> bool:
    """Whether floats become numbers of 8 bits or fewer."""
    if not isinstance(node, Quantize | Cast) or node.dtype == np.bool_:
        return False
    return node.dtype.itemsize == 1 and is_float(node.x.dtype) and node.x.dtype.itemsize > 1
