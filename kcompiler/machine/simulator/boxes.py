"""Box transfers between shared memories and scratchpads, clipped at the tensor's edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.simulator.memories import Machine, MachineFault

UNSIGNED: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.uint8),
    2: np.dtype(np.uint16),
    4: np.dtype(np.uint32),
    8: np.dtype(np.uint64),
}


class Dim(Protocol):
    """One dimension of a box: index = origin + sum(core_step * core coordinate) + step * i."""

    @property
    def extent(self) -> int: ...
    @property
    def stride(self) -> int: ...
    @property
    def origin(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def box(self) -> int: ...
    @property
    def core_steps(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Piece:
    """Cores that form a box of the grid and clip alike: one strided assignment moves them all."""

    grid_low: tuple[int, ...]
    grid_shape: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing of these cores' boxes is inside the tensor."""
        return any(high <= low for low, high in zip(self.low, self.high, strict=True))


@dataclass(frozen=True)
class CoreBox:
    """The boxes of a transfer over all cores of a grid (core id = mixed radix, last fastest)."""

    base: int
    itemsize: int
    dims: tuple[Any, ...]
    grid: tuple[int, ...]

    @property
    def cores(self) -> int:
        """Cores that take part."""
        return prod(self.grid)

    @property
    def shape(self) -> tuple[int, ...]:
        """Box extents."""
        return tuple(d.box for d in self.dims)

    @cached_property
    def clipped(self) -> tuple[Array, Array]:
        """(low, high): what of each core's box is inside the tensor, int64 (cores, dims)."""
        coordinates = np.indices(self.grid).reshape(len(self.grid), self.cores)
        low = np.empty((self.cores, len(self.dims)), np.int64)
        high = np.empty_like(low)
        for d, dim in enumerate(self.dims):
            origin = dim.origin + _weighted(dim.core_steps, coordinates)
            low[:, d] = np.clip(-(origin // dim.step), 0, dim.box)
            high[:, d] = np.clip((dim.extent - 1 - origin) // dim.step + 1, 0, dim.box)
        return low, np.maximum(low, high)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The grid cut into boxes of cores that clip alike."""
        low, high = self.clipped
        both = np.concatenate([low, high], axis=1)
        if (both == both[0]).all():
            return (self._piece(both[0], tuple(0 for _ in self.grid), self.grid),)
        kinds, kind_of = np.unique(both, axis=0, return_inverse=True)
        return tuple(
            p
            for k in range(len(kinds))
            for p in self._pieces_of(kinds[k], kind_of.reshape(-1) == k)
        )

    def _pieces_of(self, bounds: Array, member: Array) -> Iterator[Piece]:
        where = np.argwhere(member.reshape(self.grid))
        low, high = where.min(axis=0), where.max(axis=0) + 1
        if prod(high - low) == len(where):
            yield self._piece(bounds, tuple(map(int, low)), tuple(map(int, high - low)))
            return
        for at in where:
            yield self._piece(bounds, tuple(map(int, at)), tuple(1 for _ in self.grid))

    def _piece(self, bounds: Array, grid_low: Sequence[int], grid_shape: Sequence[int]) -> Piece:
        n = len(self.dims)
        low, high = tuple(map(int, bounds[:n])), tuple(map(int, bounds[n:]))
        return Piece(tuple(grid_low), tuple(grid_shape), low, high)

    def outside(self, piece: Piece) -> tuple[int, list[int], list[int]]:
        """(address, shape, strides) of a piece in the shared memory: grid axes, then box axes."""
        address = self.base
        shape, strides = list(piece.grid_shape), []
        for g, at in enumerate(piece.grid_low):
            step = sum(d.core_steps[g] * d.stride for d in self.dims)
            address += at * step
            strides.append(step)
        for dim, low, high in zip(self.dims, piece.low, piece.high, strict=True):
            address += (dim.origin + dim.step * low) * dim.stride
            shape.append(high - low)
            strides.append(dim.step * dim.stride)
        return address, shape, strides


def _weighted(steps: tuple[int, ...], coordinates: Array) -> Array:
    return (
        np.asarray(steps, np.int64) @ coordinates
        if steps
        else np.zeros(coordinates.shape[1], np.int64)
    )


def load(
    m: Machine, scratchpad: str, address: int, memory: str, box: CoreBox, *, fill: int
) -> None:
    """Every core's box from a shared memory into its scratchpad, dense; `fill` bits outside."""
    dtype = UNSIGNED[box.itemsize]
    target = _scratch(
        m.write(scratchpad, address, dtype, box.shape, _dense(box), cores=box.cores), box
    )
    if _any_clipped(box):
        target[...] = dtype.type(fill & (2 ** (8 * box.itemsize) - 1))
    for piece in box.pieces:
        if not piece.empty:
            at, shape, strides = box.outside(piece)
            target[_select(piece)] = m.read(memory, at, dtype, shape, strides)[0]


def store(m: Machine, scratchpad: str, address: int, memory: str, box: CoreBox) -> None:
    """Every core's dense box from its scratchpad into a shared memory, but for what is outside."""
    dtype = UNSIGNED[box.itemsize]
    source = _scratch(
        m.read(scratchpad, address, dtype, box.shape, _dense(box), cores=box.cores), box
    )
    for piece in box.pieces:
        if not piece.empty:
            at, shape, strides = box.outside(piece)
            m.write(memory, at, dtype, shape, strides)[0] = source[_select(piece)]


def gather(
    m: Machine,
    scratchpad: str,
    address: int,
    memory: str,
    box: CoreBox,
    *,
    axis: int,
    indices: Array,
) -> None:
    """A load whose index along `axis` is `indices` (cores, box[axis]), not origin + step * i.

    Elements outside the tensor along the other dimensions are 0.
    """
    dtype, dim = UNSIGNED[box.itemsize], box.dims[axis]
    if indices.size and (int(indices.min()) < 0 or int(indices.max()) >= dim.extent):
        raise MachineFault(
            f"gathers index {int(indices.min())}..{int(indices.max())} of {dim.extent}"
        )
    target = m.write(scratchpad, address, dtype, box.shape, _dense(box), cores=box.cores)
    others = tuple(d for i, d in enumerate(box.dims) if i != axis)
    whole = CoreBox(box.base, box.itemsize, others, box.grid)
    if _any_clipped(whole):
        target[...] = 0
    for piece in whole.pieces:
        if not piece.empty:
            at, shape, strides = whole.outside(piece)
            rank = len(piece.grid_shape)
            shape.insert(rank + axis, dim.extent)
            strides.insert(rank + axis, dim.stride)
            source = m.read(memory, at, dtype, shape, strides)[0]
            _take(piece, source, target, box.grid, axis=axis, indices=indices)


def _take(
    piece: Piece, source: Array, target: Array, grid: tuple[int, ...], *, axis: int, indices: Array
) -> None:
    """Each core of a piece looks its own indices up."""
    for core in np.ndindex(*piece.grid_shape):
        absolute = tuple(a + b for a, b in zip(core, piece.grid_low, strict=True))
        number = int(np.ravel_multi_index(absolute, grid)) if grid else 0
        part = [slice(low, high) for low, high in zip(piece.low, piece.high, strict=True)]
        inside: tuple[Any, ...] = (*part[:axis], slice(None), *part[axis:])
        target[(number, *inside)] = np.take(source[core], indices[number], axis=axis)


def _any_clipped(box: CoreBox) -> bool:
    """Whether a part of some core's box is outside the tensor."""
    return any(p.low != (0,) * len(box.dims) or p.high != box.shape for p in box.pieces)


def _dense(box: CoreBox) -> tuple[int, ...]:
    strides, step = [], box.itemsize
    for extent in reversed(box.shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def _scratch(view: Array, box: CoreBox) -> Array:
    """(cores, *box) seen as (*grid, *box): a view, since the cores are evenly spaced."""
    strides, step = [], view.strides[0]
    for extent in reversed(box.grid):
        strides.append(step)
        step *= extent
    return np.lib.stride_tricks.as_strided(
        view, (*box.grid, *view.shape[1:]), (*reversed(strides), *view.strides[1:])
    )


def _select(piece: Piece) -> tuple[slice, ...]:
    grid = [slice(low, low + n) for low, n in zip(piece.grid_low, piece.grid_shape, strict=True)]
    return (*grid, *(slice(low, high) for low, high in zip(piece.low, piece.high, strict=True)))
