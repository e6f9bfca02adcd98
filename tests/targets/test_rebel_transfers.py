"""ndma.load, .store, .gather and tdma.copy against plain loops over every element."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph.types import I32, I64
from kcompiler.machine.simulator.memories import Machine, MachineFault
from kcompiler.machine.touch import Touch
from kcompiler.targets.rebel import TARGET
from kcompiler.targets.rebel.isa import (
    Dim,
    MatrixContract,
    Micro,
    NdmaGather,
    NdmaLoad,
    NdmaStore,
    NeuralDma,
    Read,
    Rebel,
    TaskCopy,
    VectorLoop,
    VectorNest,
)
from kcompiler.targets.rebel.isa import Loop as MatrixLoop
from tests.machine.interleaving import touched
from tests.targets.rebel_programs import machine, run

CORES = 6
LOCAL = 40
FILL = 0x1122334455667788


@st.composite
def transfers(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Fields of a transfer: any grid, clipped boxes, steps, negative and repeated strides."""
    itemsize = draw(st.sampled_from([1, 2, 4, 8]))
    grid = draw(st.sampled_from([(), (1,), (4,), (2, 3), (3, 2), (6,)]))
    rank = draw(st.integers(1, 3))
    dims, reach, base = [], itemsize, 1500
    for d in range(rank):
        extent, step, box = (draw(st.integers(1, n)) for n in (6, 3, 4))
        stride = reach * draw(st.sampled_from([1, -1] if kind == "store" else [1, -1, 0]))
        reach *= extent + draw(st.integers(0, 1))
        steps = [draw(st.integers(-3, 4)) for _ in grid]
        if kind == "store":  # no two cores write one element
            steps = [step * box * n if g == d else 0 for g, n in enumerate([1] * len(grid))]
            if d == rank - 1:
                steps = [
                    step * box * prod(grid[g + 1 :]) if g >= d else 0 for g in range(len(grid))
                ]
        origin = draw(st.integers(-8, 8))
        dims.append(
            Dim(extent=extent, stride=stride, origin=origin, step=step, box=box,
                core_steps=tuple(steps))
        )  # fmt: skip
    return {
        "local": LOCAL, "memory": draw(st.sampled_from(["hbm", "shm"])), "base": base,
        "itemsize": itemsize, "dims": tuple(reversed(dims)), "grid": grid,
    }  # fmt: skip


Position = tuple[int, int, int | None]


def positions(each: NeuralDma, indices: Any = None, axis: int = -1) -> Iterator[Position]:
    """(core, byte in l1, byte in the shared memory or None outside the tensor)."""
    shape = [d.box for d in each.dims]
    for core, coordinate in enumerate(product(*map(range, each.grid))):
        for flat, at in enumerate(product(*map(range, shape))):
            address: int | None = each.base
            for i, dim in enumerate(each.dims):
                moved = sum(s * c for s, c in zip(dim.core_steps, coordinate, strict=True))
                index = dim.origin + moved + dim.step * at[i]
                if i == axis:
                    index = int(indices[core, at[i]])
                    index += dim.extent if index < 0 else 0
                if address is not None and 0 <= index < dim.extent:
                    address += index * dim.stride
                else:
                    address = None
            yield core, each.local + flat * each.itemsize, address


def loaded(m: Machine, each: NeuralDma, fill: int, spots: Iterator[Position]) -> Any:
    """l1 as it is after a load."""
    result = m.stores["l1"].data.copy()
    for core, to, address in spots:
        bits = fill.to_bytes(8, "little")[: each.itemsize]
        if address is not None:
            source = m.stores[each.memory].data[0, address : address + each.itemsize]
            bits = source.tobytes()
        result[core, to : to + each.itemsize] = np.frombuffer(bits, np.uint8)
    return result


@given(transfers("load"))
def test_load(fields: dict[str, Any]) -> None:
    m, each = machine(CORES), NdmaLoad(**fields, fill=FILL)
    wanted = loaded(m, each, FILL, positions(each))
    run(each, m)
    assert (m.stores["l1"].data == wanted).all()


