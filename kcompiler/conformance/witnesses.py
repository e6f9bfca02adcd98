"""A few graphs whose programs show what a chip does: edges, split sums, double buffers, tables."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np

from kcompiler.conformance.cases.case import Case, case
from kcompiler.conformance.cases.products import SAME, conv
from kcompiler.conformance.cases.quantized import curve, dense, layer, layers
from kcompiler.conformance.values import DType, numbers
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op
from kcompiler.graph.types import F16, F32, I32, I64

I8, U8 = np.dtype(np.int8), np.dtype(np.uint8)


def witnesses() -> Iterator[Case]:
    """Kernels alone and in chains, of integers and of floats."""
    for dtype, total in ((I8, I32), (F32, F32), (F16, F16)):
        w = numbers(dtype, (8, 8, 3, 3), "w")
        halo = partial(conv, total, SAME)
        x = numbers(dtype, (1, 8, 21, 19), "x")
        yield case(halo, x, w, constant=(1,), what="witness halo")
        deep = numbers(dtype, (24, 900), "x"), numbers(dtype, (900, 24), "w")
        make = partial(_product, total)
        yield case(make, *deep, constant=(1,), what="witness deep")
        yield case(partial(_chain, total), x, w, constant=(1,), what="witness chain")
        table = numbers(dtype, (67, 33), "t"), np.array([0, -1, 66, -67, 5, 5, 40], I64)
        yield case(_lookup, *table, what="witness table")
        moved = numbers(dtype, (23, 17, 31), "m")
        yield case(_moved, moved, what="witness moved")
    for dtype in (F32, F16):
        rows = numbers(dtype, (37, 131), "rows")
        yield case(lambda x: ops.Softmax(x, 1), rows, what="witness softmax")
    for narrow, zero in ((I8, -7), (U8, 128)):
        x = numbers(narrow, (1, 8, 19, 17), "q")
        yield case(partial(layer, zero), x, what=f"witness layer {narrow}")
        yield case(partial(layers, zero), x, what=f"witness layers {narrow}")
        yield case(partial(curve, zero), x, what=f"witness curve {narrow}")
        rows = numbers(narrow, (23, 700), "q")
        yield case(partial(dense, zero), rows, what=f"witness dense {narrow}")


def probes() -> Iterator[Case]:
    """Those that tell how small a scratchpad may be."""
    yield from islice(witnesses(), 5)
    yield from (case for case in witnesses() if "layers" in case.name)


def large(rows: int) -> Iterator[Case]:
    """Products with so much arithmetic that nothing else counts."""
    n = 8 * rows
    for dtype, total in ((I8, I32), (F16, F16), (F32, F32)):
        values = numbers(dtype, (n, n), "large"), numbers(dtype, (n, n), "large too")
        make = partial(_product, total)
        yield case(make, *values, constant=(1,), what="witness large")
    x = numbers(I8, (n, n), "large")
    yield case(partial(dense, -7, columns=n), x, what="witness large dense")


def _product(dtype: DType, x: Op, w: Op) -> Op:
    return ops.Contract(x, w, "ik,kj->ij", dtype)


def _chain(dtype: DType, x: Op, w: Op) -> Op:
    """Kernels that hand their results on."""
    first = ops.Relu(conv(dtype, SAME, x, w))
    pooled = ops.Window(first, "max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1))
    moved = ops.Transpose(pooled, (0, 2, 3, 1))
    return ops.Add(ops.Reduce(moved, "max", (1,)), moved)


def _lookup(table: Op, indices: Op) -> Op:
    return ops.Gather(table, indices, 0)


def _moved(x: Op) -> Op:
    turned = ops.Transpose(x, (2, 0, 1))
    n = turned.shape[0]
    return ops.Slice(turned, (n - 1, 0, 1), (n, 23, 16), (-1, 1, 1))
