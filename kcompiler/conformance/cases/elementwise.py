"""Cases of element-wise operators: every function, every element type, extremes, broadcasting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from kcompiler.conformance.cases.case import Case, Sizes, case
from kcompiler.conformance.values import DType, extremes, numbers, positive, small
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Op
from kcompiler.graph.operators import Elementwise
from kcompiler.graph.table import operator_kinds
from kcompiler.graph.types import BF16, BOOL, F16, F32, I32, I64, is_float, parse_dtype
from kcompiler.scalar import FUNCTIONS

I8, U8 = np.dtype(np.int8), np.dtype(np.uint8)
FLOATS = (F32, F16, BF16)
INTEGERS = (I8, U8, I32, I64)
CASTS = tuple(map(parse_dtype, ("f32", "f16", "bf16", "i8", "u8", "i16", "i32", "i64", "bool")))
_DOMAINS: dict[str, tuple[DType, ...]] = {
    "float": FLOATS,
    "signed": (*FLOATS, I8, I32),
    "number": (*FLOATS, *INTEGERS),
    "integer": INTEGERS,
    "bool": (BOOL,),
    "any": (*FLOATS, *INTEGERS, BOOL),
}
_DIVISIONS = (ops.Div, ops.Mod, ops.Fmod)
_SHIFTS = (ops.Shl, ops.Shr)


def cases(sizes: Sizes) -> Iterator[Case]:
    """All of this topic."""
    for kind in operator_kinds():
        if issubclass(kind, Elementwise) and kind is not ops.Cast:
            for dtype in _DOMAINS[FUNCTIONS[kind.function].domain]:
                yield from _of_type(kind, dtype, sizes)
    yield from _shapes(sizes)
    yield from _casts(sizes)
    yield from _constants()
    yield from _chains(sizes)


def _of_type(kind: type[Elementwise], dtype: DType, sizes: Sizes) -> Iterator[Case]:
    """Ordinary numbers in an odd shape; extremes, where they have a meaning."""
    odd = (3, sizes.lanes + 1)
    yield case(kind, *_operands(kind, dtype, [odd] * _arity(kind)))
    if _total(kind, dtype):
        values = [extremes(t, (61,), kind, i) for i, t in enumerate(_types(kind, dtype))]
        yield case(kind, *values, what="extremes")


def _arity(kind: type[Elementwise]) -> int:
    return FUNCTIONS[kind.function].arity


def _types(kind: type[Elementwise], dtype: DType) -> list[DType]:
    return [BOOL, dtype, dtype] if kind is ops.Where else [dtype] * _arity(kind)


def _total(kind: type[Elementwise], dtype: DType) -> bool:
    """Whether all numbers have a result: ONNX leaves division by 0 and long shifts open."""
    return is_float(dtype) or not issubclass(kind, (*_DIVISIONS, *_SHIFTS, ops.Pow))


def _operands(
    kind: type[Elementwise], dtype: DType, shapes: Sequence[tuple[int, ...]]
) -> list[Array]:
    types = _types(kind, dtype)
    values = [numbers(t, s, kind, i) for i, (t, s) in enumerate(zip(types, shapes, strict=True))]
    if issubclass(kind, (*_DIVISIONS, *_SHIFTS, ops.Pow)):
        values[1] = positive(dtype, shapes[1], kind)
    if kind is ops.Pow:
        values[0] = positive(dtype, shapes[0], kind, "base")
        if not is_float(dtype):
            values = [small(dtype, s, kind, most=2) ** 2 for s in shapes]
    return values


def _shapes(sizes: Sizes) -> Iterator[Case]:
    """Broadcasting, scalars, one element, primes, just below and above the lanes."""
    lanes = sizes.lanes
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()), ((1,), (1,)), ((7,), ()), ((1, 1, 1), (1,)), ((lanes - 1,), (lanes - 1,)),
        ((lanes + 1,), (1,)), ((2, 3, 5, 7), (7,)), ((5, 1, 7), (1, 3, 1)), ((13, 1), (1, 11)),
        ((1, 31, 2), (2,)), ((lanes, 3), (lanes, 1)), ((2, 1, 3, 1, 5), (2, 2, 1, 3, 1)),
    ]  # fmt: skip
    for dtype in (F32, F16, I8, I32):
        for one, other in pairs:
            yield case(ops.Add, numbers(dtype, one, 1), numbers(dtype, other, 2), what="broadcast")
    for dtype in (F32, I8):
        for one, other in pairs:
            cond = numbers(BOOL, other, 3)
            values = numbers(dtype, one, 4), numbers(dtype, other, 5)
            yield case(ops.Where, cond, *values, what="broadcast")


def _casts(sizes: Sizes) -> Iterator[Case]:
    for source in CASTS:
        for dtype in CASTS:
            if source != dtype:
                make = partial(_cast, dtype)
                yield case(make, numbers(source, (2, sizes.lanes - 1), dtype))
                yield case(make, extremes(source, (67,), dtype), what="extremes")


def _cast(dtype: DType, x: Op) -> Op:
    return ops.Cast(x, dtype)


def _constants() -> Iterator[Case]:
    """A constant operand: one number, one a channel, a whole tensor."""
    for dtype in (F32, F16, I8, I32):
        for shape in ((), (6, 1, 1), (6, 5, 3)):
            values = numbers(dtype, (2, 6, 5, 3), "k"), positive(dtype, shape, "k")
            for kind in (ops.Mul, ops.Max, ops.Sub):
                yield case(kind, *values, what="constant", constant=(1,))


def _chains(sizes: Sizes) -> Iterator[Case]:
    """Several functions in one kernel, of which one value is used twice."""
    for dtype in FLOATS:
        values: list[Any] = [numbers(dtype, (5, sizes.lanes + 3), i) for i in range(3)]
        yield case(_chain, *values, what="chain")
    values = [numbers(I32, (5, sizes.lanes + 3), i) for i in range(3)]
    yield case(_chain, *values, what="chain")


def _chain(x: Op, y: Op, z: Op) -> Op:
    total = ops.Add(ops.Mul(x, y), z)
    return ops.Max(ops.Sub(total, x), ops.Min(total, ops.Abs(y)))
