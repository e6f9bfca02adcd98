"""Where everything lies: what must be placed, what a memory holds, and the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcompiler.errors import CapacityError
from kcompiler.graph.types import dtype_name
from kcompiler.machine.allocate import Allocation, Block, aligned, allocate, live_bytes
from kcompiler.machine.chip import Memory
from kcompiler.machine.program import Binding


@dataclass(frozen=True)
class Tensor:
    """A dense tensor that kernels `first` to `last` (both included) need.

    `memory` is where it must lie; None leaves the choice: the shared memory while there is room,
    else dram. `title` is what errors call it.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    first: int
    last: int
    memory: str | None = None
    title: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes that the tensor takes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Placement:
    """Where every tensor (`bindings`, by name) and every buffer of each kernel (`addresses`) lies.

    `used` maps memory -> highest byte used + 1 (per core for the scratchpad), `bound` memory -> the
    least that any allocation needs.
    """

    bindings: Mapping[str, Binding]
    addresses: tuple[Mapping[str, tuple[int, ...]], ...]
    used: Mapping[str, int]
    bound: Mapping[str, int]

    @property
    def gap(self) -> Mapping[str, int]:
        """Memory -> bytes above the lower bound."""
        return {memory: self.used[memory] - self.bound[memory] for memory in self.used}


@dataclass(frozen=True)
class Held:
    """Tensors in one memory and their addresses."""

    memory: Memory
    tensors: tuple[Tensor, ...]
    allocation: Allocation

    @property
    def bindings(self) -> Iterator[Binding]:
        """Each tensor at its address."""
        for tensor, address in zip(self.tensors, self.allocation.addresses, strict=True):
            yield Binding(tensor.name, tensor.dtype, tensor.shape, self.memory.name, address)


def held(tensors: Sequence[Tensor], memory: Memory) -> Held:
    """Tensors with addresses in a memory, whether they fit or not."""
    blocks = [Block(max(t.nbytes, 1), t.first, t.last) for t in tensors]
    return Held(memory, tuple(tensors), allocate(blocks, memory.alignment.value))


def check_capacity(part: Held) -> None:
    """CapacityError that names the largest tensor, when a memory is too small."""
    size = part.memory.size.value
    if part.allocation.peak <= size:
        return
    largest = max(part.tensors, key=lambda t: t.nbytes)
    shape = ",".join(map(str, largest.shape))
    raise CapacityError(
        f"the model needs {part.allocation.peak:,} bytes of {part.memory.name}, which has {size:,}",
        where=largest.title or largest.name,
        why=f"the largest tensor, {dtype_name(largest.dtype)}[{shape}], "
        f"alone takes {largest.nbytes:,} bytes",
        fix="a smaller batch or a narrower precision",
    )


def fitting(free: Sequence[Tensor], fixed: Sequence[Tensor], memory: Memory) -> list[Tensor]:
    """The tensors of `free` that fit into a memory together with the `fixed` ones.

    While they do not, the one goes that takes most bytes times steps where the memory is fullest.
    """
    kept = list(free)
    while kept:
        table = _table([*fixed, *kept], memory)
        live = live_bytes(table)
        if live.max() <= memory.size.value:
            allocation = held([*fixed, *kept], memory).allocation
            if allocation.peak <= memory.size.value:
                break
        step = int(live.argmax())
        crowd = [t for t in kept if t.first <= step <= t.last] or kept
        kept.remove(max(crowd, key=lambda t: t.nbytes * (t.last - t.first + 1)))
    return kept


def _table(tensors: Sequence[Tensor], memory: Memory) -> np.ndarray[Any, np.dtype[np.int64]]:
    alignment = memory.alignment.value
    rows = [(aligned(max(t.nbytes, 1), alignment), t.first, t.last) for t in tensors]
    return np.array(rows, dtype=np.int64)
