"""Convolution, its transpose, and pooling against onnxruntime, over all their options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.frontend.oracle import agree, floats, one


@st.composite
def windows(draw: DrawFn, rank: int, dilated: bool = True) -> dict[str, Any]:
    """Attributes of a sliding window that are legal for onnxruntime."""

    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(rank)]

    kernel = each(1, 3)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": each(1, 3)}
    if dilated:
        attributes["dilations"] = each(1, 2)
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
    else:
        attributes["auto_pad"] = auto
    if auto.startswith("SAME"):  # onnxruntime pads negatively where a stride leaves pixels out
        attributes["strides"] = [
            min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)
        ]
    return attributes


@given(st.data(), st.integers(1, 3), st.sampled_from([1, 1, 2, 4]), st.booleans())
def test_conv(data: st.DataObject, rank: int, group: int, bias: bool) -> None:
    attributes: dict[str, Any] = data.draw(windows(rank))
    if attributes.get("auto_pad", "").startswith("SAME"):
        attributes["dilations"] = [1] * rank  # onnxruntime's padding ignores them
    x = floats(2, 4, *data.draw(st.lists(st.integers(5, 9), min_size=rank, max_size=rank)))
    w = floats(8, 4 // group, *attributes["kernel_shape"], seed=1)
    operands = [x, w, floats(8, seed=2)] if bias else [x, w]
    agree(*one("Conv", operands, range(1, len(operands)), group=group, **attributes))


@given(st.data(), st.integers(1, 3), st.sampled_from([1, 1, 2]), st.booleans())
def test_conv_transpose(data: st.DataObject, rank: int, group: int, known: bool) -> None:
    attributes: dict[str, Any] = data.draw(windows(rank))
    strides, dilations = attributes["strides"], attributes["dilations"]
    attributes["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in strides]
    extents = data.draw(st.lists(st.integers(1, 5), min_size=rank, max_size=rank))
    pads = attributes.get("pads", [0] * 2 * rank)
    out = [
        s * (n - 1) + o + (k - 1) * d + 1 - a - b
        for s, n, o, k, d, a, b in zip(
            strides,
            extents,
            attributes["output_padding"],
            attributes["kernel_shape"],
            dilations,
            pads[:rank],
            pads[rank:],
            strict=True,
        )
    ]
    assume(min(out) > 0)
    if attributes.get("auto_pad", "").startswith("SAME"):
        del attributes["output_padding"]
        # A kernel shorter than its stride cannot fill n * stride: onnxruntime then pads negatively.
        assume(
            all(
                (k - 1) * d + 1 >= s
                for k, d, s in zip(attributes["kernel_shape"], dilations, strides, strict=True)
            )
        )
    w = floats(4, 6 // group, *attributes["kernel_shape"], seed=1)
    operands = [floats(2, 4, *extents), w, floats(6, seed=2)]
    agree(*one("ConvTranspose", operands, [1, 2] if known else [], group=group, **attributes))


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("output_shape", [(9, 8), (10, 9), (8, 7)])
def test_conv_transpose_to_a_shape(auto_pad: str, output_shape: tuple[int, int]) -> None:
    operands = [floats(1, 2, 4, 4), floats(2, 3, 3, 3, seed=1)]
    attributes: dict[str, Any] = {
        "strides": [2, 2],
        "output_shape": output_shape,
        "auto_pad": auto_pad,
    }
    agree(*one("ConvTranspose", operands, [1], **attributes))


def test_conv_transpose_is_one_convolution() -> None:
    """The last resize of a U-Net: 2x2 with stride 2 needs no zeros between the pixels."""
    operands = [floats(1, 4, 5, 5), floats(4, 3, 2, 2, seed=1)]
    imported = agree(*one("ConvTranspose", operands, [1], strides=[2, 2]))
    assert imported.graph.macs() == 5 * 5 * 4 * 3 * 2 * 2


@given(st.data(), st.integers(1, 3), st.booleans())
def test_max_pool(data: st.DataObject, rank: int, ceil: bool) -> None:
    attributes: dict[str, Any] = data.draw(windows(rank))
    if "auto_pad" in attributes:
        attributes["dilations"] = [1] * rank
    x = floats(2, 3, *data.draw(st.lists(st.integers(5, 9), min_size=rank, max_size=rank)))
    agree(*one("MaxPool", [x], opset=12, ceil_mode=int(ceil), **attributes))


@given(st.data(), st.integers(1, 3), st.booleans(), st.booleans())
def test_average_pool(data: st.DataObject, rank: int, ceil: bool, include: bool) -> None:
    attributes: dict[str, Any] = data.draw(windows(rank, dilated=False))
    x = floats(2, 3, *data.draw(st.lists(st.integers(5, 9), min_size=rank, max_size=rank)))
    options: dict[str, Any] = {"ceil_mode": int(ceil), "count_include_pad": int(include)}
    agree(*one("AveragePool", [x], opset=19, **attributes, **options))


@pytest.mark.parametrize("include", [0, 1])
def test_average_pool_with_dilation(include: int) -> None:
    options: dict[str, Any] = {
        "dilations": [2, 2],
        "pads": [1, 1, 1, 1],
        "count_include_pad": include,
    }
    agree(*one("AveragePool", [floats(1, 2, 7, 8)], opset=19, kernel_shape=[2, 3], **options))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(p: int) -> None:
    x = floats(1, 2, 7, 8)
    agree(*one("LpPool", [x], opset=18, kernel_shape=[2, 3], p=p, strides=[2, 1]))
    agree(*one("GlobalLpPool", [x], p=p))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 6), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(op_type: str, shape: tuple[int, ...]) -> None:
    agree(*one(op_type, [floats(*shape)]))


def test_max_pool_of_bytes() -> None:
    x = np.arange(2 * 5 * 5, dtype=np.uint8).reshape(1, 2, 5, 5)
    agree(*one("MaxPool", [x], kernel_shape=[2, 2]))


def test_weights_that_are_computed() -> None:
    agree(*one("Conv", [floats(1, 2, 5, 5), floats(3, 2, 3, 3, seed=1)]))
