"""Static allocation: addresses for blocks of known size and lifetime.

This is dynamic storage allocation known in advance (NP-hard); several deterministic greedy orders
are tried, and the best is told beside the lower bound that no allocation can beat: the most bytes
alive at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Block:
    """`size` bytes that live from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Allocation:
    """An address for each block; `peak` is the highest byte used + 1, `bound` the least one."""

    addresses: tuple[int, ...]
    peak: int
    bound: int


def aligned(size: int, alignment: int) -> int:
    """The size rounded up."""
    return -(-size // alignment) * alignment


def allocate(blocks: Sequence[Block], alignment: int = 1) -> Allocation:
    """The best of several greedy allocations; stops at one that meets the lower bound."""
    if not blocks:
        return Allocation((), 0, 0)
    table = np.array(
        [(aligned(b.size, alignment), b.first, b.last) for b in blocks], dtype=np.int64
    )
    bound = int(live_bytes(table).max())
    peaks: list[tuple[int, Ints]] = []
    for order, pick in product(_orders(table), (_lowest, _tightest)):
        found = _place(table, order, pick)
        peaks.append((int((found + table[:, 0]).max()), found))
        if peaks[-1][0] == bound:
            break
    peak, best = min(peaks, key=lambda each: each[0])
    return Allocation(tuple(map(int, best)), peak, bound)


def live_bytes(table: Ints) -> Ints:
    """Bytes alive at each step, for rows of (size, first, last)."""
    size, first, last = table.T
    change = np.zeros(int(last.max()) + 2, dtype=np.int64)
    np.add.at(change, first, size)
    np.add.at(change, last + 1, -size)
    return np.cumsum(change)[:-1]


def _orders(table: Ints) -> list[Ints]:
    """Orders in which blocks are placed: large, long-lived, both, and as they come."""
    size, first, last = table.T
    length = last - first + 1
    return [
        np.lexsort((first, -length, -size)),
        np.lexsort((first, -size, -length)),
        np.lexsort((first, -size * length)),
        np.lexsort((-size, first)),
        np.lexsort((-size, -last)),
    ]


Pick: TypeAlias = Callable[[Ints, Ints, int], int]


def _place(table: Ints, order: Ints, pick: Pick) -> Ints:
    """An address for each block in turn, in a gap between those that live at the same time."""
    size, first, last = table.T
    found = np.full(len(table), -1, dtype=np.int64)
    for block in order:
        clash = (found >= 0) & (first <= last[block]) & (last >= first[block])
        low, high = found[clash], (found + size)[clash]
        by_address = np.argsort(low, kind="stable")
        # Gaps begin at 0 and behind each block, where none of the blocks before it reaches further.
        begins = np.concatenate(([0], np.maximum.accumulate(high[by_address])))
        room = np.append(low[by_address], np.iinfo(np.int64).max) - begins
        found[block] = pick(begins, room, int(size[block]))
    return found


def _lowest(begins: Ints, room: Ints, size: int) -> int:
    """The lowest gap that is large enough."""
    return int(begins[np.flatnonzero(room >= size)[0]])


def _tightest(begins: Ints, room: Ints, size: int) -> int:
    """The smallest gap that is large enough."""
    fits = np.flatnonzero(room >= size)
    return int(begins[fits[np.argmin(room[fits])]])
