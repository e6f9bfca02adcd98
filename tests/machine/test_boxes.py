"""Box transfers against plain loops over every element."""

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.simulator.boxes import CoreBox, gather, load, store
from kcompiler.machine.simulator.memories import Machine, MachineFault
from tests.machine.toy import toy_chip

CORES = 6
FAR = 4000
LOCAL = 40
FILL = 0x1122334455667788


@dataclass(frozen=True)
class Dim:
    extent: int
    stride: int
    origin: int
    step: int
    box: int
    core_steps: tuple[int, ...]


def machine(checked: bool = False) -> Machine:
    m = Machine(toy_chip(cores=CORES), {"far": FAR, "pad": 3000}, checked)
    chance = np.random.default_rng(0)
    for store_ in m.stores.values():
        store_.data[...] = chance.integers(0, 256, store_.data.shape, np.uint8)
    return m


@st.composite
def boxes(draw: st.DrawFn, disjoint: bool = False) -> CoreBox:
    """Boxes whose tensor lies in `far`; with `disjoint` no two positions are the same element."""
    itemsize = draw(st.sampled_from([1, 2, 4, 8]))
    grid = draw(st.sampled_from([(), (1,), (4,), (2, 3), (3, 2), (6,), (1, 5)]))
    rank = draw(st.integers(1, 3))
    extents = [draw(st.integers(1, 6)) for _ in range(rank)]
    order = draw(st.permutations(range(rank)))
    strides, reach = [0] * rank, itemsize
    for d in order:
        strides[d] = reach * draw(st.sampled_from([1, -1]))
        reach *= extents[d]
    base = 1000 - sum(min(0, (n - 1) * s) for n, s in zip(extents, strides, strict=True))
    dims = []
    for d in range(rank):
        step, box = draw(st.integers(1, 3)), draw(st.integers(1, 4))
        tile = step * box
        free = draw(st.lists(st.integers(-3, 4), min_size=len(grid), max_size=len(grid)))
        steps = [0] * len(grid) if disjoint else free
        if disjoint and d < len(grid):
            steps[d] = tile * draw(st.sampled_from([1, -1]))
        origin = draw(st.integers(-8, 8))
        dims.append(Dim(extents[d], strides[d], origin, step, box, tuple(steps)))
    return CoreBox(base, itemsize, tuple(dims), grid)


def positions(box: CoreBox) -> list[tuple[int, tuple[int, ...], int | None]]:
    """(core, position in its box, address or None outside the tensor), from the definition."""
    found = []
    for core, coordinate in enumerate(product(*map(range, box.grid))):
        for at in product(*map(range, box.shape)):
            address: int | None = box.base
            for i, dim in zip(at, box.dims, strict=True):
                moved = sum(s * c for s, c in zip(dim.core_steps, coordinate, strict=True))
                index = dim.origin + moved + dim.step * i
                inside = 0 <= index < dim.extent
                address = address + index * dim.stride if inside and address is not None else None
            found.append((core, at, address))
    return found


def local(at: tuple[int, ...], box: CoreBox) -> slice:
    flat = int(np.ravel_multi_index(at, box.shape))
    return slice(LOCAL + flat * box.itemsize, LOCAL + (flat + 1) * box.itemsize)


@given(boxes())
def test_load(box: CoreBox) -> None:
    m = machine()
    expected = m.stores["pad"].data.copy()
    for core, at, address in positions(box):
        bits = FILL.to_bytes(8, "little")[: box.itemsize]
        if address is not None:
            bits = m.stores["far"].data[0, address : address + box.itemsize].tobytes()
        expected[core, local(at, box)] = np.frombuffer(bits, np.uint8)
    load(m, "pad", LOCAL, "far", box, fill=FILL)
    assert (m.stores["pad"].data == expected).all()


@given(boxes(disjoint=True))
def test_store(box: CoreBox) -> None:
    places = [address for _, _, address in positions(box) if address is not None]
    if len(places) > len(set(places)):
        return  # two cores write the same element: no program does
    m = machine()
    expected = m.stores["far"].data.copy()
    for core, at, address in positions(box):
        if address is not None:
            bits = m.stores["pad"].data[core, local(at, box)]
            expected[0, address : address + box.itemsize] = bits
    store(m, "pad", LOCAL, "far", box)
    assert (m.stores["far"].data == expected).all()


