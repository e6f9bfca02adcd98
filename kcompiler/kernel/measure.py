"""What a region cannot do without: multiply-accumulates, and bytes that must move at least once."""

from __future__ import annotations

import math

import numpy as np

from kcompiler.kernel.coverage import values_of
from kcompiler.kernel.nest import Access, Nest, Operand, Region


def region_macs(region: Region) -> int:
    """Multiply-accumulates of all nests."""
    return region.macs


def compulsory_bytes(region: Region) -> int:
    """Bytes of inputs and constants that some read touches, each once, and of the output.

    Dimensions of stride 0 count once; a strided read counts the elements that it touches. Of a
    gathered dimension no more counts than there are indices.
    """
    return sum(touched_bytes(region, o) for o in region.operands if o.role != "local")


def touched_bytes(region: Region, operand: Operand) -> int:
    """Bytes of one operand that the region touches, each counted once."""
    uses = [
        (nest, access)
        for nest in region.nests
        for access in (*nest.reads, nest.write)
        if access.operand == operand.name
    ]
    counts = [
        _touched(operand, d, uses) if operand.strides[d] else 1 for d in range(len(operand.shape))
    ]
    return math.prod(counts) * operand.dtype.itemsize


def _touched(operand: Operand, d: int, uses: list[tuple[Nest, Access]]) -> int:
    """How many positions of a dimension are touched."""
    seen = np.zeros(operand.shape[d], np.bool_)
    gathered = 0
    for nest, access in uses:
        if access.indirect is not None and access.indirect[0] == d:
            gathered += _indices(nest, access.indirect[1])
            continue
        values = values_of(access.index[d], nest.extents)
        seen[values[(values >= 0) & (values < len(seen))]] = True
    return min(int(seen.sum()) + gathered, len(seen))


def _indices(nest: Nest, read: int) -> int:
    """How many indices a gather takes."""
    names = {name for form in nest.reads[read].index for name, _ in form.terms}
    return math.prod(extent for name, extent in nest.extents.items() if name in names)
