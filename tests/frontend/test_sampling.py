"""Operators that read between elements, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from kcompiler.frontend import load_model
from kcompiler.graph.node import Array
from tests.frontend.oracle import agree, f32, floats, hosts, one


def grid(*shape: int, seed: int = 0) -> Any:
    """Places, a third of them outside."""
    return np.random.default_rng(seed).uniform(-1.5, 1.5, shape).astype(np.float32)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(mode: str, padding: str, corners: int) -> None:
    attributes: dict[str, Any] = {"padding_mode": padding, "align_corners": corners}
    operands = [floats(2, 3, 5, 7), grid(2, 4, 6, 2)]
    agree(*one("GridSample", operands, opset=20, mode=mode, **attributes), 1e-4, 1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample_of_a_volume(mode: str, corners: int) -> None:
    operands = [floats(1, 2, 3, 4, 5), grid(1, 2, 3, 4, 3)]
    agree(*one("GridSample", operands, opset=20, mode=mode, align_corners=corners), 1e-4, 1e-5)


def test_grid_sample_far_away_and_of_one_row() -> None:
    far = f32([[[[1e6, 0.2], [-1e6, 0.1], [40.3, -7.2]]]])
    for padding in ("zeros", "border"):
        operands = [floats(1, 2, 1, 6), far]
        agree(*one("GridSample", operands, opset=20, padding_mode=padding), 1e-4, 1e-5)


def test_infinity_outside_of_a_grid_is_not_read() -> None:
    x = floats(1, 1, 4, 4)
    x[0, 0, 0, 0] = np.inf
    places = f32([[[[-3, -3], [0.4, 0.4]]]])
    agree(*one("GridSample", [x, places], opset=20), 1e-4, 1e-5)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_deform_conv(parts: int, masked: bool) -> None:
    x, w = floats(2, 4, 6, 7), floats(6, 2, 3, 2, seed=1)
    size = 3, 7
    offset = 2 * floats(2, parts * 3 * 2 * 2, *size, seed=2)
    mask = floats(2, parts * 3 * 2, *size, seed=3) if masked else None
    attributes: dict[str, Any] = {
        "pads": [1, 0, 0, 1],
        "strides": [2, 1],
        "dilations": [1, 1],
        "group": 2,
    }
    made = one("DeformConv", [x, w, offset, floats(6, seed=4), mask], opset=19,
               offset_group=parts, kernel_shape=[3, 2], **attributes)  # fmt: skip
    agree(*made, 1e-4, 1e-4)


ROIS = f32([[0, 0, 9, 9], [2, 1, 5.5, 7], [-3, -2, 4, 3], [8, 8, 30, 40], [3, 3, 3.2, 3.1],
            [5, 5, 4, 3], [0, 0, 5.5, 5.5]])  # fmt: skip
IMAGES = np.array([0, 1, 0, 1, 1, 0, 1])


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
class TestRoiAlign:
    def made(
        self, mode: str, pooling: str, known: list[int], samples: int
    ) -> tuple[ModelProto, dict[str, Array]]:
        operands = [floats(2, 3, 10, 12) - 0.5, ROIS, IMAGES]
        return one("RoiAlign", operands, known, 16, mode=pooling, output_height=3,
                   output_width=2, coordinate_transformation_mode=mode, sampling_ratio=samples,
                   spatial_scale=0.7)  # fmt: skip

    @pytest.mark.parametrize("samples", [1, 2, 3])
    def test_of_so_many_samples(self, mode: str, pooling: str, samples: int) -> None:
        agree(*self.made(mode, pooling, [], samples), 1e-4, 1e-5)

    @pytest.mark.parametrize("known", [[1], [1, 2]])
    def test_as_many_as_a_region_is_large(self, mode: str, pooling: str, known: list[int]) -> None:
        """Where regions are known; one has no samples, and gives zeros."""
        agree(*self.made(mode, pooling, known, 0), 1e-4, 1e-5)

    def test_what_follows_the_size_of_a_region_stays_on_the_host(
        self, mode: str, pooling: str
    ) -> None:
        proto, feeds = self.made(mode, pooling, [], 0)
        (host,) = hosts(load_model(proto))
        reason = "as many samples as a region is large, in regions that are not known"
        assert reason in getattr(host, "reason", "")
        agree(proto, feeds, host=True)


@pytest.mark.parametrize("samples", [0, 2])
def test_no_regions(samples: int) -> None:
    operands = [floats(1, 3, 10, 12), np.zeros((0, 4), np.float32), np.zeros(0, np.int64)]
    agree(*one("RoiAlign", operands, [1], 16, sampling_ratio=samples))


ENDLESS = {
    "a large region": (f32([[0, 0, 1e4, 1e4]]), 0, "100,000,000 samples"),
    "a huge region": (f32([[0, 0, 4, 4], [0, 0, 1e30, 4]]), 0, "samples; the NPU has tables for"),
    "many regions": (np.tile(f32([[0, 0, 150, 150]]), (1000, 1)), 0, "22,500,000 samples"),
    "infinity": (f32([[0, 0, np.inf, 4]]), 0, "regions whose sides are not finite"),
    "between infinities": (f32([[0, np.inf, 4, np.inf]]), 0, "sides are not finite"),
    "the largest number": (f32([[-3e38, 0, 3e38, 4]]), 0, "sides are not finite"),
    "a ratio": (f32([[0, 0, 4, 4]]), 10**8, "40,000,000,000,000,000 samples"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_endless_samples_stay_on_the_host(case: str) -> None:
    """Nothing is allocated for them, and numpy has nothing to warn of."""
    regions, ratio, reason = ENDLESS[case]
    operands = [floats(1, 2, 8, 8), regions, np.zeros(len(regions), np.int64)]
    proto, _ = one("RoiAlign", operands, [1, 2], 16, output_height=2, output_width=2,
                   sampling_ratio=ratio)  # fmt: skip
    (host,) = hosts(load_model(proto))
    assert reason in getattr(host, "reason", "")
    assert "RoiAlign" in getattr(host, "reason", "")


def test_a_huge_region_without_samples_is_empty() -> None:
    regions = f32([[0, 4, 1e30, 0], [0, 0, 4, 4]])
    operands = [floats(1, 2, 8, 8), regions, np.zeros(2, np.int64)]
    made = one("RoiAlign", operands, [1, 2], 16, output_height=2, output_width=2)
    assert not hosts(load_model(made[0]))
    agree(*made, 1e-4, 1e-5)
