"""Weights that several buckets have in common lie in memory once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kcompiler.compilation import NpuSegment

if TYPE_CHECKING:
    from kcompiler.compilation import Compilation, Segment
    from kcompiler.graph.node import Array


def digest(value: Array) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    dense = np.ascontiguousarray(value)
    head = f"{dense.dtype.name}{dense.shape}".encode()
    return hashlib.sha256(
        head + hashlib.sha256(dense.reshape(-1).view("u1").data).digest()
    ).hexdigest()


def share_constants(compilations: Sequence[Compilation]) -> list[Compilation]:
    """The same compilations, whose programs hold equal constants as one array."""
    known: dict[str, Array] = {}

    def shared(segment: Segment) -> Segment:
        if not isinstance(segment, NpuSegment):
            return segment
        values = {n: known.setdefault(digest(v), v) for n, v in segment.program.values.items()}
        return replace(segment, program=replace(segment.program, values=values))

    return [replace(c, segments=tuple(map(shared, c.segments))) for c in compilations]
