"""The pass tile: the kernels that it makes, and what it says about them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from kcompiler.errors import CapacityError, UsageError
from kcompiler.graph.types import F32
from kcompiler.kernel.interpreter import run_kernel, run_region
from kcompiler.kernel.nest import Affine, Region
from kcompiler.kernel.statements import Alloc, Box, Compute, Copy, For, Kernel, statements
from kcompiler.machine.chip import Chip
from kcompiler.passes.tile import Tile, tiled
from tests.tiling import regions as r
from tests.tiling.chips import chip
from tests.tiling.plans import moved_bytes, operands


def loops(kernel: Kernel, kind: str) -> dict[str, int]:
    """The loops of a kind: variable -> extent."""
    found = [s for s in statements(kernel.body) if isinstance(s, For) and s.kind == kind]
    return {s.var: s.extent for s in found}


def copies(kernel: Kernel, operand: str) -> list[Copy]:
    """The copies from or to an operand."""
    found = [s for s in statements(kernel.body) if isinstance(s, Copy)]
    return [c for c in found if operand in {c.src.tensor, c.dst.tensor}]


def check(region: Region, on: Chip, share: float = 1.0) -> Kernel:
    """The kernel of a region, which computes what the region does."""
    kernel = Tile(chip=on, scratchpad_share=share).run(region)
    given = operands(region)
    np.testing.assert_array_equal(run_kernel(kernel, given), run_region(region, given))
    return kernel


def test_what_fits_is_one_tile_on_one_core() -> None:
    kernel = check(r.matmul(4, 5, 6), chip(cores=1, scratchpad=1 << 20, startup=200))
    assert [type(s) for s in kernel.body] == [*[Alloc] * 5, *[Copy] * 3, Compute, Compute, Copy]
    zero = (Affine(), Affine())
    assert copies(kernel, "out") == [
        Copy(Box("out", zero, (4, 6), (1, 1)), Box("out_0", zero, (4, 6), (1, 1)))
    ]


def test_cores_take_different_tiles() -> None:
    kernel = check(r.conv(16, 28, 32, 3, dtype=r.I8), chip(cores=4, scratchpad=1 << 20))
    assert np.prod([n for _, n in kernel.core_grid]) == 4
    assert kernel.core_grid == tuple(loops(kernel, "core").items())


def test_tiles_stream_through_double_buffers() -> None:
    kernel = check(r.matmul(256, 32, 32, r.I8), chip(cores=1, scratchpad=8 << 10))
    assert loops(kernel, "double")
    assert not loops(kernel, "sequential")


def test_the_stationary_operand_is_loaded_once() -> None:
    region = r.matmul(4096, 16, 16, r.I8)
    kernel = check(region, chip(cores=1, scratchpad=8 << 10))
    assert moved_bytes(kernel)["c0"] == 16 * 16
    assert moved_bytes(kernel)["in0"] == 4096 * 16


def test_long_reductions_are_cut_and_carried() -> None:
    kernel = check(r.matmul(8, 5000, 8, r.I8), chip(cores=1, scratchpad=4 << 10))
    (carried,) = [s for s in statements(kernel.body) if isinstance(s, Compute) and s.carry]
    assert carried.carry in loops(kernel, "double")
    assert carried.nest.is_contraction


def test_what_lies_beyond_a_cut_reduction_is_not_multiplied() -> None:
    """Beyond the end of k lie infinities, which zero weights would turn into NaN."""
    region = r.matmul(2, 5000, 2, F32, bias=False)
    longer = replace(region.operand("in0"), shape=(2, 5100), strides=(5100, 1))
    operands_ = (longer, *(o for o in region.operands if o.name != "in0"))
    region = Region(operands_, region.nests)
    kernel = Tile(chip=chip(cores=1, scratchpad=8 << 10)).run(region)
    given = operands(region)
    given["in0"].reshape(-1)[: 2 * 5100].reshape(2, 5100)[:, 5000:] = np.inf
    np.testing.assert_array_equal(run_kernel(kernel, given), run_region(region, given))


def test_partial_sums_are_not_rounded() -> None:
    region = r.conv(512, 4, 4, 1, bias=False)
    last = replace(region.nests[0], write=replace(region.nests[0].write, operand="out"))
    alone = Region(tuple(o for o in region.operands if o.name != "t0"), (last,))
    kernel = check(alone, chip(cores=1, scratchpad=1 << 10))
    sums = {s.name: s.dtype for s in statements(kernel.body) if isinstance(s, Alloc)}
    assert sums["acc0"] == F32


def test_strided_boxes_read_only_what_is_used() -> None:
    region = r.conv(8, 15, 8, 1, 2, r.I8)
    small = chip(cores=1, scratchpad=1 << 20)
    kernel = Tile(chip=small, objective="bytes").run(region)
    (load,) = copies(kernel, "in0")
    assert load.src.step == (1, 2, 2)
    assert moved_bytes(kernel)["in0"] == 8 * 8 * 8


def test_strided_rows_are_read_whole_where_bursts_are_long() -> None:
    region = r.conv(64, 56, 64, 1, 2)
    slow = chip(cores=1, scratchpad=1 << 20, burst=64, port=1.0)
    (load,) = copies(Tile(chip=slow).run(region), "in0")
    assert load.src.step == (1, 2, 1)


def test_halos_are_loaded_with_the_tile() -> None:
    kernel = check(r.conv(32, 24, 16, 3, dtype=r.I8), chip(cores=1, scratchpad=8 << 10))
    (load,) = copies(kernel, "in0")
    (store,) = copies(kernel, "out")
    assert load.src.shape[1:] == tuple(n + 2 for n in store.dst.shape[1:])
    assert load.fill == 0


def test_padding_of_a_pool_is_not_zero() -> None:
    kernel = check(r.pool(4, 13, 3, 2, 1, r.I8), chip(cores=2, scratchpad=1 << 10))
    assert {c.fill for c in copies(kernel, "in0")} == {-128}


def test_pieces_of_a_concatenation_do_not_overwrite_each_other() -> None:
    region = r.concat((3, 8, 5), 9, 7)
    kernel = check(region, chip(cores=4, scratchpad=1 << 10))
    moved = moved_bytes(kernel)
    assert moved["out"] == region.output.nbytes
    names = [s.name for s in statements(kernel.body) if isinstance(s, Alloc)]
    assert len(names) == len(set(names))


def test_gathered_rows() -> None:
    kernel = check(r.gather(100, 32, 20), chip(cores=4, scratchpad=1 << 12))
    (load,) = copies(kernel, "c0")
    assert load.indirect is not None
    assert load.indirect[0] == 0
    assert load.src.shape[0] == 100


def test_repeated_operands_are_read_once() -> None:
    region = r.broadcast_sum((6, 7, 64))
    kernel = check(region, chip(cores=1, scratchpad=1 << 16))
    assert moved_bytes(kernel)["in1"] == 6 * 7 * 2


@pytest.mark.parametrize("region", [r.softmax(2, 40_000, F32), r.layer_norm(2, 40_000, F32)])
def test_rows_longer_than_the_memory(region: Region) -> None:
    kernel = Tile(chip=chip(cores=1, scratchpad=16 << 10), scratchpad_share=1.0).run(region)
    given = operands(region)
    got, wanted = run_kernel(kernel, given), run_region(region, given)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)


def test_what_cannot_fit_is_an_error_that_says_what() -> None:
    with pytest.raises(CapacityError) as caught:
        Tile(chip=chip(scratchpad=256)).run(r.attention(2, 3, 40, 16))
    assert str(caught.value) == (
        "error: a kernel needs 704 bytes of sram, of which it may use 128\n"
        "  because: its smallest tiles are in0_0 (of in0: f16[2,3,16]) 32 B, "
        "in1_0 (of in1: f16[2,40,16]) 96 B, in2_0 (of in2: f16[2,40,16]) 96 B, "
        "c0_0 (of c0: f16[3,40]) 96 B, t0 (of t0: f32[2,3,40]) 160 B, t1 (of t1: f32[2,3]) 32 B, "
        "t2 (of t2: f16[2,3,40]) 96 B, t3 (of t3: f32[2,3]) 32 B, t4 (of t4: f32[2,3,16]) 32 B, "
        "out_0 (of out: f16[2,3,16]) 32 B\n"
        "  try: give kernels more of the memory (tile{scratchpad_share=1.0})"
    )


def test_a_pass_without_a_chip_is_an_error() -> None:
    with pytest.raises(UsageError, match="the pass tile needs a chip"):
        Tile().run(r.matmul(2, 2, 2))


def test_equal_regions_are_tiled_once() -> None:
    tile = Tile(chip=chip())
    first = tile.run(r.matmul(64, 64, 64))
    before = tiled.cache_info().hits
    assert tile.run(r.matmul(64, 64, 64)) is first
    assert tiled.cache_info().hits == before + 1
    assert tile.kernel(r.matmul(64, 64, 64), "k7") == replace(first, name="k7")


def test_a_plan_explains_itself() -> None:
    plan = Tile(chip=chip(cores=1, scratchpad=4 << 10)).plan(r.matmul(64, 16, 16, r.I8))
    assert str(plan).splitlines()[1:] == [
        "  j: 16 = 1 cores x 1 double x 16",
        "  i: 64 = 1 cores x 8 double x 8",
        "  k@0: 16 = 1 cores x 1 double x 16",
        "  in0_0: 2 x 128 B",
        "  c0_0: 1 x 256 B",
        "  c1_0: 1 x 64 B",
        "  t0: 2 x 512 B",
        "  out_0: 2 x 128 B",
        "  scratchpad 1,856 of 2,048 B",
    ]


def test_tiling_is_fast() -> None:
    """Under 50 ms a region on the machine that this was written on; here five times as much."""
    layers = [
        r.conv(64, 56, 64, 3), r.conv(256, 56, 128, 1), r.conv(128, 28, 512, 1, residual=True),
        r.conv(512, 7, 512, 3), r.matmul(128, 768, 3072), r.attention(12, 128, 128, 64),
        r.layer_norm(128, 768), r.conv(3, 224, 64, 7, 2),
    ]  # fmt: skip
    tile = Tile(chip=chip(cores=64, scratchpad=4 << 20, array=(64, 64), lanes=64))
    start = time.process_time()
    for layer in layers:
        tile.run(layer)
    assert time.process_time() - start < 0.25 * len(layers)