@given(transfers("store"))
def test_store(fields: dict[str, Any]) -> None:
    m, each = machine(CORES), NdmaStore(**fields)
    places = [a for _, _, a in positions(each) if a is not None]
    if len(places) > len(set(places)):
        return
    wanted = m.stores[each.memory].data.copy()
    for core, at, address in positions(each):
        if address is not None:
            bits = m.stores["l1"].data[core, at : at + each.itemsize]
            wanted[0, address : address + each.itemsize] = bits
    run(each, m)
    assert (m.stores[each.memory].data == wanted).all()


@st.composite
def gathers(draw: st.DrawFn) -> tuple[NdmaGather, Any]:
    """A gather and each core's indices, negative ones among them."""
    fields = draw(transfers("load"))
    axis = draw(st.integers(0, len(fields["dims"]) - 1))
    dim = fields["dims"][axis]
    count = prod(fields["grid"]) * dim.box
    index = st.integers(-dim.extent, dim.extent - 1)
    indices = np.array(draw(st.lists(index, min_size=count, max_size=count)))
    type_ = draw(st.sampled_from(["i32", "i64"]))
    each = NdmaGather(**fields, axis=axis, indices=3001, index_type=type_)
    return each, indices.reshape(prod(fields["grid"]), dim.box)


def put_indices(m: Machine, each: NdmaGather, indices: Any) -> None:
    dtype = I32 if each.index_type == "i32" else I64
    view = m.write(
        "l1", each.indices, dtype, indices.shape[1:], (dtype.itemsize,), cores=len(indices)
    )
    view[...] = indices


@given(gathers())
def test_gather(case: tuple[NdmaGather, Any]) -> None:
    each, indices = case
    m = machine(CORES)
    put_indices(m, each, indices)
    wanted = loaded(m, each, 0, positions(each, indices, each.axis))
    run(each, m)
    assert (m.stores["l1"].data == wanted).all()


@pytest.mark.parametrize("index", [5, -6, 2**31 - 1, -(2**31)])
def test_a_gather_refuses_an_index_outside(index: int) -> None:
    dims = (Dim(extent=5, stride=2, origin=0, step=1, box=1, core_steps=()),)
    each = NdmaGather(
        local=0, memory="hbm", base=0, itemsize=2, dims=dims, grid=(), axis=0, indices=64,
        index_type="i32",
    )  # fmt: skip
    m = machine()
    put_indices(m, each, np.array([[index]]))
    with pytest.raises(MachineFault, match=r"^gathers index -?\d+\.\.-?\d+ of 5$"):
        run(each, m)


def test_copy() -> None:
    m = machine()
    data = m.stores["hbm"].data[0, 5:25].copy()
    run(TaskCopy(source="hbm", source_address=5, target="shm", target_address=9, size=20), m)
    assert (m.stores["shm"].data[0, 9:29] == data).all()


any_transfer = st.one_of(
    transfers("load").map(lambda f: NdmaLoad(**f)),
    transfers("store").map(lambda f: NdmaStore(**f)),
    gathers().map(lambda pair: pair[0]),
)


def upward(each: NdmaLoad) -> NdmaLoad:
    """With every stride above 0."""
    return replace(each, dims=tuple(replace(d, stride=abs(d.stride) or 1) for d in each.dims))


@given(transfers("load").map(lambda f: upward(NdmaLoad(**f))))
def test_the_busiest_port_counts(each: NdmaLoad) -> None:
    """Each run of neighbours takes whole bursts; runs are what a walk over the addresses meets.

    Those of a box are alike. Where they are not, an end of one row happens to lie beside the
    beginning of another far from it in the box: these may count as two.
    """
    chip = TARGET.chip
    burst, bandwidth = chip.dma.burst.value, chip.dma.per_core_bandwidth.value
    cost, alike = {0: 0}, True
    spots = [(core, a) for core, _, a in positions(each) if a is not None]
    for core in {core for core, _ in spots}:
        walk = [a for c, a in spots if c == core]
        breaks = [i for i in range(1, len(walk)) if walk[i] != walk[i - 1] + each.itemsize]
        runs = np.diff([0, *breaks, len(walk)]) * each.itemsize
        cost[core] = ceil(sum(ceil(n / burst) for n in runs) * burst / bandwidth)
        alike = alike and len(set(runs)) == 1
    found = each.cycles(chip) - chip.dma.startup.value
    assert found == max(cost.values()) if alike else found >= max(cost.values())


