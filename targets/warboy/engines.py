"""The engines of a slice as the chip describes them, and what work costs on them.

The tensor unit multiplies 32 bytes of data with 32 weights for each of 4 outputs in a cycle. It
keeps blocks of 32 x 4 weights in its registers and streams data past them: positions x blocks
cycles, unless the fetch network is slower with the data (a shift register keeps what the next
window uses again) or the port to the registers with the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from kcompiler.kernel.nest import Nest
from kcompiler.machine.chip import MatrixEngine, VectorEngine
from kcompiler.machine.cost import Amount, Cycles, operations, vector_cycles
from kcompiler.machine.facts import Fact
from kcompiler.targets.warboy.epilogue import split
from kcompiler.targets.warboy.lookups import look_ups, looked_up


@dataclass(frozen=True)
class DotEngine(MatrixEngine):
    """`columns` dot products of `rows` bytes a cycle and slice.

    `registers` bytes of weights lie beside them, filled by `weight_port` bytes a cycle; `feed`
    bytes of data a cycle come into a shift register of `shifter` bytes. Real programs reach the
    part `sustained` of what follows from that; plans are made without it.
    """

    registers: Fact[int]
    weight_port: Fact[int]
    feed: Fact[int]
    shifter: Fact[int]
    sustained: Fact[float]

    def product_cycles(self, m: Amount, k: Amount, n: Amount, fresh: float = 1.0) -> Cycles:
        """M positions, k terms of each sum, n outputs; `fresh`: the part of the data fetched anew.

        Blocks of weights stay while all positions stream past: as many as the registers hold. Data
        stream again for outputs beyond. The next blocks load meanwhile.
        """
        lanes = np.ceil(np.divide(n, self.columns.value))
        blocks = np.ceil(np.divide(k, self.rows.value)) * lanes
        block = self.rows.value * self.columns.value
        again = np.ceil(lanes / (self.registers.value // block))
        data = np.ceil(np.multiply(m, k) * fresh * again / self.feed.value)
        weights = np.ceil(np.multiply(k, n) / self.weight_port.value)
        return np.asarray(np.maximum(np.maximum(m * blocks, data), weights))

    def fresh(self, window: int, stride: int) -> float:
        """The part of a window's bytes that the shift register does not hold from the one before.

        Of `window` neighbours along the width, `stride` are new; the register is longer than a dot
        product by what it takes in meanwhile.
        """
        room = self.shifter.value - self.rows.value
        return min(1.0, stride / window) if window <= room else 1.0


@dataclass(frozen=True)
class TableEngine(VectorEngine):
    """A vector unit that looks functions of one byte up, `ports` bytes a cycle."""

    ports: Fact[int]

    def look_ups(self, count: Amount) -> Cycles:
        """Cycles of so many look-ups."""
        return np.ceil(np.divide(count, self.ports.value))

    def nest_cycles(
        self, nest: Nest, extents: Mapping[str, Any], dtypes: Sequence[np.dtype[Any]]
    ) -> Cycles:
        """What is left of a nest when the tensor unit has drained its sums; nothing may be."""
        outer = prod((extents[a.name] for a in nest.parallel), start=1)
        points = outer * prod((extents[a.name] for a in nest.reduced), start=1)
        work = split(nest, dtypes)
        if work.drained:
            return np.asarray(0.0 * outer)
        if work.table is not None:
            return np.asarray(self.startup.value + self.look_ups(points))
        body, tables = work.body, np.asarray(0.0)
        for read, part in look_ups(body, dtypes):
            body = looked_up(body, read, part)
            tables = tables + self.startup.value + self.look_ups(points)
        plain, special = operations(body)
        plain += 1 if nest.reduced or plain + special == 0 else 0
        total = vector_cycles(points, plain, special, self)
        total = total + vector_cycles(outer, *operations(nest.result), self)
        return np.asarray(self.startup.value + tables + total)
