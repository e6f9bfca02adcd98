"""Short ways to make nodes: they return the operand itself where nothing would change.

Axes may be negative here and shapes may be any sequence; nodes hold the normal form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.scalar import convert

Number = float | int | bool


def constant(value: Array | Number | Sequence[Any], dtype: np.dtype[Any]) -> Constant:
    """A constant of an element type; an array that has it already is not copied."""
    return Constant(convert(np.asarray(value), dtype))


def scalar(like: Op, value: Number) -> Constant:
    """A rank-0 constant of the element type of another tensor."""
    return constant(value, like.dtype)


def normal_axis(axis: int, rank: int) -> int:
    """The axis counted from the front; raises `ValueError` when it does not exist."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank if rank else 0


def cast(x: Op, dtype: np.dtype[Any]) -> Op:
    """`x` as an element type."""
    return x if x.dtype == dtype else ops.Cast(x, dtype)


def reshape(x: Op, shape: Sequence[int]) -> Op:
    """`x` under another shape."""
    wanted = tuple(map(int, shape))
    return x if x.shape == wanted else ops.Reshape(x, wanted)


def transpose(x: Op, perm: Sequence[int]) -> Op:
    """`x` with its dimensions in the order `perm`."""
    order = tuple(map(int, perm))
    return x if order == tuple(range(x.type.rank)) else ops.Transpose(x, order)


def swap_axes(x: Op, first: int, second: int) -> Op:
    """`x` with two dimensions exchanged."""
    order = list(range(x.type.rank))
    order[first], order[second] = order[second], order[first]
    return transpose(x, order)


def slice_(x: Op, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int] = ()) -> Op:
    """Elements start + i * step of each dimension."""
    strides = tuple(map(int, steps)) or (1,) * x.type.rank
    begin, extents = tuple(map(int, starts)), tuple(map(int, sizes))
    unchanged = extents == x.shape and not any(begin) and all(s == 1 for s in strides)
    return x if unchanged else ops.Slice(x, begin, extents, strides)


def slice_axis(x: Op, axis: int, start: int, size: int, step: int = 1) -> Op:
    """Elements start + i * step along one axis."""
    at = normal_axis(axis, x.type.rank)
    starts, sizes, steps = [0] * x.type.rank, list(x.shape), [1] * x.type.rank
    starts[at], sizes[at], steps[at] = start, size, step
    return slice_(x, starts, sizes, steps)


def pad(x: Op, low: Sequence[int], high: Sequence[int], value: float = 0) -> Op:
    """`x` with constant elements around it."""
    before, after = tuple(map(int, low)), tuple(map(int, high))
    return ops.Pad(x, before, after, value) if any((*before, *after)) else x


def concat(xs: Sequence[Op], axis: int) -> Op:
    """Tensors one after the other along an axis."""
    return xs[0] if len(xs) == 1 else ops.Concat(tuple(xs), normal_axis(axis, xs[0].type.rank))


def broadcast(x: Op, shape: Sequence[int]) -> Op:
    """`x` repeated to a shape."""
    wanted = tuple(map(int, shape))
    return x if x.shape == wanted else ops.Broadcast(x, wanted)


def expand_dims(x: Op, axes: Sequence[int]) -> Op:
    """`x` with dimensions of extent 1 inserted; axes count in the result."""
    rank = x.type.rank + len(axes)
    new = {normal_axis(a, rank) for a in axes}
    rest = iter(x.shape)
    return reshape(x, [1 if i in new else next(rest) for i in range(rank)])


def squeeze(x: Op, axes: Sequence[int]) -> Op:
    """`x` without some dimensions of extent 1."""
    gone = {normal_axis(a, x.type.rank) for a in axes}
    if any(x.shape[a] != 1 for a in gone):
        raise ValueError(f"squeeze({x.type}, {list(axes)}): the extents must be 1")
    return reshape(x, [e for i, e in enumerate(x.shape) if i not in gone])


def gather(x: Op, indices: Op, axis: int) -> Op:
    """The slices of x at indices along an axis."""
    return ops.Gather(x, indices, normal_axis(axis, x.type.rank))


def reduce_sum(x: Op, axes: Sequence[int]) -> Op:
    """The sum over axes, which are kept."""
    return _reduce(x, "sum", axes)


def reduce_max(x: Op, axes: Sequence[int]) -> Op:
    """The maximum over axes, which are kept."""
    return _reduce(x, "max", axes)


def reduce_min(x: Op, axes: Sequence[int]) -> Op:
    """The minimum over axes, which are kept."""
    return _reduce(x, "min", axes)


def mean(x: Op, axes: Sequence[int]) -> Op:
    """The mean of floats over axes, which are kept."""
    total = reduce_sum(x, axes)
    return ops.Mul(total, scalar(total, total.type.size / max(x.type.size, 1)))


def matmul(x: Op, y: Op, dtype: np.dtype[Any] | None = None) -> Op:
    """`x @ y` as in numpy, of vectors, matrices and batches, in the type of x or in `dtype`.

    Batch dimensions broadcast; nothing is repeated for it, since a letter may be on one side only.
    """
    if x.type.rank == 0 or y.type.rank == 0:
        raise ValueError(f"matmul({x.type}, {y.type}): operands must have dimensions")
    left = expand_dims(x, [0]) if x.type.rank == 1 else x
    right = expand_dims(y, [-1]) if y.type.rank == 1 else y
    batch = _batch(left, right)
    xs, left = _letters(left, batch)
    ys, right = _letters(right, batch)
    wide = "".join(chr(ord("a") + i) for i, extent in enumerate(batch) if extent != 1)
    equation = f"{xs}yx,{ys}xz->{wide}yz"
    product = ops.Contract(left, right, equation, x.dtype if dtype is None else dtype)
    rows = () if x.type.rank == 1 else (x.shape[-2],)
    columns = () if y.type.rank == 1 else (y.shape[-1],)
    return reshape(product, (*batch, *rows, *columns))


def _batch(x: Op, y: Op) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul({x.type}, {y.type}): batch dimensions do not broadcast") from None


def _letters(x: Op, batch: tuple[int, ...]) -> tuple[str, Op]:
    """The letters of the batch dimensions that x really has, and x without the others."""
    own = x.shape[:-2]
    first = len(batch) - len(own)
    kept = [i for i, extent in enumerate(own, first) if extent == batch[i] != 1]
    letters = "".join(chr(ord("a") + i) for i in kept)
    return letters, reshape(x, (*(batch[i] for i in kept), *x.shape[-2:]))


def _reduce(x: Op, function: Literal["sum", "max", "min"], axes: Sequence[int]) -> Op:
    chosen = tuple(sorted({normal_axis(a, x.type.rank) for a in axes}))
    single = all(x.shape[a] == 1 for a in chosen)
    return x if single else ops.Reduce(x, function, chosen)
