"""Recompute instead of store: element-wise locals written into the nests that read them."""

from __future__ import annotations

from dataclasses import replace

from kcompiler.kernel.expr import Acc, Apply, Expr, Load, substitute
from kcompiler.kernel.nest import Access, Nest, Region


def inlined(region: Region) -> Region:
    """The region without element-wise locals, where their readers can compute them anew.

    Rows that are too long to keep can then be read again for each reduction over them.
    """
    nests = list(region.nests)
    for producer in region.nests:
        if not _movable(producer, region):
            continue
        name = producer.write.operand
        current = next(n for n in nests if n.write.operand == name)
        if all(_takes(n, name) for n in nests):
            nests = [_with(n, current) for n in nests if n is not current]
    used = {a.operand for n in nests for a in (*n.reads, n.write)}
    return Region(tuple(o for o in region.operands if o.name in used), tuple(nests))


def _movable(nest: Nest, region: Region) -> bool:
    """Whether a nest is element-wise, writes a local and looks nothing up."""
    local = region.operand(nest.write.operand).role == "local"
    plain = nest.combine == "none" and isinstance(nest.result, Acc)
    return local and plain and not any(a.indirect for a in nest.reads)


def _takes(nest: Nest, name: str) -> bool:
    """Whether every read of a local by a nest can become an expression."""
    reads = [a for a in nest.reads if a.operand == name]
    padded = any(a.fill is not None for a in reads)
    gathers = any(a.indirect is not None for a in nest.reads)
    return not reads or not (nest.is_contraction or padded or gathers)


def _with(nest: Nest, producer: Nest) -> Nest:
    """The nest with each read of the producer's local replaced by the producer's body."""
    name = producer.write.operand
    reads: list[Access] = []
    values: dict[int, Expr] = {}
    for number, access in enumerate(nest.reads):
        if access.operand != name:
            values[number] = Load(producer.body.dtype, len(reads))
            reads.append(access)
            continue
        values[number] = _shifted(producer.body, len(reads))
        reads += _moved(producer, access)

    def leaf(expr: Expr) -> Expr:
        if not isinstance(expr, Load):
            return expr
        value = values[expr.read]
        if isinstance(value, Load) and nest.reads[expr.read].operand != name:
            return replace(value, dtype=expr.dtype)
        return value if value.dtype == expr.dtype else Apply(expr.dtype, "cast", (value,))

    return replace(
        nest,
        reads=tuple(reads),
        body=substitute(nest.body, leaf),
        result=substitute(nest.result, leaf),
    )


def _shifted(body: Expr, by: int) -> Expr:
    return substitute(body, lambda e: replace(e, read=e.read + by) if isinstance(e, Load) else e)


def _moved(producer: Nest, access: Access) -> list[Access]:
    """The producer's reads at the point that an access to its local names."""
    pairs = zip(producer.write.index, access.index, strict=True)
    values = {own.terms[0][0]: form for own, form in pairs if own.terms}
    return [replace(a, index=tuple(f.substitute(values) for f in a.index)) for a in producer.reads]
