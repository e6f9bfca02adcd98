"""Axes that always move together become one axis, the dimensions that they index one dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from kcompiler.kernel.nest import Access, Affine, Axis, Nest, Operand

AxisPair: TypeAlias = tuple[int, str, str]  # nest, outer axis, inner axis
DimPair: TypeAlias = tuple[str, int]  # operand, outer dimension; the inner one follows it


@dataclass(frozen=True)
class Group:
    """Pairs that can only be merged together."""

    axes: tuple[AxisPair, ...]
    dims: tuple[DimPair, ...]


def merged(
    tensors: Mapping[str, Operand], nests: Sequence[Nest]
) -> tuple[dict[str, Operand], list[Nest]]:
    """The same work with as few axes as merging adjacent ones can reach."""
    operands, work = dict(tensors), list(nests)
    while True:
        group = _first_group(operands, work)
        if group is None:
            return operands, work
        operands, work = _apply(group, operands, work)


def _first_group(operands: Mapping[str, Operand], nests: Sequence[Nest]) -> Group | None:
    for k, nest in enumerate(nests):
        for outer in nest.axes:
            for inner in nest.axes:
                if outer is inner or outer.reduced != inner.reduced:
                    continue
                group = _closure((k, outer.name, inner.name), operands, nests)
                if group is not None:
                    return group
    return None


def _closure(
    start: AxisPair, operands: Mapping[str, Operand], nests: Sequence[Nest]
) -> Group | None:
    """All pairs that must be merged when one is; None when one of them cannot be."""
    axes: list[AxisPair] = [start]
    dims: list[DimPair] = []
    for pair in axes:  # grows while it runs
        found = _dims_of(pair, operands, nests[pair[0]])
        if found is None:
            return None
        for dim in found:
            if dim in dims:
                continue
            dims.append(dim)
            more = _axes_of(dim, operands, nests)
            if more is None:
                return None
            axes += [m for m in dict.fromkeys(more) if m not in axes]
    return Group(tuple(axes), tuple(dims))


def _dims_of(pair: AxisPair, operands: Mapping[str, Operand], nest: Nest) -> list[DimPair] | None:
    """The pairs of dimensions that two axes index; None when some access holds them apart."""
    _, outer, inner = pair
    found: list[DimPair] = []
    for access in (*nest.reads, nest.write):
        places = [d for d, form in enumerate(access.index) if _uses(form, outer, inner)]
        if not places or (len(places) == 1 and _linear(access.index[places[0]], pair, nest)):
            continue
        d = places[0]
        if places != [d, d + 1] or _clean(access, d, operands[access.operand], nest) is None:
            return None
        if (access.index[d], access.index[d + 1]) != (Affine.axis(outer), Affine.axis(inner)):
            return None
        found.append((access.operand, d))
    return found


def _axes_of(
    dim: DimPair, operands: Mapping[str, Operand], nests: Sequence[Nest]
) -> list[AxisPair] | None:
    """The pairs of axes that index a pair of dimensions; None when they cannot be one dimension."""
    name, d = dim
    operand = operands[name]
    if operand.strides[d] != operand.strides[d + 1] * operand.shape[d + 1]:
        return None
    found: list[AxisPair] = []
    for k, nest in enumerate(nests):
        for access in (*nest.reads, nest.write):
            if access.operand != name:
                continue
            pair = _clean(access, d, operand, nest)
            if pair is None:
                return None
            found.append((k, *pair))
    return found


def _clean(access: Access, d: int, operand: Operand, nest: Nest) -> tuple[str, str] | None:
    """The axes that run over all of dimensions d and d + 1, each over one and from 0."""
    names = []
    for form, extent in zip(access.index[d : d + 2], operand.shape[d : d + 2], strict=True):
        name = form.terms[0][0] if form.terms else ""
        if form != Affine.axis(name) or nest.extents[name] != extent:
            return None
        names.append(name)
    if access.indirect is not None and access.indirect[0] in {d, d + 1}:
        return None
    return names[0], names[1]


def _uses(form: Affine, *names: str) -> bool:
    return any(form.coefficient(name) for name in names)


def _linear(form: Affine, pair: AxisPair, nest: Nest) -> bool:
    """Whether the outer axis moves as far as all of the inner one."""
    _, outer, inner = pair
    return form.coefficient(outer) == form.coefficient(inner) * nest.extents[inner] != 0


def _apply(
    group: Group, operands: dict[str, Operand], nests: list[Nest]
) -> tuple[dict[str, Operand], list[Nest]]:
    work = list(nests)
    for name, d in sorted(group.dims, key=lambda dim: -dim[1]):
        operands = {**operands, name: _joined(operands[name], d)}
        work = [_drop_dimension(nest, name, d) for nest in work]
    for k, outer, inner in group.axes:
        work[k] = _merge_axes(work[k], outer, inner)
    return operands, work


def _joined(operand: Operand, d: int) -> Operand:
    shape, strides = operand.shape, operand.strides
    extent = shape[d] * shape[d + 1]
    return replace(
        operand,
        shape=(*shape[:d], extent, *shape[d + 2 :]),
        strides=(*strides[:d], *strides[d + 1 :]),
    )


def _drop_dimension(nest: Nest, name: str, d: int) -> Nest:
    """The nest with the outer dimension's index gone; the inner one's stands for both."""

    def change(access: Access) -> Access:
        if access.operand != name:
            return access
        indirect = access.indirect
        if indirect is not None and indirect[0] > d:
            indirect = (indirect[0] - 1, indirect[1])
        index = (*access.index[:d], *access.index[d + 1 :])
        return replace(access, index=index, indirect=indirect)

    return replace(nest, reads=tuple(map(change, nest.reads)), write=change(nest.write))


def _merge_axes(nest: Nest, outer: str, inner: str) -> Nest:
    """One axis for two: the inner one grows and takes the outer one's name and place."""
    extents = nest.extents
    axes = tuple(
        Axis(a.name, a.extent * extents[inner], a.reduced) if a.name == outer else a
        for a in nest.axes
        if a.name != inner
    )
    values = {outer: Affine(), inner: Affine.axis(outer)}

    def change(access: Access) -> Access:
        return replace(access, index=tuple(i.substitute(values) for i in access.index))

    return replace(nest, axes=axes, reads=tuple(map(change, nest.reads)), write=change(nest.write))
