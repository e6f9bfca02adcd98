"""Names and orders by first use, so that equal regions are equal objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kcompiler.kernel.expr import Expr, Load, substitute, walk
from kcompiler.kernel.nest import Access, Affine, Axis, Nest, Operand, Region

PREFIX = {"input": "in", "constant": "c", "local": "t"}


def named(tensors: Mapping[str, Operand], nests: Sequence[Nest]) -> tuple[Region, list[str]]:
    """The region in canonical names, and the old names of its inputs and constants in order."""
    work = [in_order(nest) for nest in nests]
    used = list(dict.fromkeys(a.operand for n in work for a in (*n.reads, n.write)))
    new: dict[str, str] = {}
    for name in used:
        role = tensors[name].role
        count = sum(tensors[other].role == role for other in new)
        new[name] = "out" if role == "output" else f"{PREFIX[role]}{count}"
    rank = {"input": 0, "constant": 0, "local": 1, "output": 2}
    order = sorted(used, key=lambda name: rank[tensors[name].role])
    operands = tuple(replace(tensors[name], name=new[name]) for name in order)
    region = Region(operands, tuple(renamed(nest, new) for nest in work))
    return region, [name for name in order if tensors[name].role in {"input", "constant"}]


def renamed(nest: Nest, names: Mapping[str, str]) -> Nest:
    """The nest with its operands renamed."""

    def change(access: Access) -> Access:
        return replace(access, operand=names[access.operand])

    return replace(nest, reads=tuple(map(change, nest.reads)), write=change(nest.write))


def in_order(nest: Nest) -> Nest:
    """Reads in order of use; axes in order of the result, then the reduced ones, renamed."""
    nest = _ordered_reads(nest)
    position = {name: d for d, form in enumerate(nest.write.index) for name, _ in form.terms}
    axes = sorted(nest.axes, key=lambda a: (a.reduced, position.get(a.name, 0)))
    names = axis_names(axes)

    def change(access: Access) -> Access:
        values = {old: Affine.axis(new) for old, new in names.items()}
        return replace(access, index=tuple(i.substitute(values) for i in access.index))

    return replace(
        nest,
        axes=tuple(Axis(names[a.name], a.extent, a.reduced) for a in axes),
        reads=tuple(map(change, nest.reads)),
        write=change(nest.write),
    )


def axis_names(axes: Sequence[Axis]) -> dict[str, str]:
    """Old name -> canonical name: a window's axes keep theirs, others are i0, i1… and r0, r1…."""
    if any(a.name[0] == "k" and a.name[1:].isdigit() for a in axes):
        return {a.name: a.name for a in axes}
    found: dict[str, str] = {}
    count = {False: 0, True: 0}
    for axis in axes:
        found[axis.name] = f"{'r' if axis.reduced else 'i'}{count[axis.reduced]}"
        count[axis.reduced] += 1
    return found


def _ordered_reads(nest: Nest) -> Nest:
    leaves = [e for whole in (nest.body, nest.result) for e in walk(whole) if isinstance(e, Load)]
    used: list[int] = []
    for leaf in leaves:
        indirect = nest.reads[leaf.read].indirect
        used += [leaf.read] if indirect is None else [indirect[1], leaf.read]
    kept = list(dict.fromkeys(used))
    number = {old: new for new, old in enumerate(kept)}

    def renumber(expr: Expr) -> Expr:
        return Load(expr.dtype, number[expr.read]) if isinstance(expr, Load) else expr

    def change(access: Access) -> Access:
        if access.indirect is None:
            return access
        return replace(access, indirect=(access.indirect[0], number[access.indirect[1]]))

    return replace(
        nest,
        reads=tuple(change(nest.reads[old]) for old in kept),
        body=substitute(nest.body, renumber),
        result=substitute(nest.result, renumber),
    )
