"""Positions of maxima, and windows put back, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kcompiler.frontend import load_model
from kcompiler.graph.interpreter import run_graph
from tests.frontend.oracle import agree, floats, integers, one, rng


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "dilations": [2, 3]},
        {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 1]},
    ],
)
def test_positions_of_maxima(attributes: dict[str, Any], order: int) -> None:
    """Of equal ones the first counts."""
    x = integers(0, 5, 2, 3, 7, 8).astype(np.float32)
    agree(*one("MaxPool", [x], results=2, storage_order=order, **attributes))


def test_positions_of_maxima_of_lines_volumes_and_bytes() -> None:
    agree(*one("MaxPool", [floats(1, 2, 9)], results=2, kernel_shape=[3], strides=[2]))
    agree(*one("MaxPool", [floats(1, 2, 4, 5, 6)], results=2, kernel_shape=[2, 2, 3]))
    bytes_ = integers(-128, 128, 1, 2, 6, 6, dtype="int8")
    agree(*one("MaxPool", [bytes_], results=2, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 0]])
def test_max_unpool(pads: list[int]) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [2, 3], "strides": [2, 3], "pads": pads}
    sizes = [2 * 4 - pads[0] - pads[2], 3 * 3]
    planes = np.arange(6).reshape(2, 3, 1, 1) * sizes[0] * sizes[1]
    order = rng().permuted(np.tile(np.arange(sizes[0] * sizes[1]), (6, 1)), axis=1)
    at = order[:, :12].reshape(2, 3, 4, 3) + planes
    agree(*one("MaxUnpool", [floats(2, 3, 4, 3), at], opset=11, **attributes))


def test_max_unpool_into_a_larger_shape() -> None:
    """As ONNX says: the indices are those of what the windows cover. Runtimes differ here."""
    x, at = floats(1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]])
    operands = [x, at, np.array([1, 1, 5, 6])]
    proto, feeds = one("MaxUnpool", operands, [2], 11, kernel_shape=[2, 2], strides=[2, 2])
    wanted = np.zeros((1, 1, 5, 6), np.float32)
    wanted[0, 0, 1:4:2, 1:4:2] = x[0, 0]
    found = run_graph(load_model(proto).graph, feeds)["y0"]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 3]}, {"pads": [1, 0, 1, 2]}, {"dilations": [2, 1], "strides": [1, 2]}],
)
def test_col2im(attributes: dict[str, Any]) -> None:
    """Also of infinities, which reach no further than their block."""
    image, block = np.array([7, 8]), np.array([2, 3])
    pads, strides = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    grid = [
        (image[i] + pads[i] + pads[i + 2] - (block[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i in (0, 1)
    ]
    x = floats(2, 3 * 6, int(np.prod(grid)))
    x[0, 1, 2] = np.inf
    agree(*one("Col2Im", [x, image, block], [1, 2], 18, **attributes))
