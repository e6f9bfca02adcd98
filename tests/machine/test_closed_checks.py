"""Two checks of the machine model and the tiler against figures that are known in closed form.

Both are over the 54 layers of resnet50-v1.5 (He et al., 2015, with the stride in the 3x3
convolutions): 53 convolutions and the classifier.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kcompiler.kernel.nest import Region
from kcompiler.kernel.statements import Compute, Kernel, statements
from kcompiler.passes.tile import Tile
from kcompiler.tiling.measure import nest_cycles
from tests.tiling.chips import chip
from tests.tiling.plans import moved_bytes
from tests.tiling.regions import conv, matmul

I8 = np.dtype(np.int8)
PLENTY = 1 << 40


class Layer(NamedTuple):
    """`channels` x `size` x `size` into `filters`; a classifier convolves a 1 x 1 image."""

    channels: int
    size: int
    filters: int
    kernel: int
    stride: int

    @property
    def out(self) -> int:
        """Height and width of the result."""
        return -(-self.size // self.stride)

    def region(self) -> Region:
        """The layer alone, int8 in and out."""
        if self.size == 1:
            return matmul(1, self.channels, self.filters, I8, bias=False)
        return conv(
            self.channels, self.size, self.filters, self.kernel, self.stride, I8, bias=False
        )


def product_of(region: Region) -> Region:
    """The contraction of a layer alone, its sums the result."""
    first, *_ = region.nests
    sums = replace(region.operand(first.write.operand), role="output")
    return Region((*(region.operand(a.operand) for a in first.reads), sums), (first,))


def blocks() -> Iterator[Layer]:
    """The bottlenecks: 1x1, 3x3 with the stride, 1x1, and a projection where the shape changes."""
    channels, size = 64, 56
    for width, count, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            stride = first if number == 0 else 1
            yield Layer(channels, size, width, 1, 1)
            yield Layer(width, size, width, 3, stride)
            size_out = size // stride
            yield Layer(width, size_out, 4 * width, 1, 1)
            if number == 0:
                yield Layer(channels, size, 4 * width, 1, stride)
            channels, size = 4 * width, size_out


LAYERS = (Layer(3, 224, 64, 7, 2), *blocks(), Layer(2048, 1, 1000, 1, 1))


def test_layers_are_those_of_the_model(shared: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = shared / "models" / "skeletons" / "resnet50-v1.5-dynamo.onnx"
    graph = onnx.load(str(path), load_external_data=False).graph
    shapes = {w.name: tuple(w.dims) for w in graph.initializer}
    found = [shapes[n.input[1]] for n in graph.node if n.op_type == "Conv"]
    ours = [(x.filters, x.channels, x.kernel, x.kernel) for x in LAYERS[:-1]]
    assert sorted(found) == sorted(ours)
    assert len(LAYERS) == 54


def compute_cycles(kernel: Kernel, array: object) -> list[int]:
    """Cycles of each contraction that a kernel computes, from its statements."""
    found = []
    for statement in statements(kernel.body):
        if isinstance(statement, Compute) and statement.nest.is_contraction:
            nest = statement.nest
            matrix, _ = nest_cycles(nest, nest.extents, [I8, I8], array, swap=False)  # type: ignore[arg-type]
            found.append(int(matrix))
    return found


def test_systolic_array_in_closed_form() -> None:
    """A bare 128 x 128 weight-stationary array without memory stalls (SCALE-Sim's model)."""
    bare = chip(
        cores=1, scratchpad=PLENTY, shared=0, bandwidth=PLENTY, array=(128, 128), lanes=1,
        overlap_fill=False, startup=0, port=PLENTY,
    )  # fmt: skip
    tile = Tile(chip=bare, swap=False)
    total = 0
    for layer in LAYERS:
        (cycles,) = compute_cycles(tile.run(product_of(layer.region())), bare)
        k, n, m = layer.kernel**2 * layer.channels, layer.filters, layer.out**2
        assert cycles == math.ceil(k / 128) * math.ceil(n / 128) * (2 * 128 + 128 + m - 2) - 1
        total += cycles
    assert total == 916_490


def test_dram_traffic_is_near_the_optimum() -> None:
    """512 int8 MAC/cycle, 384 KB on chip, 3.75 B/cycle: 46.2 MB is the known least traffic."""
    small = chip(cores=1, scratchpad=384 << 10, shared=0, bandwidth=3.75, array=(16, 32), lanes=32)
    tile = Tile(chip=small, scratchpad_share=1.0, objective="bytes")
    total = 0
    for layer in LAYERS:
        region = layer.region()
        kernel, plan = tile.run(region), tile.plan(region)
        moved = sum(moved_bytes(kernel).values())
        assert plan.used <= 384 << 10
        assert dict(plan.traffic)["dram"] == moved
        total += moved
    assert abs(total / 46.2e6 - 1) <= 0.01