@given(boxes(), st.data())
def test_gather(box: CoreBox, data: Any) -> None:
    axis = data.draw(st.integers(0, len(box.dims) - 1))
    dim = box.dims[axis]
    index = data.draw(
        st.lists(
            st.integers(0, dim.extent - 1),
            min_size=box.cores * dim.box,
            max_size=box.cores * dim.box,
        )
    )
    indices = np.array(index).reshape(box.cores, dim.box)
    m = machine()
    before = m.stores["pad"].data.copy()
    gather(m, "pad", LOCAL, "far", box, axis=axis, indices=indices)
    for core, at, _ in positions(box):
        coordinate = np.unravel_index(core, box.grid) if box.grid else ()
        address, inside = box.base, True
        for d, (i, other) in enumerate(zip(at, box.dims, strict=True)):
            moved = sum(s * int(c) for s, c in zip(other.core_steps, coordinate, strict=True))
            where = int(indices[core, i]) if d == axis else other.origin + moved + other.step * i
            inside &= 0 <= where < other.extent
            address += where * other.stride
        if inside:
            got = m.stores["pad"].data[core, local(at, box)].tobytes()
            assert got == m.stores["far"].data[0, address : address + box.itemsize].tobytes()
    size = LOCAL + prod(box.shape) * box.itemsize
    assert (m.stores["pad"].data[:, size:] == before[:, size:]).all()
    assert (m.stores["pad"].data[:, :LOCAL] == before[:, :LOCAL]).all()


def row(extent: int, box: int, origin: int = 0) -> CoreBox:
    return CoreBox(0, 2, (Dim(extent, 2, origin, 1, box, ()),), ())


def test_cores_that_clip_alike_move_together() -> None:
    tiles = CoreBox(0, 2, (Dim(22, 2, 0, 1, 4, (4,)),), (6,))
    assert [(p.grid_low, p.grid_shape, p.low, p.high) for p in tiles.pieces] == [
        ((5,), (1,), (0,), (2,)),
        ((0,), (5,), (0,), (4,)),
    ]


def test_cores_that_clip_alike_need_not_be_a_box() -> None:
    """Both axes of the grid move the same dimension: cores clip alike along its diagonals."""
    crossed = CoreBox(100, 2, (Dim(6, 2, -1, 1, 3, (2, 2)),), (2, 3))
    m = machine()
    expected = m.stores["pad"].data.copy()
    for core, at, address in positions(crossed):
        bits = b"\x07\x00"
        if address is not None:
            bits = m.stores["far"].data[0, address : address + 2].tobytes()
        expected[core, local(at, crossed)] = np.frombuffer(bits, np.uint8)
    load(m, "pad", LOCAL, "far", crossed, fill=7)
    assert (m.stores["pad"].data == expected).all()


def test_a_gather_refuses_an_index_outside() -> None:
    with pytest.raises(MachineFault, match=r"gathers index 0\.\.5 of 5"):
        gather(machine(), "pad", 0, "far", row(5, 2), axis=0, indices=np.array([[0, 5]]))


def test_a_tensor_beyond_the_memory_is_a_fault() -> None:
    with pytest.raises(MachineFault, match="outside"):
        load(machine(), "pad", 0, "far", row(FAR, 4, FAR // 2 - 2), fill=0)


def test_a_box_beyond_the_scratchpad_is_a_fault() -> None:
    with pytest.raises(MachineFault, match="outside"):
        load(machine(), "pad", 2998, "far", row(4, 4), fill=0)


def test_reading_what_nothing_wrote_is_a_fault() -> None:
    m = machine(checked=True)
    with pytest.raises(MachineFault, match="nothing has written"):
        load(m, "pad", 0, "far", row(4, 4), fill=0)
    with pytest.raises(MachineFault, match="nothing has written"):
        store(machine(checked=True), "pad", 0, "far", row(4, 4))


def test_what_lies_outside_the_tensor_is_neither_read_nor_written() -> None:
    m = machine(checked=True)
    m.write("far", 0, np.dtype(np.uint16), (4,), (2,))[...] = 7
    load(m, "pad", 0, "far", row(4, 8, -2), fill=9)
    assert m.read("pad", 0, np.dtype(np.uint16), (8,), (2,)).tolist() == [[9, 9, 7, 7, 7, 7, 9, 9]]
    store(m, "pad", 0, "far", row(4, 8, -2))
    with pytest.raises(MachineFault):
        m.read("far", 8, np.dtype(np.uint16), (1,), (2,))
