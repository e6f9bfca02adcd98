"""Bytes that must move, counted by hand."""

import numpy as np

from kcompiler.graph import operators as ops
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.types import F32
from kcompiler.kernel.from_graph import region_of
from kcompiler.kernel.measure import compulsory_bytes, region_macs, touched_bytes
from tests.kernel import bodies
from tests.kernel.bodies import f32, fuse


def test_a_conv_with_stride_two_touches_a_quarter() -> None:
    w = Constant(bodies.values(0, F32, (8, 4, 1, 1)))
    ones, none = (1, 1), (0, 0)
    fused = fuse(lambda x: ops.Conv(x, w, (2, 2), none, none, ones, 1, F32), f32(1, 4, 6, 6))
    region = region_of(fused).region
    assert region_macs(region) == 8 * 4 * 9 == fused.macs()
    assert touched_bytes(region, region.operand("in0")) == 4 * 4 * 9
    assert compulsory_bytes(region) == 4 * (4 * 9 + 32 + 8 * 9)


def test_padding_costs_nothing_and_repetition_counts_once() -> None:
    def body(x: Op, y: Op) -> Op:
        return ops.Add(ops.Pad(x, (2, 2), (2, 2), 0), ops.Broadcast(y, (8, 9)))

    region = region_of(fuse(body, f32(4, 5), f32(9))).region
    assert compulsory_bytes(region) == 4 * (4 * 5 + 9 + 8 * 9)


def test_a_gather_touches_no_more_rows_than_it_has_indices() -> None:
    few, many = Constant(np.array([1, 1, 2])), Constant(np.zeros(50, np.int64))
    table = f32(10, 4)
    small = region_of(fuse(lambda x: ops.Gather(x, few, 0), table)).region
    assert touched_bytes(small, small.operand("in0")) == 4 * 3 * 4
    large = region_of(fuse(lambda x: ops.Gather(x, many, 0), table)).region
    assert touched_bytes(large, large.operand("in0")) == 4 * 10 * 4
