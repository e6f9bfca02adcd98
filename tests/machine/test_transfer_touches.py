"""What transfers touch, against all their boxes element by element; long dimensions too."""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.generic.touches import outside, unique_bytes
from kcompiler.targets.rebel import TARGET
from kcompiler.targets.rebel.isa import Dim, NdmaLoad
from tests.machine.interleaving import touched


@st.composite
def loads(draw: st.DrawFn) -> NdmaLoad:
    """Boxes of tiles, side by side or apart, clipped at both ends of one or two dimensions.

    An axis of the grid moves along one dimension, as in programs.
    """
    grid = draw(st.sampled_from([(), (2,), (4,), (2, 3)]))
    along = [draw(st.integers(0, 1)) for _ in grid]
    dims: list[Dim] = []
    stride = 2
    for d in range(draw(st.integers(1, 2))):
        extent, tile = draw(st.integers(1, 40)), draw(st.integers(1, 6))
        steps = [tile * draw(st.integers(0, 5)) if a == d else 0 for a in along]
        origin = draw(st.integers(-8, 8)) * draw(st.sampled_from([1, tile]))
        step = draw(st.sampled_from([1, 1, 1, 2]))
        dims.insert(
            0,
            Dim(extent=extent, stride=stride * draw(st.sampled_from([1, 1, -1])), origin=origin,
                step=step, box=tile, core_steps=tuple(steps)),
        )  # fmt: skip
        stride *= extent + draw(st.integers(0, 1))
    return NdmaLoad(
        local=0, memory="hbm", base=5000, itemsize=2, dims=tuple(dims), grid=grid, fill=0
    )


def bytes_read(load: NdmaLoad) -> set[int]:
    """Every byte of every element that a core reads."""
    found: set[int] = set()
    for core in product(*map(range, load.grid)):
        for at in product(*(range(d.box) for d in load.dims)):
            address = load.base
            for d, i in zip(load.dims, at, strict=True):
                moved = sum(s * c for s, c in zip(d.core_steps, core, strict=True))
                index = d.origin + moved + d.step * i
                if not 0 <= index < d.extent:
                    break
                address += index * d.stride
            else:
                found |= {address, address + 1}
    return found


def spelt(load: NdmaLoad) -> list[int]:
    """The bytes of all touches, each as often as it is in one."""
    made = outside(load, "hbm")
    return sorted(a for touch in made for run in touched(touch) for a in run)


@given(loads())
def test_touches_are_what_is_read(load: NdmaLoad) -> None:
    wanted = bytes_read(load)
    assert spelt(load) == sorted(wanted)
    assert unique_bytes(load) == len(wanted)


def long(extent: int, **more: Any) -> NdmaLoad:
    """A tile of 4,096 for each of 64 cores in one dimension."""
    dim = Dim(
        extent=extent, stride=4, origin=more.pop("origin", 0), step=1, box=4096,
        core_steps=(more.pop("apart", 1 << 25),),
    )  # fmt: skip
    return NdmaLoad(local=0, memory="hbm", base=0, itemsize=4, dims=(dim,), grid=(64,), fill=0)


@pytest.mark.parametrize("extent", [1 << 31, (1 << 31) - 1, (1 << 31) - 4097])
@pytest.mark.parametrize("apart", [1 << 25, 4097 * 8191])
def test_long_dimensions_take_little(extent: int, apart: int) -> None:
    start = time.process_time()
    loads_ = [long(extent, origin=4096 * i, apart=apart) for i in range(50)]
    sizes = [unique_bytes(x) for x in loads_]
    made = [touch for x in loads_ for touch in x.reads(TARGET.chip)]
    assert sizes == [4 * 4096 * 64] * 50
    # Tiles of one core follow each other; those of the next begin far behind them.
    assert not any(a.overlaps(b) for a in made[:9] for b in made[9:])
    assert all(a.overlaps(a) for a in made)
    assert time.process_time() - start < 5
