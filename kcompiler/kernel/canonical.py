"""The normal form of a region: equal work gives equal regions, with as few axes as possible.

In this order: axes of extent 1 go, then padding that is never touched, then dimensions that no
access moves along; an element-wise nest joins the reduction that feeds it; axes that always move
together become one (`merge.py`); at last everything is ordered and named by its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from kcompiler.kernel.expr import Acc, Apply, Expr, Load, substitute
from kcompiler.kernel.loops import ZERO
from kcompiler.kernel.merge import merged
from kcompiler.kernel.naming import named
from kcompiler.kernel.nest import Access, Affine, Nest, Operand, Region
from kcompiler.scalar import working_dtype


def canonical(operands: Mapping[str, Operand], nests: Sequence[Nest]) -> tuple[Region, list[str]]:
    """The region in normal form, and the old names of its inputs and constants in order."""
    region, names = _canonical(tuple(operands.items()), tuple(nests))
    return region, list(names)


@lru_cache(maxsize=4096)
def _canonical(
    operands: tuple[tuple[str, Operand], ...], nests: tuple[Nest, ...]
) -> tuple[Region, tuple[str, ...]]:
    """Layers of a network repeat, and so do their regions: each is normalized once."""
    tensors, work = without_scalars(dict(operands), nests)
    work = [without_unit_axes(n) for n in work]
    work = [without_idle_fills(without_detours(n, tensors), tensors) for n in work]
    tensors, work = without_still_dimensions(tensors, work)
    tensors, work = merged(tensors, joined(work, tensors))
    region, names = named(tensors, work)
    return region, tuple(names)


def without_scalars(
    operands: Mapping[str, Operand], nests: Sequence[Nest]
) -> tuple[dict[str, Operand], list[Nest]]:
    """Operands without dimensions get one of extent 1, so that every tensor below has some."""
    scalars = {name for name, o in operands.items() if not o.shape}
    tensors = {
        name: replace(o, shape=(1,), strides=(1,)) if name in scalars else o
        for name, o in operands.items()
    }

    def change(access: Access) -> Access:
        return replace(access, index=(ZERO,)) if access.operand in scalars else access

    return tensors, [map_accesses(n, change) for n in nests]


def without_unit_axes(nest: Nest) -> Nest:
    """The nest without axes of extent 1; without a reduction when nothing is left to reduce."""
    gone: dict[str, Affine] = {a.name: ZERO for a in nest.axes if a.extent == 1}
    nest = replace(nest, axes=tuple(a for a in nest.axes if a.name not in gone))
    nest = map_accesses(nest, lambda a: reindexed(a, gone))
    if nest.combine == "none" or nest.reduced:
        return nest
    body = nest.body
    value = substitute(nest.result, lambda leaf: body if isinstance(leaf, Acc) else leaf)
    return replace(nest, body=value, combine="none", result=Acc(value.dtype))


def reindexed(access: Access, values: Mapping[str, Affine]) -> Access:
    """The access with axes replaced."""
    return replace(access, index=tuple(i.substitute(values) for i in access.index))


def map_accesses(nest: Nest, change: Callable[[Access], Access]) -> Nest:
    """The nest with all its accesses changed."""
    return replace(nest, reads=tuple(map(change, nest.reads)), write=change(nest.write))


def without_detours(nest: Nest, tensors: Mapping[str, Operand]) -> Nest:
    """The nest with values that are only copied left in the type that they are stored in."""

    def plain(expr: Expr) -> Expr:
        if not isinstance(expr, Apply):
            return expr
        expr = replace(expr, arguments=tuple(map(plain, expr.arguments)))
        inner = expr.arguments[0]
        if expr.function != "cast" or not isinstance(inner, Load):
            return expr
        stored = tensors[nest.reads[inner.read].operand].dtype
        same = stored == expr.dtype and inner.dtype == working_dtype(stored)
        return Load(stored, inner.read) if same else expr

    return replace(nest, body=plain(nest.body), result=plain(nest.result))


def inside(form: Affine, extent: int, extents: Mapping[str, int]) -> bool:
    """Whether an index never leaves a dimension."""
    low, high = form.bounds(extents)
    return low >= 0 and high < extent


def without_idle_fills(nest: Nest, tensors: Mapping[str, Operand]) -> Nest:
    """The nest without fills that no index ever needs."""

    def change(access: Access) -> Access:
        if access.fill is None:
            return access
        bounds = zip(access.index, tensors[access.operand].shape, strict=True)
        idle = all(inside(form, extent, nest.extents) for form, extent in bounds)
        return replace(access, fill=None) if idle else access

    return map_accesses(nest, change)


def without_still_dimensions(
    tensors: Mapping[str, Operand], nests: Sequence[Nest]
) -> tuple[dict[str, Operand], list[Nest]]:
    """Operands without dimensions of extent 1 or stride 0; one dimension stays at least."""
    keep: dict[str, list[int]] = {}
    uses = [(n, a) for n in nests for a in (*n.reads, n.write)]
    for name, tensor in tensors.items():
        own = [(n, a) for n, a in uses if a.operand == name]
        keep[name] = [d for d in range(len(tensor.shape)) if moves(tensor, d, own)]
        keep[name] = keep[name] or list(range(len(tensor.shape)))[-1:]
    small = {name: only(tensor, keep[name]) for name, tensor in tensors.items()}
    return small, [map_accesses(n, lambda a: narrowed(a, keep[a.operand])) for n in nests]


def moves(tensor: Operand, d: int, uses: Sequence[tuple[Nest, Access]]) -> bool:
    """Whether dimension d matters: other positions than 0 exist, or padding, or a gather."""
    extent = tensor.shape[d]
    if extent != 1 and (tensor.strides[d] != 0 or tensor.role in {"local", "output"}):
        return True
    gathers = any(a.indirect is not None and a.indirect[0] == d for _, a in uses)
    return gathers or not all(inside(a.index[d], extent, n.extents) for n, a in uses)


def only(tensor: Operand, keep: Sequence[int]) -> Operand:
    """The operand with some of its dimensions."""
    shape = tuple(tensor.shape[d] for d in keep)
    return replace(tensor, shape=shape, strides=tuple(tensor.strides[d] for d in keep))


def narrowed(access: Access, keep: Sequence[int]) -> Access:
    """The access to an operand of which some dimensions were kept."""
    index = tuple(access.index[d] for d in keep)
    if access.indirect is None:
        return replace(access, index=index)
    dimension, read = access.indirect
    return replace(access, index=index, indirect=(keep.index(dimension), read))


def joined(nests: Sequence[Nest], tensors: Mapping[str, Operand]) -> list[Nest]:
    """Reductions joined with the element-wise nest that alone reads what they write."""
    work = list(nests)
    for first in nests:
        readers = [n for n in work for a in n.reads if a.operand == first.write.operand]
        if len(readers) == 1 and can_join(first, readers[0], tensors):
            work[work.index(readers[0])] = join(first, readers[0])
            work.remove(first)
    return work


def can_join(first: Nest, second: Nest, tensors: Mapping[str, Operand]) -> bool:
    """Whether the second nest can be the end of the first: same points, plain reads of its result.

    A contraction stays as it is: the matrix engine leaves its sums in memory.
    """
    if tensors[first.write.operand].role != "local" or second.combine != "none":
        return False
    if first.is_contraction or first.combine == "none":
        return False
    (read,) = (a for a in second.reads if a.operand == first.write.operand)
    in_order = tuple(Affine.axis(a.name) for a in second.axes)
    same = [a.extent for a in first.parallel] == [a.extent for a in second.axes]
    return same and moving(read.index) == in_order and read.fill is None


def moving(index: Sequence[Affine]) -> tuple[Affine, ...]:
    """The forms that move along an axis."""
    return tuple(form for form in index if form.terms)


def join(first: Nest, second: Nest) -> Nest:
    """One nest that ends with what the second does."""
    axes = {b.name: Affine.axis(a.name) for a, b in zip(first.parallel, second.axes, strict=True)}
    shift = len(first.reads)
    name = first.write.operand
    own = next(k for k, a in enumerate(second.reads) if a.operand == name)

    def leaf(expr: Expr) -> Expr:
        if not isinstance(expr, Load):
            return expr
        return first.result if expr.read == own else Load(expr.dtype, expr.read + shift)

    def moved(access: Access) -> Access:
        new = reindexed(access, axes)
        if new.indirect is not None:
            new = replace(new, indirect=(new.indirect[0], new.indirect[1] + shift))
        return new

    reads = (*first.reads, *map(moved, second.reads))
    result = substitute(second.body, leaf)
    return replace(first, reads=reads, result=result, write=moved(second.write))
