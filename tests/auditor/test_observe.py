"""What is seen of an instruction is what it does, on a machine with bytes, and what it declares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcompiler.machine.auditor.ghost import Ghost, ghost
from kcompiler.machine.auditor.observe import Watcher, filled, observe
from kcompiler.machine.auditor.operands import operand_area
from kcompiler.machine.generic.contraction import Loop
from kcompiler.machine.queues import is_wait
from kcompiler.machine.simulator.contraction import Contraction, Factor, sums
from tests.auditor.programs import Parts, net
from tests.targets.rebel_programs import machine, run

NETS = ("convolutional", "small_transformer", "integer", "deep")


def work(parts: Parts) -> list[Any]:
    """Some of the instructions of a program."""
    every = [x for block in parts.blocks for x in block if not is_wait(x)]
    return every[:: len(every) // 30 + 1]


@pytest.mark.parametrize("name", NETS)
def test_declared_touches_hold_what_is_touched(name: str) -> None:
    """Waits are placed by the declarations: a byte that they leave out could race."""
    parts = net(name)
    chip = parts.target.chip
    for step in observe(work(parts), chip):
        assert step.fault == ""
        for access in step.accesses:
            declared = step.item.writes(chip) if access.written else step.item.reads(chip)
            near = [t for t in declared if t.memory == access.memory and not t.empty]
            assert min(t.start for t in near) <= access.area.start
            assert access.area.stop <= max(t.stop for t in near)


def test_windows_stay_within_what_a_watcher_holds() -> None:
    """Overlapping windows are strided by hand: over one repeated element, every step is 0."""
    loops = (Loop(extent=9, a=2, b=2, acc=4), Loop(extent=5, a=2, b=2, acc=0))
    factors = Factor(0, np.dtype(np.float16)), Factor(64, np.dtype(np.float16))
    watcher: Any = Watcher(net("deep").target.chip)
    found = sums(watcher, "l1", 4, Contraction(*factors, 128, loops, accumulate=False))
    assert found.shape[:2] == (4, 9)
    assert not any(found.strides)
    assert {(a.area.start, a.area.stop) for a in watcher.seen} == {(0, 26), (64, 90)}


@pytest.mark.parametrize("name", NETS)
def test_what_changes_was_seen_to_be_written(name: str) -> None:
    """The oracle is the simulator: memories of random bytes, before and after."""
    parts = net(name)
    size = max(parts.program.used.values())
    for item in work(parts):
        (step,) = observe([item], parts.target.chip)
        before, after = (machine(4, size, seed=3) for _ in range(2))
        run(item, after)
        for memory, store in after.stores.items():
            marked = np.zeros(store.data.shape, np.bool_)
            for access in step.accesses:
                if access.written and access.memory == memory:
                    for row in marked[: access.cores]:
                        access.area.of(row, 0, 1)[...] = True
            changed = store.data != before.stores[memory].data
            assert not (changed & ~marked).any()


@pytest.mark.parametrize("name", NETS)
def test_products_are_what_is_computed(name: str) -> None:
    """Factors of ones: each sum is the number of its products."""
    parts = net(name)
    seen = 0
    for item in (x for block in parts.blocks for x in block):
        products = item.products(parts.target.chip)
        if products is None or item.mnemonic != "matrix.contract" or seen > 4:
            continue
        seen += 1
        made = machine(4, 64 << 10)
        one = np.array(1, np.int8 if item.type_a in {"i8", "u8"} else np.float16)
        for factor in (products.left, products.right):
            touched = operand_area(factor, products.extents)
            view = made.write(
                "l1", touched.start, one.dtype, (touched.stop - touched.start,), (1,), cores=4
            ) if one.itemsize == 1 else made.write(
                "l1", touched.start, one.dtype,
                ((touched.stop - touched.start) // 2,), (2,), cores=4,
            )  # fmt: skip
            view[...] = one
        run(item, made)
        kept = [(n, s) for n, s in zip(products.extents, products.total.strides, strict=True) if s]
        dtype = np.dtype(np.int32 if one.itemsize == 1 else np.float32)
        sums = made.read(
            "l1", products.total.address, dtype, [n for n, _ in kept], [s for _, s in kept]
        )
        terms = [n for n, s in zip(products.extents, products.total.strides, strict=True) if s == 0]
        if not products.accumulate:
            assert (sums == np.prod(terms)).all()
    assert seen


def test_what_a_transfer_fills_is_seen() -> None:
    """A padded convolution's box: some of its elements are no memory's."""
    parts = net("convolutional")
    loads = [x for block in parts.blocks for x in block if x.mnemonic == "ndma.load"]
    shares = []
    for step in observe(loads, parts.target.chip):
        ((access, flags),) = filled(step, parts.target.chip)
        taken = sum(a.items for a in step.of(written=False, per_core=False))
        assert int(flags.sum()) == taken
        shares.append(flags.mean())
        assert access.per_core
    assert min(shares) < 1 == max(shares)


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@settings(max_examples=60)
@given(shapes, st.sampled_from(["float16", "float32", "int32", "int8"]), st.data())
def test_a_ghost_has_the_shape_and_type_of_the_real(
    shape: tuple[int, ...], dtype: str, data: st.DataObject
) -> None:
    real = np.ones(shape, dtype)
    spirit = ghost(real, shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    operations: list[Any] = [
        lambda x: x + x,
        lambda x: x.astype(np.float64) * 2,
        lambda x: np.exp(x.astype(np.float32)),
        lambda x: np.add.reduce(x, axis=axis, dtype=x.dtype),
        lambda x: np.maximum.reduce(x, axis=(axis,), keepdims=True),
        lambda x: x.reshape(-1),
        lambda x: np.where(x > 0, x, 0),
        lambda x: np.broadcast_to(x, (3, *shape)),
        lambda x: np.matmul(x.reshape(1, -1), x.reshape(-1, 1)),
        lambda x: np.clip(x, 0, 1),
        lambda x: x[..., :1],
        lambda x: np.take(x, [0, 0], axis=axis),
        lambda x: np.concatenate([x, x], axis=axis),
    ]
    operation = data.draw(st.sampled_from(operations))
    expected, found = operation(real), operation(spirit)
    assert (np.shape(found), found.dtype) == (expected.shape, expected.dtype)


def test_a_ghost_takes_no_room() -> None:
    large = ghost(np.float32(1), (1 << 20, 1 << 20))
    assert isinstance((large + 1).astype(np.float16).reshape(1 << 30, -1), Ghost)
