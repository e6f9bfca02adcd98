"""Regions built by hand, as the tests of the tiler need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompiler.graph.types import F16, F32, I32
from kcompiler.kernel.expr import Acc, Apply, Const, Expr, Load
from kcompiler.kernel.nest import Access, Affine, Axis, Combine, Nest, Operand, Region, Role

Type = np.dtype[Any]
I8 = np.dtype(np.int8)


def index(*names: str) -> tuple[Affine, ...]:
    """One axis a dimension."""
    return tuple(Affine.axis(n) for n in names)


def dense(name: str, role: Role, dtype: Type, *shape: int) -> Operand:
    """A dense operand."""
    return Operand.dense(name, role, dtype, shape)


def call(dtype: Type, function: str, *arguments: Expr) -> Expr:
    """A scalar function applied."""
    return Apply(dtype, function, arguments)


def product_nest(axes: Sequence[Axis], x: Access, w: Access, out: Access, acc: Type) -> Nest:
    """A sum of products."""
    body = call(acc, "mul", Load(acc, 0), Load(acc, 1))
    return Nest(tuple(axes), (x, w), body, "sum", Acc(acc), out)


def pointwise(axes: Sequence[Axis], reads: Sequence[Access], body: Expr, out: Access) -> Nest:
    """An element-wise nest."""
    return Nest(tuple(axes), tuple(reads), body, "none", Acc(body.dtype), out)


def reduction(
    axes: Sequence[Axis], reads: Sequence[Access], body: Expr, combine: Combine, out: Access
) -> Nest:
    """A reduction that ends in the plain combined value."""
    return Nest(tuple(axes), tuple(reads), body, combine, Acc(body.dtype), out)


def matmul(m: int, k: int, n: int, dtype: Type = F16, *, bias: bool = True) -> Region:
    """Out = x @ w (+ bias, relu), rounded once."""
    acc = I32 if dtype == I8 else F32
    axes = [Axis("i", m), Axis("j", n), Axis("k", k, reduced=True)]
    x, w = Access("in0", index("i", "k")), Access("c0", index("k", "j"))
    operands = [
        dense("in0", "input", dtype, m, k),
        dense("c0", "constant", dtype, k, n),
        dense("t0", "local", acc, m, n),
        dense("out", "output", dtype, m, n),
    ]
    first = product_nest(axes, x, w, Access("t0", index("i", "j")), acc)
    value: Expr = Load(acc, 0)
    reads = [Access("t0", index("i", "j"))]
    if bias:
        operands.insert(2, dense("c1", "constant", acc, n))
        reads.append(Access("c1", index("j")))
        value = call(acc, "relu", call(acc, "add", value, Load(acc, 1)))
    last = pointwise(axes[:2], reads, call(dtype, "cast", value), Access("out", index("i", "j")))
    return Region(tuple(operands), (first, last))


def conv(
    c: int,
    hw: int,
    m: int,
    kernel: int,
    stride: int = 1,
    dtype: Type = F16,
    *,
    pad: int | None = None,
    groups: int = 1,
    bias: bool = True,
    residual: bool = False,
) -> Region:
    """A two-dimensional convolution, its bias, an optional residual, relu."""
    acc = I32 if dtype == I8 else F32
    pad = kernel // 2 if pad is None else pad
    out = (hw + 2 * pad - kernel) // stride + 1
    grouped = groups > 1
    outer = ([Axis("g", groups)] if grouped else []) + [
        Axis("m", m // groups),
        Axis("y", out),
        Axis("x", out),
    ]
    inner = [Axis("c", c // groups, reduced=True)]
    if kernel > 1:
        inner += [Axis("ky", kernel, reduced=True), Axis("kx", kernel, reduced=True)]
    group = ("g",) if grouped else ()
    spatial = [
        Affine.of({o: stride, **({k: 1} if kernel > 1 else {})}, -pad)
        for o, k in (("y", "ky"), ("x", "kx"))
    ]
    taps = ("ky", "kx") if kernel > 1 else ()
    x = Access("in0", (*index(*group, "c"), *spatial), 0 if pad else None)
    w = Access("c0", index(*group, "m", "c", *taps))
    lead = (groups,) if grouped else ()
    at = index(*group, "m", "y", "x")
    operands = [
        dense("in0", "input", dtype, *lead, c // groups, hw, hw),
        dense("c0", "constant", dtype, *lead, m // groups, c // groups, *([kernel] * len(taps))),
        dense("t0", "local", acc, *lead, m // groups, out, out),
        dense("out", "output", dtype, *lead, m // groups, out, out),
    ]
    reads = [Access("t0", at)]
    value: Expr = Load(acc, 0)
    if bias:
        operands.insert(2, dense("c1", "constant", acc, *lead, m // groups))
        value = call(acc, "add", value, Load(acc, len(reads)))
        reads.append(Access("c1", index(*group, "m")))
    if residual:
        operands.insert(2, dense("in1", "input", dtype, *lead, m // groups, out, out))
        value = call(acc, "add", value, Load(acc, len(reads)))
        reads.append(Access("in1", at))
    value = call(dtype, "cast", call(acc, "relu", value))
    return Region(
        tuple(operands),
        (
            product_nest([*outer, *inner], x, w, Access("t0", at), acc),
            pointwise(outer, reads, value, Access("out", at)),
        ),
    )


def softmax(rows: int, columns: int, dtype: Type = F16) -> Region:
    """Maximum, exponentials, sum, quotient."""
    i, j, r = Axis("i", rows), Axis("j", columns), Axis("r", columns, reduced=True)
    x = Access("in0", index("i", "r"))
    here = Access("in0", index("i", "j"))
    operands = (
        dense("in0", "input", dtype, rows, columns),
        dense("t0", "local", F32, rows),
        dense("t1", "local", F32, rows, columns),
        dense("t2", "local", F32, rows),
        dense("out", "output", dtype, rows, columns),
    )
    power = call(F32, "exp", call(F32, "sub", Load(F32, 0), Load(F32, 1)))
    quotient = call(dtype, "cast", call(F32, "div", Load(F32, 0), Load(F32, 1)))
    top = Access("t0", index("i"))
    return Region(
        operands,
        (
            reduction([i, r], [x], Load(F32, 0), "max", top),
            pointwise([i, j], [here, top], power, Access("t1", index("i", "j"))),
            reduction(
                [i, r],
                [Access("t1", index("i", "r"))],
                Load(F32, 0),
                "sum",
                Access("t2", index("i")),
            ),
            pointwise(
                [i, j],
                [Access("t1", index("i", "j")), Access("t2", index("i"))],
                quotient,
                Access("out", index("i", "j")),
            ),
        ),
    )


def layer_norm(rows: int, columns: int, dtype: Type = F16) -> Region:
    """Mean, reciprocal deviation (reductions that end in a formula), normalized and scaled."""
    i, j, r = Axis("i", rows), Axis("j", columns), Axis("r", columns, reduced=True)
    x, here = Access("in0", index("i", "r")), Access("in0", index("i", "j"))
    operands = (
        dense("in0", "input", dtype, rows, columns),
        dense("c0", "constant", dtype, columns),
        dense("t0", "local", F32, rows),
        dense("t1", "local", F32, rows),
        dense("out", "output", dtype, rows, columns),
    )
    mean, scale = Access("t0", index("i")), Access("t1", index("i"))
    count = Const(F32, float(columns))
    average = call(F32, "div", Acc(F32), count)
    centred = call(F32, "sub", Load(F32, 0), Load(F32, 1))
    deviation = call(F32, "rsqrt", call(F32, "add", average, Const(F32, 1e-5)))
    normal = call(F32, "mul", call(F32, "mul", centred, Load(F32, 2)), Load(F32, 3))
    return Region(
        operands,
        (
            Nest((i, r), (x,), Load(F32, 0), "sum", average, mean),
            Nest((i, r), (x, mean), call(F32, "mul", centred, centred), "sum", deviation, scale),
            pointwise(
                [i, j],
                [here, mean, scale, Access("c0", index("j"))],
                call(dtype, "cast", normal),
                Access("out", index("i", "j")),
            ),
        ),
    )


def attention(heads: int, queries: int, keys: int, depth: int, dtype: Type = F16) -> Region:
    """softmax(q k^T + mask) v."""
    h, q, d = Axis("h", heads), Axis("q", queries), Axis("d", depth)
    k, rk, rd = Axis("k", keys), Axis("rk", keys, reduced=True), Axis("rd", depth, reduced=True)
    operands = (
        dense("in0", "input", dtype, heads, queries, depth),
        dense("in1", "input", dtype, heads, keys, depth),
        dense("in2", "input", dtype, heads, keys, depth),
        dense("c0", "constant", dtype, queries, keys),
        dense("t0", "local", F32, heads, queries, keys),
        dense("t1", "local", F32, heads, queries),
        dense("t2", "local", dtype, heads, queries, keys),
        dense("t3", "local", F32, heads, queries),
        dense("t4", "local", F32, heads, queries, depth),
        dense("out", "output", dtype, heads, queries, depth),
    )
    mask = Access("c0", index("q", "k"))
    masked = call(F32, "add", Load(F32, 0), Load(F32, 1))
    power = call(F32, "exp", call(F32, "sub", masked, Load(F32, 2)))
    scores, top = Access("t0", index("h", "q", "k")), Access("t1", index("h", "q"))
    powers = Access("t2", index("h", "q", "k"))
    row = Access("t2", index("h", "q", "rk"))
    return Region(
        operands,
        (
            product_nest(
                [h, q, k, rd],
                Access("in0", index("h", "q", "rd")),
                Access("in1", index("h", "k", "rd")),
                scores,
                F32,
            ),
            reduction(
                [h, q, rk],
                [Access("t0", index("h", "q", "rk")), Access("c0", index("q", "rk"))],
                masked,
                "max",
                top,
            ),
            pointwise([h, q, k], [scores, mask, top], call(dtype, "cast", power), powers),
            reduction([h, q, rk], [row], Load(F32, 0), "sum", Access("t3", index("h", "q"))),
            product_nest(
                [h, q, d, rk],
                row,
                Access("in2", index("h", "rk", "d")),
                Access("t4", index("h", "q", "d")),
                F32,
            ),
            pointwise(
                [h, q, d],
                [Access("t4", index("h", "q", "d")), Access("t3", index("h", "q"))],
                call(dtype, "cast", call(F32, "div", Load(F32, 0), Load(F32, 1))),
                Access("out", index("h", "q", "d")),
            ),
        ),
    )


def pool(c: int, hw: int, kernel: int, stride: int, pad: int, dtype: Type = F16) -> Region:
    """A maximum over windows."""
    out = (hw + 2 * pad - kernel) // stride + 1
    axes = [Axis("c", c), Axis("y", out), Axis("x", out)]
    axes += [Axis("ky", kernel, reduced=True), Axis("kx", kernel, reduced=True)]
    spatial = [Affine.of({o: stride, k: 1}, -pad) for o, k in (("y", "ky"), ("x", "kx"))]
    lowest = -128 if dtype == I8 else -65504.0
    x = Access("in0", (Affine.axis("c"), *spatial), lowest)
    acc = I8 if dtype == I8 else F32
    nest = Nest(
        tuple(axes),
        (x,),
        Load(acc, 0),
        "max",
        call(dtype, "cast", Acc(acc)),
        Access("out", index("c", "y", "x")),
    )
    operands = (dense("in0", "input", dtype, c, hw, hw), dense("out", "output", dtype, c, out, out))
    return Region(operands, (nest,))


def transposed(shape: Sequence[int], perm: Sequence[int], dtype: Type = F16) -> Region:
    """A copy of a transposed view, written densely."""
    source = dense("in0", "input", dtype, *shape)
    view = Operand(
        "in0", "input", dtype, tuple(shape[p] for p in perm), tuple(source.strides[p] for p in perm)
    )
    names = [f"i{d}" for d in range(len(shape))]
    axes = [Axis(n, e) for n, e in zip(names, view.shape, strict=True)]
    nest = pointwise(
        axes,
        [Access("in0", index(*names))],
        call(dtype, "neg", Load(dtype, 0)),
        Access("out", index(*names)),
    )
    return Region((view, dense("out", "output", dtype, *view.shape)), (nest,))


def concat(parts: Sequence[int], rows: int, columns: int, dtype: Type = F16) -> Region:
    """Tensors one after the other along the first dimension; each piece is a nest."""
    operands, nests, begin = [], [], 0
    for number, extent in enumerate(parts):
        name = f"in{number}"
        operands.append(dense(name, "input", dtype, extent, rows, columns))
        axes = [Axis("c", extent), Axis("y", rows), Axis("x", columns)]
        write = Access("out", (Affine.axis("c", 1, begin), *index("y", "x")))
        nests.append(pointwise(axes, [Access(name, index("c", "y", "x"))], Load(dtype, 0), write))
        begin += extent
    operands.append(dense("out", "output", dtype, begin, rows, columns))
    return Region(tuple(operands), tuple(nests))


def gather(rows: int, width: int, count: int, dtype: Type = F16) -> Region:
    """Rows of a table that indices name."""
    operands = (
        dense("c0", "constant", dtype, rows, width),
        dense("in0", "input", np.dtype(np.int64), count),
        dense("out", "output", dtype, count, width),
    )
    axes = [Axis("i", count), Axis("j", width)]
    reads = [Access("in0", index("i")), Access("c0", (Affine(), Affine.axis("j")), None, (0, 0))]
    nest = pointwise(axes, reads, Load(dtype, 1), Access("out", index("i", "j")))
    return Region(operands, (nest,))


def broadcast_sum(shape: Sequence[int], dtype: Type = F16) -> Region:
    """X + b with b repeated along the last dimension by a stride of 0."""
    names = [f"i{d}" for d in range(len(shape))]
    rest = tuple(shape[:-1])
    small = Operand.dense("in1", "input", dtype, rest)
    operands = (
        dense("in0", "input", dtype, *shape),
        Operand("in1", "input", dtype, tuple(shape), (*small.strides, 0)),
        dense("out", "output", dtype, *shape),
    )
    axes = [Axis(n, e) for n, e in zip(names, shape, strict=True)]
    body = call(F32, "add", Load(F32, 0), Load(F32, 1))
    reads = [Access("in0", index(*names)), Access("in1", index(*names))]
    nest = pointwise(axes, reads, call(dtype, "cast", body), Access("out", index(*names)))
    return Region(operands, (nest,))
