"""Tensor types: element type and shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import ml_dtypes
import numpy as np

F16 = np.dtype(np.float16)
F32 = np.dtype(np.float32)
F64 = np.dtype(np.float64)
BF16 = np.dtype(ml_dtypes.bfloat16)
I32 = np.dtype(np.int32)
I64 = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)

_SHORT = {
    "float16": "f16",
    "float32": "f32",
    "float64": "f64",
    "bfloat16": "bf16",
    "float8_e4m3fn": "f8e4m3fn",
    "float8_e4m3fnuz": "f8e4m3fnuz",
    "float8_e5m2": "f8e5m2",
    "float8_e5m2fnuz": "f8e5m2fnuz",
    "float8_e8m0fnu": "f8e8m0",
    "float4_e2m1fn": "f4e2m1",
    "int4": "i4",
    "uint4": "u4",
    "int2": "i2",
    "uint2": "u2",
    "int8": "i8",
    "uint8": "u8",
    "int16": "i16",
    "uint16": "u16",
    "int32": "i32",
    "uint32": "u32",
    "int64": "i64",
    "uint64": "u64",
    "bool": "bool",
    "complex64": "c64",
    "complex128": "c128",
}
_LONG = {short: name for name, short in _SHORT.items()}


@cache  # numpy makes a dtype's name anew each time that it is asked for
def dtype_name(dtype: np.dtype) -> str:
    """The short name of an element type: ``f16``, ``i8``, ``bf16`` and so on."""
    return _SHORT[dtype.name]


def parse_dtype(name: str) -> np.dtype:
    """The element type with a short name; raises `KeyError` for an unknown one."""
    long = _LONG[name]
    return np.dtype(getattr(ml_dtypes, long, None) or long)


@cache
def is_float(dtype: np.dtype) -> bool:
    """Whether values are floating point, ml_dtypes' included."""
    return dtype.name.startswith(("float", "bfloat"))


@cache
def is_integer(dtype: np.dtype) -> bool:
    """Whether values are integers, 2-bit and 4-bit ones included; bool is not."""
    return dtype.name.startswith(("int", "uint"))


def bit_width(dtype: np.dtype) -> int:
    """Bits that a value needs: 4 for int4, although numpy keeps it in a byte."""
    narrow = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}
    return narrow.get(dtype.name, 8 * dtype.itemsize)


def integer_range(dtype: np.dtype) -> tuple[int, int]:
    """Smallest and largest value of an integer type."""
    bits = bit_width(dtype)
    if dtype.name.startswith("uint"):
        return 0, (1 << bits) - 1
    return -1 << (bits - 1), (1 << (bits - 1)) - 1


def compute_dtype(dtype: np.dtype) -> np.dtype:
    """The type that arithmetic on `dtype` is carried out in.

    Floats narrower than 32 bits compute in float32 and round once at the end; every other type
    computes in itself.
    """
    return F32 if is_float(dtype) and dtype.itemsize < F32.itemsize else dtype


@dataclass(frozen=True)
class TensorType:
    """Element type and static shape of a tensor."""

    dtype: np.dtype
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if any(extent < 0 for extent in self.shape):
            raise ValueError(f"negative extent in shape {self.shape}")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a dense array; types below 8 bits take a byte an element, as in numpy."""
        return self.size * self.dtype.itemsize

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class OpenType:
    """What only the host can hold: text, a sequence, a tensor whose shape a run decides.

    `name` is how onnxruntime writes it: `tensor(string)`, `seq(tensor(float))`.
    """

    name: str

    def __str__(self) -> str:
        return self.name
