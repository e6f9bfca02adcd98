"""Bounds on what a small file may ask for; beyond them an error or the host, never a hang."""

from __future__ import annotations

from typing import Final

# Bytes of a result up to which an operator on constants is evaluated while importing. Larger ones
# stay operators: a constant is kept in memory and in the package.
FOLD_BYTES: Final = 1 << 28
# Multiply-accumulates likewise.
FOLD_MACS: Final = 1 << 32
# ONNX nodes after all functions and loops are expanded.
NODES: Final = 100_000
# Steps of an unrolled recurrence.
STEPS: Final = 4_096
# Depth of functions and sub-graphs within each other.
DEPTH: Final = 40
# Elements of a table that an importer makes itself (interpolation weights, ranges, ...).
TABLE: Final = 1 << 24
# Elements of an axis that is put together from known indices.
INDICES: Final = 1 << 20
# Pairs of elements that are compared where an operator writes at indices that are inputs.
PAIRS: Final = 1 << 25
