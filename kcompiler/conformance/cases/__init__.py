"""The operator suite: each operator of the small set, over element types, odd shapes, extremes."""

from __future__ import annotations

from collections.abc import Iterator

from kcompiler.conformance.cases import (
    composites,
    elementwise,
    movement,
    products,
    quantized,
    reductions,
)
from kcompiler.conformance.cases.case import Case, Sizes

__all__ = ["Case", "Sizes", "all_cases"]

_TOPICS = (elementwise, products, reductions, composites, movement, quantized)


def all_cases(sizes: Sizes) -> Iterator[Case]:
    """Every case for a chip with these sizes, each with a name of its own."""
    for topic in _TOPICS:
        yield from topic.cases(sizes)