@given(transfers("load").map(lambda f: NdmaLoad(**f)))
def test_what_cores_share_moves_once(each: NdmaLoad) -> None:
    distinct = {a for _, _, a in positions(each) if a is not None}
    counted = each.traffic(TARGET.chip)[each.memory]
    assert counted >= len(distinct) * each.itemsize  # at least: dimensions count on their own
    if all(sum(bool(d.core_steps[g]) for d in each.dims) <= 1 for g in range(len(each.grid))):
        assert counted == len(distinct) * each.itemsize


def test_a_gather_moves_a_run_for_each_index() -> None:
    """100 rows of 6 bytes of a table of 5: 100 bursts, though the table is small."""
    dims = (
        Dim(extent=5, stride=6, origin=0, step=1, box=100, core_steps=(0,)),
        Dim(extent=3, stride=2, origin=0, step=1, box=3, core_steps=(0,)),
    )
    each = NdmaGather(
        local=0, memory="hbm", base=0, itemsize=2, dims=dims, grid=(4,), axis=0, indices=4000,
        index_type="i64",
    )  # fmt: skip
    chip = TARGET.chip
    assert each.cycles(chip) == chip.dma.startup.value + 100
    assert each.traffic(chip) == {"hbm": 4 * 100 * 6}  # four cores differ in nothing but indices


def test_a_clipped_core_may_be_the_busiest() -> None:
    """Twelve rows of 32 bytes in one run take 6 bursts, rows cut to 24 bytes take one each."""
    dims = (
        Dim(extent=16, stride=32, origin=0, step=1, box=12, core_steps=(0,)),
        Dim(extent=16, stride=2, origin=-4, step=1, box=16, core_steps=(4,)),
    )
    each = NdmaLoad(local=0, memory="hbm", base=0, itemsize=2, dims=dims, grid=(2,))
    chip = TARGET.chip
    assert each.cycles(chip) == chip.dma.startup.value + 12


def instructions() -> st.SearchStrategy[Rebel]:
    """Small instructions that all engines run."""
    extent, stride = st.integers(1, 3), st.integers(-3, 9)
    loop = st.builds(
        MatrixLoop, extent=extent, a=stride, b=stride, acc=st.sampled_from([0, 60, -60])
    )
    address = st.integers(300, 330)
    eight = st.sampled_from(["i8", "u8"])
    matrix = st.builds(
        MatrixContract, cores=st.integers(1, 3), a=address, b=address, acc=st.just(1000),
        type_a=eight, type_b=eight, loops=st.lists(loop, max_size=2).map(tuple),
        accumulate=st.integers(0, 1),
    )  # fmt: skip
    vloop = st.builds(
        VectorLoop, extent=extent, out=st.sampled_from([8, -8]), reads=st.tuples(stride, stride)
    )
    read = st.builds(Read, address=address, dtype=st.just("i64"))
    body = tuple(Micro(function="load", dtype="i64", args=(i,)) for i in (0, 1))
    both = Micro(function="add", dtype="i64", args=(0, 1))
    vector = st.builds(
        VectorNest, cores=st.integers(1, 3), sources=st.tuples(read, read),
        loops=st.lists(vloop, max_size=1).map(tuple), reduced=st.just(0),
        body=st.just((*body, both)), combine=st.just("sum"),
        result=st.just((Micro(function="acc", dtype="i64", args=()),)), out=st.just(1000),
        out_type=st.just("i64"), accumulate=st.integers(0, 1),
    )  # fmt: skip
    copy = st.builds(
        TaskCopy, source=st.sampled_from(["hbm", "shm"]), source_address=address,
        target=st.sampled_from(["hbm", "shm"]), target_address=st.integers(400, 420),
        size=st.integers(1, 50),
    )  # fmt: skip
    return st.one_of(any_transfer, matrix, vector, copy)


