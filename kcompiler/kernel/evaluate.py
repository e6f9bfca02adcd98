"""What one nest computes, in numpy: strided views, matrix products, reductions of whole arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import F64, I64, is_float
from kcompiler.kernel.expr import Acc, Apply, Const, Expr, Load
from kcompiler.kernel.nest import Access, Affine, Nest, Operand
from kcompiler.scalar import apply, convert

Extents: TypeAlias = Sequence[tuple[str, int]]

COMBINE: dict[str, Callable[..., Any]] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}
_EXACT = 1 << 53  # integers up to here are float64 numbers


def strided(buffer: Array, operand: Operand) -> Array:
    """The elements of an operand, as a view of the dense buffer that they lie in."""
    flat = buffer.reshape(-1)
    reach = [s * (n - 1) for n, s in zip(operand.shape, operand.strides, strict=True)]
    low = operand.offset + sum(r for r in reach if r < 0)
    high = operand.offset + sum(r for r in reach if r > 0)
    if operand.dtype != flat.dtype or low < 0 or high >= flat.size:
        raise ValueError(f"{operand.name} needs elements {low}..{high} of {operand.dtype}")
    steps = tuple(s * flat.itemsize for s in operand.strides)
    return np.lib.stride_tricks.as_strided(flat[operand.offset :], operand.shape, steps)


def evaluate(nest: Nest, tensors: Mapping[str, Array]) -> Array:
    """The values that a nest writes, over its parallel axes in order."""
    if nest.is_contraction:
        value = _contract(nest, tensors)
    else:
        reads = _reads(nest, tensors)
        value = _value(nest.body, reads, None)
        if nest.combine != "none":
            full = np.broadcast_to(value, [a.extent for a in nest.axes])
            reduced = tuple(i for i, a in enumerate(nest.axes) if a.reduced)
            with np.errstate(all="ignore"):
                value = _reduce(nest, full, reduced)
        value = _value(nest.result, reads, value)
    shape = [1 if a.reduced else a.extent for a in nest.axes]
    return np.broadcast_to(value, shape).reshape([a.extent for a in nest.parallel])


def written(nest: Nest, tensors: Mapping[str, Array]) -> Array:
    """The part of the written tensor that a nest writes, as a view over its parallel axes."""
    return _window(
        tensors[nest.write.operand], nest.write.index, [(a.name, a.extent) for a in nest.parallel]
    )


def _reads(nest: Nest, tensors: Mapping[str, Array]) -> list[Array]:
    extents = [(a.name, a.extent) for a in nest.axes]
    return [_read(access, nest, tensors, extents) for access in nest.reads]


def _read(access: Access, nest: Nest, tensors: Mapping[str, Array], extents: Extents) -> Array:
    if access.indirect is None:
        return _plain(access, tensors, extents)
    dimension, read = access.indirect
    chosen = _plain(nest.reads[read], tensors, extents).astype(I64)
    index = [_positions(form, extents) for form in access.index]
    index[dimension] = chosen
    return np.asarray(tensors[access.operand][tuple(index)])


def _plain(access: Access, tensors: Mapping[str, Array], extents: Extents) -> Array:
    """The values read at every point: an array over all axes, of extent 1 where none is used."""
    tensor, index = tensors[access.operand], access.index
    if access.fill is not None:
        tensor, index = _padded(tensor, index, access.fill, dict(extents))
    return _window(tensor, index, extents)


def _padded(
    tensor: Array, index: Sequence[Affine], fill: float, extents: Mapping[str, int]
) -> tuple[Array, tuple[Affine, ...]]:
    """The tensor with as much fill around it as the index reaches, and the index in it."""
    around = []
    for form, extent in zip(index, tensor.shape, strict=True):
        low, high = form.bounds(extents)
        around.append((max(0, -low), max(0, high + 1 - extent)))
    if not any(map(any, around)):
        return tensor, tuple(index)
    shape = [a + n + b for (a, b), n in zip(around, tensor.shape, strict=True)]
    padded = np.full(shape, convert(np.asarray(fill), tensor.dtype))
    inner = zip(around, tensor.shape, strict=True)
    padded[tuple(slice(a, a + n) for (a, _), n in inner)] = tensor
    moved = zip(index, around, strict=True)
    return padded, tuple(form.plus(Affine((), a)) for form, (a, _) in moved)


def _window(tensor: Array, index: Sequence[Affine], extents: Extents) -> Array:
    """A tensor seen through affine indices, without a copy."""
    known = dict(extents)
    for form, extent in zip(index, tensor.shape, strict=True):
        low, high = form.bounds(known)
        if low < 0 or high >= extent:
            raise IndexError(f"index {low}..{high} of a dimension of extent {extent}")
    shape, steps = [], []
    for name, extent in extents:
        pairs = zip(index, tensor.strides, strict=True)
        used = [(c, s) for form, s in pairs if (c := form.coefficient(name))]
        shape.append(extent if used else 1)
        steps.append(sum(c * s for c, s in used))
    places = tuple(slice(form.offset, None) for form in index)
    start = tensor[places] if places else tensor  # an empty index would copy
    return np.lib.stride_tricks.as_strided(start, shape, steps)


def _positions(form: Affine, extents: Extents) -> Array:
    """The values of an affine form over all axes."""
    total = np.full((1,) * len(extents), form.offset)
    for i, (name, extent) in enumerate(extents):
        c = form.coefficient(name)
        if c:
            shape = [1] * len(extents)
            shape[i] = extent
            total = total + c * np.arange(extent).reshape(shape)
    return total


def _value(expr: Expr, reads: Sequence[Array], acc: Array | None) -> Array:
    match expr:
        case Load(dtype=dtype, read=read):
            return convert(reads[read], dtype)
        case Const(dtype=dtype, value=literal):
            return convert(np.asarray(literal), dtype)
        case Acc(dtype=dtype) if acc is not None:
            return convert(acc, dtype)
        case Apply(dtype=dtype, function=function, arguments=arguments):
            return apply(function, dtype, *(_value(a, reads, acc) for a in arguments))
    raise TypeError(f"{expr!r} is no expression")


def _reduce(nest: Nest, full: Array, axes: tuple[int, ...]) -> Array:
    """The combination over axes, in the type of the body."""
    combine = COMBINE[nest.combine]
    if nest.combine in {"sum", "prod"}:
        return np.asarray(combine.reduce(full, axes, dtype=full.dtype, keepdims=True))  # type: ignore[attr-defined]
    return np.asarray(combine.reduce(full, axes, keepdims=True))  # type: ignore[attr-defined]


def _contract(nest: Nest, tensors: Mapping[str, Array]) -> Array:
    """A sum of products as batched matrix products [batch, rows, sum] @ [batch, sum, columns]."""
    acc = nest.body.dtype
    x, y = (_summed_alone(r, k, nest) for k, r in enumerate(_reads(nest, tensors)))
    axes = range(len(nest.axes))
    batch = [i for i in axes if not nest.axes[i].reduced and _both(x, y, i)]
    summed = [i for i in axes if nest.axes[i].reduced and _both(x, y, i)]
    rows = [i for i in axes if x.shape[i] != 1 and y.shape[i] == 1]
    columns = [i for i in axes if x.shape[i] == 1 and y.shape[i] != 1]
    left = _grouped(x, batch, rows, summed)
    right = _grouped(y, batch, summed, columns)
    order = [*batch, *rows, *columns]
    full = _matmul(left, right, acc).reshape([max(x.shape[i], y.shape[i]) for i in order])
    back = full.transpose([order.index(i) for i in sorted(order)])
    return back.reshape([max(x.shape[i], y.shape[i]) if i in order else 1 for i in axes])


def _both(x: Array, y: Array, i: int) -> bool:
    return bool(x.shape[i] != 1 and y.shape[i] != 1)


def _summed_alone(x: Array, read: int, nest: Nest) -> Array:
    """One operand summed over reduced axes of its own; the first one also over nobody's."""
    moving = [{n for form in r.index for n, _ in form.terms} for r in nest.reads]
    mine = {a.name for a in nest.reduced} - moving[1 - read]
    if read == 1:
        mine &= moving[1]
    alone = tuple(i for i, a in enumerate(nest.axes) if a.name in mine)
    if not alone:
        return x
    spread = [a.extent if i in alone else x.shape[i] for i, a in enumerate(nest.axes)]
    wide = nest.body.dtype
    return np.asarray(np.broadcast_to(x, spread).astype(wide).sum(alone, wide, keepdims=True))


def _grouped(x: Array, *groups: Sequence[int]) -> Array:
    """The axes of the groups in order, each group one dimension."""
    order = [i for group in groups for i in group]
    rest = [i for i in range(x.ndim) if i not in order]
    sizes = [math.prod(x.shape[i] for i in group) for group in groups]
    return x.transpose([*order, *rest]).reshape(sizes)


def _matmul(x: Array, y: Array, acc: np.dtype[Any]) -> Array:
    """A product in the accumulator's type: floats by BLAS, integers exactly and then wrapped."""
    if is_float(acc):
        return np.asarray(np.matmul(convert(x, acc), convert(y, acc)))
    largest = 1 << (8 * x.dtype.itemsize + 8 * y.dtype.itemsize)
    if largest * max(x.shape[-1], 1) <= _EXACT:
        return convert(np.matmul(x.astype(F64), y.astype(F64)).astype(I64), acc)
    return convert(np.matmul(x.astype(I64), y.astype(I64)), acc)
