"""The factors and sums of products, as bytes."""

from __future__ import annotations

from collections.abc import Sequence

from kcompiler.machine.auditor.area import Area, area
from kcompiler.machine.auditor.observe import Step
from kcompiler.machine.products import Operand, Products


def factors(products: Products) -> tuple[Operand, Operand]:
    """The two that are multiplied."""
    return products.left, products.right


def operand_area(operand: Operand, extents: Sequence[int]) -> Area:
    """The bytes of an operand of products."""
    return area(operand.address, operand.itemsize, extents, operand.strides)


def touches(step: Step, products: Products) -> bool:
    """Whether an instruction does touch what it says that it multiplies and sums."""
    reads = {a.area for a in step.of(written=False, per_core=True)}
    writes = {a.area for a in step.of(written=True, per_core=True)}
    wanted = {operand_area(x, products.extents) for x in factors(products)}
    total = operand_area(products.total, products.extents)
    if products.accumulate:
        wanted.add(total)
    result = products.result
    out = total if result is None else operand_area(result, products.extents)
    return wanted <= reads and out in writes
