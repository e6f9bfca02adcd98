"""Which elements a write reaches: a set of positions in each dimension, as axes are in one only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcompiler.kernel.nest import Affine


@dataclass(frozen=True)
class Reach:
    """The elements that a write reaches: the product of one ascending set of positions a dimension.

    `repeated` tells what writes an element more than once; it is empty when nothing does.
    """

    positions: tuple[np.ndarray[Any, np.dtype[np.int64]], ...]
    repeated: str = ""

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(map(len, self.positions))

    def meets(self, other: Reach) -> bool:
        """Whether both reach some element."""
        both = zip(self.positions, other.positions, strict=True)
        return all(len(np.intersect1d(a, b, assume_unique=True)) > 0 for a, b in both)


def reach(index: Sequence[Affine], shape: Sequence[int], extents: Mapping[str, int]) -> Reach:
    """What is reached while every axis runs; positions outside `shape` are dropped."""
    users = [name for form in index for name, _ in form.terms]
    idle = [name for name, extent in extents.items() if extent > 1 and name not in users]
    shared = [name for name in dict.fromkeys(users) if users.count(name) > 1]
    repeated = [f"it does not depend on {name}" for name in idle]
    repeated += [f"{name} indexes two dimensions" for name in shared]
    positions = []
    for form, extent in zip(index, shape, strict=True):
        values = values_of(form, extents)
        inside = values[(values >= 0) & (values < extent)]
        distinct = np.unique(inside)
        if len(distinct) < len(inside):
            repeated.append("two iterations have one index")
        positions.append(distinct)
    return Reach(tuple(positions), "; ".join(repeated))


def values_of(form: Affine, extents: Mapping[str, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """All values of an affine form, in no particular order, with repetitions."""
    values = np.array([form.offset], np.int64)
    for name, c in form.terms:
        values = np.add.outer(values, c * np.arange(extents[name])).reshape(-1)
    return values
