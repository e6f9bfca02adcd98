"""Resize and Upsample against onnxruntime: all modes, coordinates and roundings."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from kcompiler.frontend import load_model
from kcompiler.graph.operators import Broadcast, Contract, Gather
from tests.frontend.oracle import agree, floats, one

COORDINATES = [
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "half_pixel_symmetric",
]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
SIZES = [(10, 12), (4, 5), (7, 9), (1, 1), (5, 3)]


def scales(*values: float) -> Any:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("coordinates", "rounding", "size"), list(product(COORDINATES, ROUNDINGS, SIZES))
)
def test_nearest(coordinates: str, rounding: str, size: tuple[int, int]) -> None:
    attributes: dict[str, Any] = {
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    operands = [floats(1, 2, 5, 6), None, None, np.array((1, 2, *size))]
    agree(*one("Resize", operands, [3], 19, mode="nearest", **attributes))


@pytest.mark.parametrize(("coordinates", "size"), list(product(COORDINATES, SIZES)))
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_interpolation(mode: str, coordinates: str, size: tuple[int, int]) -> None:
    attributes: dict[str, Any] = {"coordinate_transformation_mode": coordinates, "mode": mode}
    operands = [floats(1, 2, 5, 6), None, None, np.array((1, 2, *size))]
    agree(*one("Resize", operands, [3], 19, **attributes), rtol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("factors", [(2.0, 3.0), (0.5, 0.6), (1.7, 2.5)])
def test_scales(mode: str, factors: tuple[float, float]) -> None:
    operands = [floats(1, 2, 5, 6), None, scales(1, 1, *factors)]
    agree(*one("Resize", operands, [2], 13, mode=mode), rtol=1e-4)


@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("coefficient", [-0.75, -0.5])
def test_cubic_options(exclude: int, coefficient: float) -> None:
    operands = [floats(1, 2, 5, 6), None, scales(1, 1, 1.6, 0.7)]
    options: dict[str, Any] = {"cubic_coeff_a": coefficient, "exclude_outside": exclude}
    agree(*one("Resize", operands, [2], 13, mode="cubic", **options), rtol=1e-4)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("size", [(2, 3), (4, 4), (3, 5)])
def test_antialias(mode: str, size: tuple[int, int]) -> None:
    operands = [floats(1, 2, 7, 9), None, None, np.array((1, 2, *size))]
    agree(*one("Resize", operands, [3], 18, mode=mode, antialias=1), rtol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_region(mode: str) -> None:
    region = np.array([0, 0, 0.2, -0.3, 1, 1, 0.7, 1.2], np.float32)
    operands = [floats(1, 1, 6, 7), region, None, np.array((1, 1, 5, 8))]
    attributes: dict[str, Any] = {
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 9.0,
    }
    agree(*one("Resize", operands, [1, 3], 13, mode=mode, **attributes), rtol=1e-4)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio(policy: str) -> None:
    operands = [floats(1, 1, 6, 8), None, None, np.array((9, 9))]
    options: dict[str, Any] = {"keep_aspect_ratio_policy": policy, "axes": [2, 3]}
    agree(*one("Resize", operands, [3], 18, mode="linear", **options), rtol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_forms(mode: str) -> None:
    x, factors = floats(1, 2, 3, 4), (1.0, 1.0, 2.0, 3.0)
    agree(*one("Upsample", [x], opset=7, mode=mode, scales=factors))
    agree(*one("Upsample", [x, scales(*factors)], [1], 9, mode=mode))
    agree(*one("Resize", [x, scales(*factors)], [1], 10, mode=mode))


def test_doubling_is_repetition_and_interpolation_a_product() -> None:
    """What a chip can do well: no gather, no table for the nearest neighbour."""
    operands = [floats(1, 2, 5, 6), None, scales(1, 1, 2, 2)]
    attributes: dict[str, Any] = {
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    proto, _ = one("Resize", operands, [2], 13, mode="nearest", **attributes)
    kinds = [type(n) for n in load_model(proto).graph.nodes]
    assert Broadcast in kinds
    assert not {Gather, Contract} & set(kinds)
    proto, _ = one("Resize", operands, [2], 13, mode="linear")
    assert [type(n) for n in load_model(proto).graph.nodes].count(Contract) == 2
