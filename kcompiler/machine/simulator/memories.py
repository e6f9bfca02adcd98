"""Simulated memories: bytes, views of them over all cores, what may go wrong with an address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.chip import Chip, Memory


class MachineFault(Exception):
    """An instruction did what hardware would not survive; the machine adds which one it was."""


@dataclass
class Store:
    """One memory's bytes: (cores, size) where every core has its own, else (1, size).

    `written` shadows the bytes when uninitialized reads are to be found.
    """

    memory: Memory
    data: Array
    written: Array | None

    def view(
        self,
        address: int,
        dtype: np.dtype[Any],
        shape: Sequence[int],
        strides: Sequence[int],
        cores: int,
    ) -> Array:
        """Elements at `address + sum(stride * index)` for the first `cores` cores: (cores, *shape).

        Strides are in bytes, and no address need be a multiple of the element's size. A view that
        leaves the memory is a fault, as is a core that the chip does not have.
        """
        if self.memory.per_core and cores > len(self.data):
            raise MachineFault(f"works on {cores} cores of {len(self.data)}")
        if 0 in shape:
            return np.empty((cores, *shape), dtype)
        self._check_bounds(address, dtype.itemsize, shape, strides)
        row = self.data.strides[0] if self.memory.per_core else 0
        return np.ndarray(
            (cores, *shape), dtype, buffer=self.data, offset=address, strides=(row, *strides)
        )

    def check_written(
        self, address: int, itemsize: int, shape: Sequence[int], strides: Sequence[int], cores: int
    ) -> None:
        """A read of bytes that nothing wrote is a fault (when the shadow is kept)."""
        if self.written is None or 0 in shape:
            return
        if not _shadow(self, self.written, (address, itemsize, shape, strides), cores).all():
            raise MachineFault(
                f"reads {self.memory.name} bytes near {address:#x} that nothing has written"
            )

    def mark_written(
        self, address: int, itemsize: int, shape: Sequence[int], strides: Sequence[int], cores: int
    ) -> None:
        """Remember that these elements hold data."""
        if self.written is not None and 0 not in shape:
            _shadow(self, self.written, (address, itemsize, shape, strides), cores)[...] = True

    def _check_bounds(
        self, address: int, itemsize: int, shape: Sequence[int], strides: Sequence[int]
    ) -> None:
        reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
        low = address + sum(min(r, 0) for r in reach)
        high = address + sum(max(r, 0) for r in reach) + itemsize
        if low < 0 or high > self.data.shape[1]:
            raise MachineFault(
                f"touches {self.memory.name} bytes [{low:#x}, {high:#x}), "
                f"outside its {self.data.shape[1]:#x} bytes in use"
            )


Elements = tuple[int, int, Sequence[int], Sequence[int]]
"""(address, bytes of an element, shape, strides in bytes)."""


def _shadow(store: Store, written: Array, elements: Elements, cores: int) -> Array:
    """The flags of every byte of some elements: (cores, *shape, bytes of an element)."""
    address, itemsize, shape, strides = elements
    row = written.strides[0] if store.memory.per_core else 0
    return np.ndarray(
        (cores, *shape, itemsize),
        np.bool_,
        buffer=written,
        offset=address,
        strides=(row, *strides, 1),
    )


@dataclass
class Machine:
    """The state of a chip: its memories, sized to what the program uses.

    `checked` keeps a shadow of written bytes, so that reading an uninitialized one is a fault.
    """

    chip: Chip
    used: dict[str, int]
    checked: bool = False
    stores: dict[str, Store] = field(init=False)

    def __post_init__(self) -> None:
        self.stores = {m.name: self._store(m) for m in self.chip.memories}

    @property
    def cores(self) -> int:
        """Number of cores."""
        return self.chip.cores.value

    def _store(self, memory: Memory) -> Store:
        used = self.used.get(memory.name, 0)
        if used > memory.size.value:
            raise MachineFault(f"uses {used} bytes of {memory.name}, which has {memory.size.value}")
        shape = (self.cores if memory.per_core else 1, used)
        written = np.zeros(shape, np.bool_) if self.checked else None
        return Store(memory, np.zeros(shape, np.uint8), written)

    def read(
        self,
        memory: str,
        address: int,
        dtype: np.dtype[Any],
        shape: Sequence[int],
        strides: Sequence[int],
        *,
        cores: int = 1,
    ) -> Array:
        """A view to read from: (cores, *shape)."""
        store = self.stores[memory]
        view = store.view(address, dtype, shape, strides, cores)
        store.check_written(address, dtype.itemsize, shape, strides, cores)
        return view

    def write(
        self,
        memory: str,
        address: int,
        dtype: np.dtype[Any],
        shape: Sequence[int],
        strides: Sequence[int],
        *,
        cores: int = 1,
    ) -> Array:
        """A view to assign to: (cores, *shape); the elements count as written."""
        store = self.stores[memory]
        view = store.view(address, dtype, shape, strides, cores)
        store.mark_written(address, dtype.itemsize, shape, strides, cores)
        return view

    def read_span(
        self, memory: str, address: int, dtype: np.dtype[Any], count: int, cores: int
    ) -> Array:
        """`count` neighbouring elements of each core, gaps between those in use included."""
        return self.stores[memory].view(address, dtype, (count,), (dtype.itemsize,), cores)
