"""The pass place: nothing alive overlaps, everything fits, and it is known how well."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.errors import CapacityError, UsageError
from kcompiler.graph.types import F16, F32
from kcompiler.kernel.statements import Alloc, For, Kernel
from kcompiler.machine.allocate import Block, allocate
from kcompiler.machine.place import Placement, Tensor
from kcompiler.passes.place import Place
from kcompiler.passes.tile import Tile
from tests.tiling import regions as r
from tests.tiling.chips import chip


def conflicts(tensors: list[Tensor], placement: Placement, steps: int) -> list[str]:
    """Every byte that two live tensors share, found by painting each memory at each step."""
    found = []
    for step in range(steps):
        owner: dict[tuple[str, int], str] = {}
        for tensor in tensors:
            where = placement.bindings[tensor.name]
            if not tensor.first <= step <= tensor.last:
                continue
            for byte in range(where.address, where.address + where.nbytes):
                other = owner.setdefault((where.memory, byte), tensor.name)
                if other != tensor.name:
                    found.append(f"{other} and {tensor.name} at step {step}")
    return found


@st.composite
def tensor_sets(draw: st.DrawFn) -> list[Tensor]:
    """Small tensors with random lifetimes; some must lie in dram."""
    found = []
    for i in range(draw(st.integers(1, 12))):
        first = draw(st.integers(0, 9))
        last = draw(st.integers(first, 9))
        memory = draw(st.sampled_from((None, None, "dram")))
        found.append(Tensor(f"x{i}", F16, (draw(st.integers(0, 200)),), first, last, memory))
    return found


@given(tensors=tensor_sets(), shared=st.sampled_from((0, 256, 1024, 1 << 20)))
def test_live_tensors_never_overlap(tensors: list[Tensor], shared: int) -> None:
    on = chip(shared=shared)
    placement = Place(chip=on).place([], tensors)
    assert conflicts(tensors, placement, 10) == []
    for tensor in tensors:
        where = placement.bindings[tensor.name]
        memory = on.memory(where.memory)
        assert (where.dtype, where.shape) == (tensor.dtype, tensor.shape)
        assert where.memory == (tensor.memory or where.memory)
        assert where.address % memory.alignment.value == 0
        assert where.address + where.nbytes <= placement.used[where.memory] <= memory.size.value
    for memory_name, used in placement.used.items():
        assert placement.bound[memory_name] <= used
        assert placement.gap[memory_name] == used - placement.bound[memory_name]


def test_planted_overlaps_are_found() -> None:
    """Not vacuous: the painter sees a tensor that was moved onto another one."""
    tensors = [Tensor("a", F32, (8,), 0, 1), Tensor("b", F32, (8,), 1, 2)]
    placement = Place(chip=chip()).place([], tensors)
    moved = {**placement.bindings, "b": placement.bindings["a"]}
    wrong = Placement(moved, (), placement.used, placement.bound)
    assert conflicts(tensors, wrong, 3)


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=20
    )
)
def test_allocations_reach_at_most_twice_the_bound(rows: list[tuple[int, int, int]]) -> None:
    blocks = [Block(size, min(a, b), max(a, b)) for size, a, b in rows]
    found = allocate(blocks)
    alive = [sum(b.size for b in blocks if b.first <= t <= b.last) for t in range(9)]
    assert found.bound == max(alive) <= found.peak <= 2 * found.bound
    assert found == allocate(blocks)


def test_memory_is_used_again() -> None:
    tensors = [Tensor(f"x{i}", F16, (1000,), i, i + 1) for i in range(20)]
    placement = Place(chip=chip()).place([], tensors)
    assert placement.used["l2"] == 2 * 2048 == placement.bound["l2"]


def test_what_does_not_fit_the_shared_memory_lies_in_dram() -> None:
    tensors = [Tensor("small", F16, (64,), 0, 3), Tensor("large", F16, (600,), 1, 2)]
    placement = Place(chip=chip(shared=1024)).place([], tensors)
    assert {n: b.memory for n, b in placement.bindings.items()} == {"small": "l2", "large": "dram"}


def test_what_fits_nowhere_is_an_error_that_says_what() -> None:
    huge = Tensor("layer4/conv", F32, (1 << 20, 1 << 10), 0, 1, "dram")
    with pytest.raises(CapacityError) as caught:
        Place(chip=chip()).place([], [huge, Tensor("x", F32, (4,), 0, 1)])
    assert str(caught.value) == (
        "error: the model needs 4,294,967,296 bytes of dram, which has 1,073,741,824\n"
        "  at: layer4/conv\n"
        "  because: the largest tensor, f32[1048576,1024], alone takes 4,294,967,296 bytes\n"
        "  try: a smaller batch or a narrower precision"
    )


def test_a_pass_without_a_chip_is_an_error() -> None:
    with pytest.raises(UsageError, match="the pass place needs a chip"):
        Place().place([], [])


def ranges(kernel: Kernel, addresses: dict[str, tuple[int, ...]]) -> list[tuple[int, int, str]]:
    """All copies of all buffers of a kernel as (begin, end, name)."""
    sizes = {}

    def visit(body: tuple[object, ...]) -> None:
        for s in body:
            if isinstance(s, Alloc):
                sizes[s.name] = int(np.prod(s.shape)) * s.dtype.itemsize
            elif isinstance(s, For):
                visit(s.body)

    visit(kernel.body)
    return sorted((a, a + sizes[n], n) for n, places in addresses.items() for a in places)


def test_buffers_of_neighbouring_kernels_lie_apart() -> None:
    on = chip(scratchpad=8 << 10)
    tile = Tile(chip=on)
    kernels = [tile.kernel(r.matmul(64, 32, 48, r.I8), f"k{i}") for i in range(3)]
    placement = Place(chip=on).place(kernels, [])
    found = [ranges(k, dict(a)) for k, a in zip(kernels, placement.addresses, strict=True)]
    for one in found:
        assert all(a[1] <= b[0] for a, b in pairwise(one))
        assert one[-1][1] <= placement.used["sram"] <= 8 << 10
    for first, second in pairwise(found):
        assert first[-1][1] <= second[0][0] or second[-1][1] <= first[0][0]


def test_double_buffers_have_two_addresses() -> None:
    on = chip(cores=1, scratchpad=8 << 10)
    kernel = Tile(chip=on).kernel(r.matmul(512, 16, 16, r.I8), "k0")
    (addresses,) = Place(chip=on).place([kernel], []).addresses
    assert {name: len(places) for name, places in addresses.items()} == {
        "in0_0": 2, "c0_0": 1, "c1_0": 1, "t0": 2, "out_0": 2,
    }  # fmt: skip
