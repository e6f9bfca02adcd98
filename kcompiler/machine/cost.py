"""What work costs on a chip: closed formulas, the same for the tiler and for instructions.

All extents may be numbers or numpy arrays that broadcast; results are float64 arrays (rank 0 for
numbers), whole numbers of cycles. Start-up cycles are left to the caller, who knows how many
instructions there are, except in `dma_cycles`.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from kcompiler.graph.types import dtype_name, is_float
from kcompiler.kernel.expr import Apply, Expr, walk
from kcompiler.machine.chip import Chip, MatrixEngine, VectorEngine

Amount: TypeAlias = float | np.ndarray[Any, np.dtype[Any]]
Cycles: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

SPECIAL = frozenset(
    [
        "exp",
        "log",
        "sqrt",
        "reciprocal",
        "rsqrt",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "asinh",
        "acosh",
        "atanh",
        "erf",
        "tanh",
        "sigmoid",
        "div",
        "mod",
        "fmod",
        "pow",
        "silu",
        "gelu",
        "gelu_tanh",
        "softplus",
        "softsign",
        "mish",
    ]
)
"""Scalar functions that take a vector engine `special` cycles instead of one."""


@runtime_checkable
class OwnProducts(Protocol):
    """A matrix engine that is no systolic array and says itself what a product takes."""

    def product_cycles(self, m: Amount, k: Amount, n: Amount) -> Cycles:
        """Cycles of an m x k by k x n product whose second factor the engine holds."""


def mac_rate(engine: MatrixEngine, dtype: np.dtype[Any] | str) -> float:
    """Multiply-accumulates per cell and cycle for a type; 1 where the chip does not say."""
    name = dtype if isinstance(dtype, str) else dtype_name(dtype)
    return next((r.rate.value for r in engine.rates if r.name == name), 1.0)


def multiplies(engine: MatrixEngine, *types: np.dtype[Any]) -> bool:
    """Whether the array has a rate for each of these types, which are all floats or all integers.

    What it does not multiply is work for the vector engine.
    """
    rated = {rate.name for rate in engine.rates}
    return len(set(map(is_float, types))) == 1 and rated.issuperset(map(dtype_name, types))


def systolic_cycles(
    m: Amount, k: Amount, n: Amount, engine: MatrixEngine, dtype: np.dtype[Any] | str
) -> Cycles:
    """Cycles of one m x k by k x n product on a weight-stationary R x C array.

    The second factor is cut into ceil(K/(R·rate))·ceil(N/C) blocks; for each, R cycles load it, M
    rows stream through, and R+C-2 cycles drain the array. Without `overlap_fill` blocks follow one
    another: blocks·(2R+C+M-2)-1, the closed form of SCALE-Sim (Samajdar et al., ISPASS 2020). With
    it, a block loads while the one before it is used: (blocks-1)·max(M, R) + 2R+C+M-2.
    """
    rows, columns = engine.rows.value, engine.columns.value
    depth = rows * mac_rate(engine, dtype)
    blocks = np.ceil(np.divide(k, depth)) * np.ceil(np.divide(n, columns))
    if engine.overlap_fill:
        return np.asarray((blocks - 1) * np.maximum(m, rows) + 2.0 * rows + columns + m - 2)
    return np.asarray(blocks * (2.0 * rows + columns + m - 2) - 1)


def contraction_cycles(
    m: Amount,
    k: Amount,
    n: Amount,
    engine: MatrixEngine,
    dtype: np.dtype[Any] | str,
    *,
    swap: bool = True,
) -> Cycles:
    """Cycles of one product: `systolic_cycles` unless the engine has a formula of its own.

    With `swap`, of the better stationary factor.
    """

    def holding_second(rows: Amount, columns: Amount) -> Cycles:
        if isinstance(engine, OwnProducts):
            return engine.product_cycles(rows, k, columns)
        return systolic_cycles(rows, k, columns, engine, dtype)

    straight = holding_second(m, n)
    return np.minimum(straight, holding_second(n, m)) if swap else straight


def vector_cycles(
    elements: Amount, micro_ops: Amount, special_ops: Amount, engine: VectorEngine
) -> Cycles:
    """Cycles of so many plain and transcendental operations on each of so many elements."""
    steps = np.ceil(np.divide(elements, engine.lanes.value))
    return np.asarray(steps * (micro_ops + np.multiply(special_ops, engine.special.value)))


def burst_bytes(nbytes: Amount, runs: Amount, burst: int) -> Cycles:
    """Bytes that a port moves for `nbytes` in equal contiguous runs, each rounded up to `burst`."""
    runs = np.maximum(runs, 1)
    return np.asarray(runs * np.ceil(np.divide(nbytes, runs) / burst) * burst)


def dma_cycles(nbytes: Amount, runs: Amount, chip: Chip) -> Cycles:
    """Cycles that a core's DMA port is busy with a transfer of `runs` runs, start-up included.

    The memory behind it may take longer, because all cores share it: see `memory_cycles`.
    """
    dma = chip.dma
    moved = burst_bytes(nbytes, runs, dma.burst.value)
    return np.asarray(dma.startup.value + np.ceil(moved / dma.per_core_bandwidth.value))


def memory_cycles(nbytes: Amount, memory: str, chip: Chip) -> Cycles:
    """Cycles that a memory needs to move bytes over all its ports together."""
    return np.asarray(np.ceil(np.divide(nbytes, chip.memory(memory).bandwidth.value)))


def operations(expr: Expr) -> tuple[int, int]:
    """(plain, special) operations of an expression; loads, constants and sums are free."""
    calls = [e.function for e in walk(expr) if isinstance(e, Apply)]
    special = sum(name in SPECIAL for name in calls)
    return len(calls) - special, special
