"""Addresses of a kernel's buffers in each core's scratchpad.

Buffers live to the end of their block, so they stack. A buffer inside a double-buffered loop has
two addresses. Kernels take turns at the two ends of the memory, so that one can load while the
other one before it still computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from kcompiler.errors import CapacityError
from kcompiler.kernel.statements import Alloc, For, Kernel, Statement
from kcompiler.machine.allocate import aligned
from kcompiler.machine.chip import Memory


def buffer_addresses(kernel: Kernel, memory: Memory) -> tuple[dict[str, tuple[int, ...]], int]:
    """Buffer name -> addresses counted from 0, and the bytes used."""
    placed = list(_stack(kernel.body, 0, memory.alignment.value, double=False))
    used = max((places[-1] + size for _, places, size in placed), default=0)
    if used > memory.size.value:
        raise CapacityError(
            f"kernel {kernel.name} needs {used:,} bytes of {memory.name}, "
            f"which has {memory.size.value:,}",
            why="its buffers are " + ", ".join(f"{name} {size:,} B" for name, _, size in placed),
            fix="let the tiler use less of the memory (tile{scratchpad_share=...})",
        )
    return {name: places for name, places, _ in placed}, used


def _stack(
    body: tuple[Statement, ...], base: int, alignment: int, *, double: bool
) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """(name, addresses, bytes of one copy) of all buffers of a block and of those inside it."""
    for statement in body:
        if isinstance(statement, Alloc):
            nbytes = math.prod(statement.shape) * statement.dtype.itemsize
            size = aligned(max(nbytes, 1), alignment)
            places = (base, base + size) if double else (base,)
            yield statement.name, places, size
            base += size * len(places)
        elif isinstance(statement, For):
            inner = double or statement.kind == "double"
            yield from _stack(statement.body, base, alignment, double=inner)


def addresses_of(
    kernels: Sequence[Kernel], memory: Memory
) -> tuple[tuple[dict[str, tuple[int, ...]], ...], int]:
    """Addresses for each of several kernels in a row, and the highest byte used + 1.

    Kernels take turns at the two ends of just as much memory as two neighbours need together.
    """
    placed = [buffer_addresses(k, memory) for k in kernels]
    sizes = [used for _, used in placed]
    pairs = [a + b for a, b in pairwise(sizes)]
    room = memory.size.value // memory.alignment.value * memory.alignment.value
    ceiling = min(max([*pairs, *sizes], default=0), room)
    found = []
    for i, (addresses, used) in enumerate(placed):
        base = ceiling - used if i % 2 else 0
        found.append({name: tuple(base + p for p in places) for name, places in addresses.items()})
    return tuple(found), ceiling
