"""Which element types onnxruntime computes on a CPU, by ONNX operator.

A type that is missing costs two casts: the operator runs in a wider type that holds every value,
or, where only the low bits count, in one that wraps alike. Listed is what holds from opset 18 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kcompiler.graph.types import (
    BOOL,
    F32,
    F64,
    I32,
    I64,
    dtype_name,
    integer_range,
    is_float,
    is_integer,
    parse_dtype,
)

_FLOATS = "f32 f64"
_WORDS = "i32 i64"
_SIGNED = "i8 i16 i32 i64"
_INTEGERS = f"{_SIGNED} u8 u16 u32 u64"
_ANY = f"bool f16 bf16 {_FLOATS} {_INTEGERS}"


@dataclass(frozen=True)
class Kernel:
    """What onnxruntime has for an operator.

    `types` are the element types of the operands in the places `data`; the others have a type of
    their own. `results` are the element types of the outputs, None for that of the data. `wraps` is
    whether the low bits of a result depend on low bits alone, or bits are only moved: then 64-bit
    unsigned integers may go as signed ones.
    """

    types: frozenset[str]
    data: tuple[int, ...] | None = None  # None: all operands
    results: tuple[np.dtype[Any] | None, ...] = (None,)
    wraps: bool = False

    def runs_in(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The type to run in: `dtype` itself where it is known or nothing known can replace it."""
        if dtype_name(dtype) in self.types:
            return dtype
        known = (c for c in _candidates(dtype, self.wraps) if dtype_name(c) in self.types)
        return next(known, dtype)


def _candidates(dtype: np.dtype[Any], wraps: bool) -> tuple[np.dtype[Any], ...]:
    """Types to compute in instead, the cheapest first."""
    if dtype == BOOL:
        return (parse_dtype("u8"),)
    if is_float(dtype):
        return (F32,) if dtype.itemsize < F32.itemsize else ()
    if not is_integer(dtype):
        return ()
    low, high = integer_range(dtype)
    words = (I64,) if wraps and dtype.itemsize == I64.itemsize else ()
    fitting = (t for t in (I32, I64) if integer_range(t)[0] <= low and high <= integer_range(t)[1])
    return (*fitting, *words, *((F64,) if high <= 1 << 53 else ()))


def _kernel(types: str, *data: int, wraps: bool = False) -> Kernel:
    return Kernel(frozenset(types.split()), data or None, wraps=wraps)


def _test(types: str) -> Kernel:
    return Kernel(frozenset(types.split()), results=(BOOL,))


def _order(types: str, *results: np.dtype[Any] | None) -> Kernel:
    return Kernel(frozenset(types.split()), (0,), results)


_NUMBERS = f"{_FLOATS} {_INTEGERS}"
_SUMMED = f"{_FLOATS} {_WORDS}"
_ORDERED = f"{_SUMMED} i8 u8"
_REAL = _kernel(_FLOATS)
_SINGLE = _kernel("f32")
_MOVED = _kernel(_ANY, 0, wraps=True)
_BITS = _kernel(_INTEGERS)

KERNELS: dict[str, Kernel] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Abs", "Sign"), _kernel(_NUMBERS)),
    **dict.fromkeys(("Max", "Min"), _kernel(f"{_FLOATS} i8 u8 i32 u32 i64 u64")),
    "Neg": _kernel(f"{_FLOATS} {_SIGNED}", wraps=True),
    "Pow": _kernel(_SUMMED),  # of integers by way of float64: exact up to 2**53
    "Clip": _kernel(_FLOATS),
    **dict.fromkeys(("Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Tanh"), _REAL),
    **dict.fromkeys(("Sigmoid", "Floor", "Ceil", "Round", "Softmax"), _REAL),
    **dict.fromkeys(("Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh"), _SINGLE),
    **dict.fromkeys(("Acosh", "Atanh", "Erf"), _SINGLE),
    **dict.fromkeys(("And", "Or", "Xor", "Not"), _kernel("bool")),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"), _BITS),
    "BitShift": _kernel("u8 u16 u32 u64"),
    "Equal": _test(f"{_NUMBERS} bool"),
    **dict.fromkeys(("Less", "LessOrEqual"), _test(_NUMBERS)),
    **dict.fromkeys(("IsNaN", "IsInf"), _test(_FLOATS)),
    "Where": _kernel("f16 f32 f64 i8 u8 i32 u32 i64", 1, 2, wraps=True),
    **dict.fromkeys(("Identity", "Reshape", "Transpose", "Slice", "Gather"), _MOVED),
    "Expand": _kernel(f"bool f16 {_NUMBERS}", 0, wraps=True),
    "Pad": _kernel("bool f16 f32 f64 i8 u8 i32 u32 i64 u64", 0, 2),
    "Concat": _kernel(_ANY),
    "Einsum": _kernel(_SUMMED, wraps=True),
    "MatMul": _kernel(f"{_SUMMED} u32 u64"),
    "Conv": _SINGLE,
    "MaxPool": _kernel("f32 f64 i8 u8"),
    **dict.fromkeys(("ReduceSum", "ReduceProd", "ReduceMean"), _kernel(_FLOATS, 0)),
    **dict.fromkeys(("ReduceMax", "ReduceMin"), _kernel(_ORDERED, 0)),
    **dict.fromkeys(("ArgMax", "ArgMin"), _order(_ORDERED, I64)),
    "CumSum": _kernel(_SUMMED, 0, wraps=True),
    "TopK": _order(f"{_ORDERED} i16", None, I64),
}
