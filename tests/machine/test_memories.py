"""Views of simulated memories, and what may go wrong with an address."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.simulator.memories import Machine, MachineFault
from tests.machine.toy import toy_chip

CORES, SIZE = 3, 200
TYPES = [np.dtype(t) for t in ("i1", "u2", "f2", "f4", "i8", ml_dtypes.bfloat16)]


def machine(checked: bool = False) -> Machine:
    m = Machine(toy_chip(cores=CORES), {"pad": SIZE, "far": SIZE}, checked)
    for store in m.stores.values():
        store.data[...] = np.arange(store.data.size).reshape(store.data.shape) % 251
    return m


@st.composite
def places(draw: st.DrawFn) -> tuple[int, np.dtype[Any], tuple[int, ...], tuple[int, ...]]:
    """Any address, aligned or not, any strides."""
    rank = draw(st.integers(0, 3))
    shape = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    strides = tuple(draw(st.integers(-20, 20)) for _ in range(rank))
    return draw(st.integers(-10, 210)), draw(st.sampled_from(TYPES)), shape, strides


@given(places(), st.sampled_from(["pad", "far"]))
def test_a_view_holds_the_bytes_at_its_addresses(place: Any, memory: str) -> None:
    address, dtype, shape, strides = place
    m = machine()
    data = m.stores[memory].data
    spots = {at: address + sum(i * s for i, s in zip(at, strides, strict=True))
             for at in np.ndindex(*shape)}  # fmt: skip
    if any(a < 0 or a + dtype.itemsize > SIZE for a in spots.values()):
        with pytest.raises(MachineFault, match=rf"^touches {memory} bytes \[.*outside its 0xc8"):
            m.read(memory, address, dtype, shape, strides, cores=CORES)
        return
    view = m.read(memory, address, dtype, shape, strides, cores=CORES)
    assert view.shape == (CORES, *shape)
    for core in range(CORES):
        for at, where in spots.items():
            row = data[core % len(data), where : where + dtype.itemsize]
            assert np.asarray(view[(core, *at)]).tobytes() == row.tobytes()


@given(places())
def test_a_write_changes_those_bytes_alone(place: Any) -> None:
    address, dtype, shape, strides = place
    m = machine(checked=True)
    before = m.stores["pad"].data.copy()
    try:
        m.write("pad", address, dtype, shape, strides, cores=2)[...] = np.array(7).astype(dtype)
    except MachineFault:
        return
    touched = np.zeros((CORES, SIZE), bool)
    for at in np.ndindex(*shape):
        where = address + sum(i * s for i, s in zip(at, strides, strict=True))
        touched[:2, where : where + dtype.itemsize] = True
    assert (m.stores["pad"].data == before)[~touched].all()
    written = m.stores["pad"].written
    assert written is not None
    assert (written == touched).all()


BYTE = np.dtype(np.uint8)


def test_uninitialized_bytes_are_found_one_by_one() -> None:
    m = machine(checked=True)
    m.write("pad", 10, BYTE, (5,), (2,), cores=CORES)[...] = 1
    m.read("pad", 10, BYTE, (5,), (2,), cores=CORES)
    with pytest.raises(MachineFault, match=r"^reads pad bytes near 0xa that nothing has written$"):
        m.read("pad", 10, BYTE, (2,), (1,), cores=CORES)
    with pytest.raises(MachineFault, match="nothing has written"):
        m.read("pad", 10, np.dtype(np.uint16), (), ())
    machine().read("pad", 10, BYTE, (2,), (1,))  # only when asked to


def test_a_core_that_wrote_nothing_is_found() -> None:
    m = machine(checked=True)
    m.write("pad", 0, BYTE, (4,), (1,), cores=2)[...] = 1
    m.read("pad", 0, BYTE, (4,), (1,), cores=2)
    with pytest.raises(MachineFault, match="nothing has written"):
        m.read("pad", 0, BYTE, (4,), (1,), cores=3)


def test_too_many_cores() -> None:
    with pytest.raises(MachineFault, match=r"^works on 4 cores of 3$"):
        machine().read("pad", 0, BYTE, (), (), cores=4)


def test_nothing_is_nowhere() -> None:
    """An empty view has no address that could be wrong."""
    m = machine(checked=True)
    assert m.read("pad", 10_000, BYTE, (3, 0), (1, 1), cores=2).shape == (2, 3, 0)
    m.write("pad", -1, BYTE, (0,), (-5,))[...] = 1


def test_more_memory_than_there_is() -> None:
    with pytest.raises(MachineFault, match=r"^uses 1048577 bytes of pad, which has 1048576$"):
        Machine(toy_chip(), {"pad": (1 << 20) + 1})