def addresses(touches: tuple[Touch, ...], memory: str) -> set[int]:
    return {a for t in touches if t.memory == memory for piece in touched(t) for a in piece}


@given(instructions(), st.integers(0, 5))
def test_instructions_touch_what_they_say(each: Rebel, seed: int) -> None:
    """Nothing else changes, and nothing else has an influence."""
    one, other = machine(CORES, seed=0), machine(CORES, seed=seed + 1)
    if isinstance(each, NdmaGather):
        for m in (one, other):
            put_indices(m, each, np.zeros((prod(each.grid), each.dims[each.axis].box), np.int64))
    before = {name: s.data.copy() for name, s in other.stores.items()}
    for name, store in other.stores.items():
        same = sorted(addresses(each.reads(TARGET.chip), name))
        store.data[:, same] = one.stores[name].data[:, same]
        before[name] = store.data.copy()
    run(each, one)
    run(each, other)
    for name, store in other.stores.items():
        written = sorted(addresses(each.writes(TARGET.chip), name))
        rest = np.setdiff1d(np.arange(store.data.shape[1]), written)
        assert (store.data[:, rest] == before[name][:, rest]).all()
        changed = store.data != before[name]
        assert (store.data == one.stores[name].data)[changed].all()


@given(any_transfer, st.integers(0, 5000), st.integers(0, 5000), st.booleans())
def test_nothing_but_faults_stops_a_transfer(
    each: NeuralDma, local: int, base: int, checked: bool
) -> None:
    """Wherever it goes: it runs, or it is a fault of the machine."""
    with suppress(MachineFault):
        run(replace(each, local=local, base=base), machine(4, checked=checked))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"itemsize": 3}, "itemsize 3 is not 1, 2, 4 or 8"),
        ({"grid": (2,)}, "every dim needs one core step for each axis of the grid"),
        ({"grid": (0,)}, "a grid of no cores"),
        (
            {"dims": (Dim(extent=5, stride=2, origin=0, step=0, box=1, core_steps=()),)},
            "a step of 0 would repeat an element",
        ),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    dims = (Dim(extent=5, stride=2, origin=0, step=1, box=1, core_steps=()),)
    good: dict[str, Any] = {
        "local": 0, "memory": "hbm", "base": 0, "itemsize": 2, "dims": dims, "grid": (),
    }  # fmt: skip
    with pytest.raises(ValueError, match=f"^ndma.store: {message}$"):
        NdmaStore(**{**good, **change})
    with pytest.raises(ValueError, match="axis 1 of 1 dims"):
        NdmaGather(**good, axis=1, indices=0, index_type="i32")


def test_more_cores_than_there_are_is_a_fault() -> None:
    dims = (Dim(extent=5, stride=2, origin=0, step=1, box=1, core_steps=(1,)),)
    each = NdmaLoad(local=0, memory="hbm", base=0, itemsize=2, dims=dims, grid=(7,))
    with pytest.raises(MachineFault, match="works on 7 cores of 6"):
        run(each, machine(CORES))


@pytest.mark.parametrize("fault", ["extent", "origin", "stride", "step", "core_steps", "fill"])
def test_planted_faults_are_found(fault: str) -> None:
    """Not vacuous: a clip off by one, a stride, a halo, another tile."""
    dim = {"extent": 10, "stride": 8, "origin": -1, "step": 1, "box": 4, "core_steps": (3,)}
    changed = {"extent": 9, "origin": 0, "stride": 4, "step": 2, "core_steps": (4,)}
    fields = {"local": 0, "memory": "hbm", "base": 100, "itemsize": 4, "grid": (4,)}
    good = NdmaLoad(**fields, dims=(Dim(**dim),), fill=7)  # type: ignore[arg-type]
    if fault == "fill":
        bad = NdmaLoad(**fields, dims=good.dims, fill=8)  # type: ignore[arg-type]
    else:
        bad = NdmaLoad(**fields, dims=(Dim(**{**dim, fault: changed[fault]}),), fill=7)  # type: ignore[arg-type]
    one, other = machine(CORES), machine(CORES)
    run(good, one)
    run(bad, other)
    assert (one.stores["l1"].data != other.stores["l1"].data).any()
