"""The verifiers of regions and kernels: every failure names the rule that is broken, and where."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from kcompiler.errors import IRError
from kcompiler.graph.types import is_integer
from kcompiler.kernel.coverage import Reach, reach
from kcompiler.kernel.expr import Acc, Apply, Load, loads, walk
from kcompiler.kernel.nest import Access, Affine, Nest, Operand, Region, row_major
from kcompiler.scalar import FUNCTIONS


def broken(rule: str, where: str, why: str = "") -> NoReturn:
    """Raise the error of a broken rule."""
    raise IRError("kernel", rule, where, why)


def require(ok: bool, rule: str, where: str, why: str = "") -> None:
    """Raise the error of a broken rule, unless it holds."""
    if not ok:
        broken(rule, where, why)


def verify_region(region: Region) -> None:
    """Raise `IRError` unless the region keeps every rule of `kcompiler.kernel.nest`."""
    verify_operands(region.operands)
    tensors = {o.name: o for o in region.operands}
    written: dict[str, list[tuple[int, Reach]]] = {}
    used: set[str] = set()
    for number, nest in enumerate(region.nests):
        where = f"nest {number}"
        verify_nest(nest, tensors, where)
        for access in nest.reads:
            _verify_read(access, tensors[access.operand], written, where)
        name = nest.write.operand
        if tensors[name].role == "local":
            _verify_local(nest, name in written, where)
        reached = reach(nest.write.index, tensors[name].shape, parallel_extents(nest))
        written.setdefault(name, []).append((number, reached))
        used |= {name, *(a.operand for a in nest.reads)}
    for operand in region.operands:
        require(operand.name in used, "every operand is used", operand.name)
        if operand.role in {"local", "output"}:
            verify_written([r for _, r in written[operand.name]], operand)


def verify_operands(operands: Sequence[Operand]) -> None:
    """Operands have distinct names, one is the output, and shapes and strides fit together."""
    names = [o.name for o in operands]
    for operand in operands:
        name = operand.name
        require(names.count(name) == 1, "an operand is declared once", name)
        require(len(operand.strides) == len(operand.shape), "a dimension has one stride", name)
        require(all(n > 0 for n in operand.shape), "extents are positive", name)
        dense = operand.strides == row_major(operand.shape) and operand.offset == 0
        if operand.role in {"local", "output"}:
            require(dense, "locals and the output are dense", name)
        reach_low = sum(
            min(0, s * (n - 1)) for n, s in zip(operand.shape, operand.strides, strict=True)
        )
        require(operand.offset + reach_low >= 0, "a view begins inside its buffer", name)
    outputs = [o.name for o in operands if o.role == "output"]
    require(len(outputs) == 1, "exactly one operand is the output", ", ".join(outputs))


def verify_nest(nest: Nest, tensors: Mapping[str, Operand], where: str) -> None:
    """The rules of one nest on declared tensors."""
    _verify_axes(nest, where)
    for access in (*nest.reads, nest.write):
        _verify_access(access, nest, tensors, where)
    _verify_write(nest, tensors[nest.write.operand], where)
    _verify_expressions(nest, where)
    stored = tensors[nest.write.operand].dtype
    same = nest.result.dtype == stored
    rule = "the result has the element type of what it is written to"
    require(same, rule, where, f"{nest.result.dtype} is not {stored}")
    for number in _reached_reads(nest):
        moving = {name for form in nest.reads[number].index for name, _ in form.terms}
        reduced = sorted(moving & {a.name for a in nest.reduced})
        rule = "the result reads at parallel axes only"
        require(not reduced, rule, where, f"%{number} moves along {', '.join(reduced)}")


def parallel_extents(nest: Nest) -> dict[str, int]:
    """Axis name -> extent, of the axes that index the result."""
    return {a.name: a.extent for a in nest.parallel}


def verify_written(writes: Sequence[Reach], tensor: Operand) -> None:
    """Writes of a tensor reach every element once."""
    for reached in writes:
        require(not reached.repeated, "a write is injective", tensor.name, reached.repeated)
    for k, first in enumerate(writes):
        for second in writes[k + 1 :]:
            require(not first.meets(second), "writes are disjoint", tensor.name)
    size = 1
    for extent in tensor.shape:
        size *= extent
    total = sum(reached.count for reached in writes)
    why = f"{total} of {size} elements are"
    require(total == size, "every element is written", tensor.name, why)


def _verify_axes(nest: Nest, where: str) -> None:
    names = [a.name for a in nest.axes]
    for axis in nest.axes:
        require(names.count(axis.name) == 1, "an axis is declared once", where, axis.name)
        require(axis.extent > 0, "extents are positive", where, axis.name)
    combined = nest.combine != "none"
    why = f"combine is {nest.combine}, {len(nest.reduced)} axes are reduced"
    rule = "what is combined runs over reduced axes"
    require(combined == bool(nest.reduced), rule, where, why)


def _verify_access(access: Access, nest: Nest, tensors: Mapping[str, Operand], where: str) -> None:
    tensor = tensors.get(access.operand)
    if tensor is None:
        broken("an access names a declared operand", where, access.operand)
    rank = len(access.index) == len(tensor.shape)
    require(rank, "an index has one form a dimension", where, access.operand)
    extents = nest.extents
    for d, (form, extent) in enumerate(zip(access.index, tensor.shape, strict=True)):
        for name, _ in form.terms:
            require(name in extents, "an index uses axes of its nest", where, name)
        low, high = form.bounds(extents)
        inside = access.fill is not None or (low >= 0 and high < extent)
        why = f"{access.operand} dimension {d} of extent {extent}: index {low}..{high}"
        require(inside, "an index without fill stays in bounds", where, why)
    if access.indirect is not None:
        _verify_gather(access, nest, tensors, where)


def _verify_gather(access: Access, nest: Nest, tensors: Mapping[str, Operand], where: str) -> None:
    rule = "a gather takes its indices from a plain read of integers"
    dimension, read = access.indirect or (0, 0)
    require(read < len(nest.reads) and access in nest.reads, rule, where, f"%{read}")
    indices = nest.reads[read]
    require(indices.indirect is None, rule, where, f"%{read} is a gather itself")
    integers = indices.operand in tensors and is_integer(tensors[indices.operand].dtype)
    require(integers, rule, where, f"{indices.operand} holds no integers")
    require(dimension < len(access.index), rule, where, f"there is no dimension {dimension}")
    require(access.index[dimension] == Affine(), rule, where, "its own index must be 0")


def _verify_write(nest: Nest, tensor: Operand, where: str) -> None:
    rule = "a nest writes a local or the output"
    require(tensor.role in {"local", "output"}, rule, where, f"{tensor.name} is {tensor.role}")
    plain = nest.write.fill is None and nest.write.indirect is None
    require(plain, "a write is a plain access", where, tensor.name)
    moving = {name for form in nest.write.index for name, _ in form.terms}
    for axis in nest.axes:
        if axis.extent > 1:
            parallel = (axis.name in moving) == (not axis.reduced)
            rule = "the write moves along the parallel axes and no others"
            require(parallel, rule, where, axis.name)
    reached = reach(nest.write.index, tensor.shape, parallel_extents(nest))
    require(not reached.repeated, "a write is injective", where, reached.repeated)


def _verify_expressions(nest: Nest, where: str) -> None:
    for expr in (*walk(nest.body), *walk(nest.result)):
        if isinstance(expr, Load):
            exists = expr.read < len(nest.reads)
            require(exists, "an expression loads a read of its nest", where, f"%{expr.read}")
        if isinstance(expr, Apply):
            _verify_function(expr, where)
    inner = any(isinstance(e, Acc) for e in walk(nest.body))
    require(not inner, "only the result knows the combined value", where)
    typed = all(e.dtype == nest.body.dtype for e in walk(nest.result) if isinstance(e, Acc))
    require(typed, "the combined value has the type of the body", where)


def _verify_function(expr: Apply, where: str) -> None:
    known = FUNCTIONS.get(expr.function)
    arity = 1 if expr.function == "cast" else known.arity if known else -1
    fits = arity == len(expr.arguments)
    why = f"{expr.function} of {len(expr.arguments)}"
    require(fits, "a function exists and has its arguments", where, why)


def _reached_reads(nest: Nest) -> tuple[int, ...]:
    """The reads of the result, and those that give them their indices."""
    own = loads(nest.result)
    through = [nest.reads[n].indirect for n in own]
    return (*own, *(access[1] for access in through if access is not None))


def _verify_read(
    access: Access,
    tensor: Operand,
    written: Mapping[str, Collection[object]],
    where: str,
) -> None:
    require(tensor.role != "output", "the output is not read", where, tensor.name)
    ready = tensor.role != "local" or access.operand in written
    require(ready, "a local is written before it is read", where, tensor.name)


def _verify_local(nest: Nest, again: bool, where: str) -> None:
    name = nest.write.operand
    require(not again, "a local is written by one nest", where, name)
    forms = tuple(form for form in nest.write.index if form != Affine())
    in_order = forms == tuple(Affine.axis(a.name) for a in nest.parallel)
    require(in_order, "a local is indexed by the parallel axes in order", where, name)
