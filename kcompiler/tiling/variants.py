"""Equivalent forms of a region that give the tiler more to choose from.

A region is cut into sections, one for each nest that writes the result (a concatenation has
several). A section is analysed with different axes whole and different reductions cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from kcompiler.kernel.expr import Acc, Expr, Load, loads, substitute
from kcompiler.kernel.footprint import Footprint, footprint
from kcompiler.kernel.nest import Access, Affine, Nest, Operand, Region, row_major
from kcompiler.tiling.inline import inlined


@dataclass(frozen=True)
class Variant:
    """A section and one analysis of it."""

    region: Region
    footprint: Footprint


@lru_cache(maxsize=4096)
def variants(section: Region) -> tuple[Variant, ...]:
    """The analyses of a section, none twice; they are the same for all chips."""
    split = accumulating(section)
    contraction = _cuttable(split, only_contraction=True)
    everything = _cuttable(split, only_contraction=False)
    apart = _apart(footprint(section))
    wanted: list[tuple[Region, frozenset[str], Mapping[int, str]]] = []
    if not contraction or split != section:
        wanted += [(section, frozenset(), {}), (section, apart, {})]
    if contraction:
        wanted += [(split, frozenset(), contraction), (split, apart, contraction)]
    if everything != contraction:
        wanted.append((split, frozenset(), everything))
    if everything and not any(n.is_contraction for n in section.nests):
        again = accumulating(inlined(section))
        wanted.append((again, frozenset(), _cuttable(again, only_contraction=False)))
    found: list[Variant] = []
    for strided in (True, False):
        for region, frozen, splits in wanted:
            variant = Variant(region, footprint(region, frozen, splits, strided=strided))
            if variant not in found:
                found.append(variant)
    return tuple(found)


def sections(region: Region) -> list[Region]:
    """One region for each nest that writes the output, with the nests that it needs."""
    found = []
    for last, nest in enumerate(region.nests):
        if region.operand(nest.write.operand).role == "output":
            found.append(_closure(region, last))
    return found


def _closure(region: Region, last: int) -> Region:
    needed: list[Nest] = []
    reads: set[str] = set()
    for j in range(last, -1, -1):
        nest = region.nests[j]
        if j == last or nest.write.operand in reads:
            needed.insert(0, nest)
            reads |= {a.operand for a in nest.reads}
    used = reads | {n.write.operand for n in needed}
    return Region(tuple(o for o in region.operands if o.name in used), tuple(needed))


def unrepeated(region: Region) -> Region:
    """The region with each broadcast dimension (stride 0) of an input read at one index only."""
    shapes = {o.name: o for o in region.operands}
    repeated = {
        o.name: frozenset(
            d
            for d, (extent, stride) in enumerate(zip(o.shape, o.strides, strict=True))
            if stride == 0 and extent > 1 and _stays_inside(region, o, d)
        )
        for o in region.operands
        if o.role in {"input", "constant"}
    }

    def once(access: Access) -> Access:
        dims = repeated.get(access.operand, frozenset())
        index = tuple(Affine() if d in dims else f for d, f in enumerate(access.index))
        return replace(access, index=index)

    operands = tuple(
        replace(o, shape=tuple(1 if d in repeated.get(n, ()) else e for d, e in enumerate(o.shape)))
        for n, o in shapes.items()
    )
    nests = tuple(replace(n, reads=tuple(map(once, n.reads))) for n in region.nests)
    return Region(operands, nests)


def _stays_inside(region: Region, operand: Operand, dimension: int) -> bool:
    """Whether no read of an operand uses the fill of a dimension, nor looks it up."""
    for nest in region.nests:
        for access in nest.reads:
            if access.operand != operand.name:
                continue
            low, high = access.index[dimension].bounds(nest.extents)
            outside = low < 0 or high >= operand.shape[dimension]
            looked_up = access.indirect is not None and access.indirect[0] == dimension
            if outside or looked_up:
                return False
    return True


def accumulating(region: Region) -> Region:
    """The region with every reduction that ends in more than a sum cut in two nests.

    The first leaves the plain sum in a local of the accumulator's type, so that partial sums
    neither round nor meet the rest of the formula; the second applies it.
    """
    operands, nests = list(region.operands), []
    for nest in region.nests:
        written = region.operand(nest.write.operand)
        if nest.combine == "none" or _plain(nest, written):
            nests.append(nest)
            continue
        name = f"acc{len(nests)}"
        shape = tuple(a.extent for a in nest.parallel) or (1,)
        local = Operand(name, "local", nest.body.dtype, shape, row_major(shape))
        identity = tuple(Affine.axis(a.name) for a in nest.parallel) or (Affine(),)
        operands.append(local)
        nests += _halves(nest, Access(name, identity))
    return Region(tuple(operands), tuple(nests))


def _plain(nest: Nest, written: Operand) -> bool:
    same = written.dtype == nest.result.dtype == nest.body.dtype
    return isinstance(nest.result, Acc) and same and written.role == "local"


def _halves(nest: Nest, total: Access) -> list[Nest]:
    """The sum alone, and the element-wise nest that turns it into the result."""
    dtype = nest.body.dtype
    used = loads(nest.result)

    def leaf(expr: Expr) -> Expr:
        if isinstance(expr, Acc):
            return Load(dtype, len(used))
        return replace(expr, read=used.index(expr.read)) if isinstance(expr, Load) else expr

    body = substitute(nest.result, leaf)
    reads = (*(nest.reads[r] for r in used), total)
    first = replace(nest, result=Acc(dtype), write=total)
    return [first, Nest(nest.parallel, reads, body, "none", Acc(body.dtype), nest.write)]


def _cuttable(region: Region, *, only_contraction: bool) -> dict[int, str]:
    """Nest -> its longest reduced axis, for the reductions that may be cut."""
    found = {}
    for j, nest in enumerate(region.nests):
        long = [a for a in nest.reduced if a.extent > 1 and _alone(nest, a.name)]
        plain = _plain(nest, region.operand(nest.write.operand))
        if long and plain and (nest.is_contraction or not only_contraction):
            found[j] = max(long, key=lambda a: a.extent).name
    return {} if only_contraction and len(found) != 1 else found


def _alone(nest: Nest, axis: str) -> bool:
    """Whether an axis shares no dimension with another: windows are not worth cutting."""
    forms = [f for a in nest.reads for f in a.index if f.coefficient(axis)]
    return all(len(f.terms) == 1 for f in forms)


def _apart(fp: Footprint) -> frozenset[str]:
    """Axes that move one read of an operand but not another: whole, both share a buffer."""
    found: frozenset[str] = frozenset()
    for operand in dict.fromkeys(b.operand.name for b in fp.inputs):
        origins = [b.origins for b in fp.inputs if b.operand.name == operand]
        found |= frozenset().union(*origins) - frozenset.intersection(*origins)
    return found
