"""Fourier transforms against numpy: onnxruntime's own lose four digits more than a product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kcompiler.frontend import load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array
from tests.frontend.oracle import floats, one


def result(op_type: str, operands: list[Array | None], known: list[int], **options: Any) -> Array:
    proto, feeds = one(op_type, operands, known, **options)
    found = run_graph(load_model(proto).graph, feeds)["y0"]
    assert found.dtype == np.float32
    return found


def parts(x: Array) -> Array:
    return np.stack([x.real, x.imag], -1).astype(np.float32)


def whole(x: Array) -> Array:
    return np.asarray(x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0])


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("length", [None, 4, 6, 9])
@pytest.mark.parametrize("axis", [0, 1, -2])
@pytest.mark.parametrize("inverse", [0, 1])
def test_dft(kind: int, length: int | None, axis: int, inverse: int) -> None:
    x = floats(6, 5, 6, kind)
    n = None if length is None else np.array(length)
    transform = np.fft.ifft if inverse else np.fft.fft
    expected = parts(transform(whole(x), length, axis if axis >= 0 else axis + 1))
    newer = result("DFT", [x, n, np.array(axis)], [1, 2][n is None :], opset=20, inverse=inverse)
    older = result("DFT", [x, n], [1] * (n is not None), opset=17, inverse=inverse, axis=axis)
    np.testing.assert_allclose(newer, expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(older, newer)


@pytest.mark.parametrize("length", [5, 6, 8])
def test_one_side_and_back(length: int) -> None:
    x = floats(3, length, 1)
    side = result("DFT", [x], [], opset=20, onesided=1)
    np.testing.assert_allclose(side, parts(np.fft.rfft(x[..., 0])), rtol=1e-5, atol=2e-6)
    operands: list[Array | None] = [side, np.array(length)]
    back = result("DFT", operands, [1], opset=20, onesided=1, inverse=1)
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=2e-6)


def test_what_is_zero_is_exactly_zero() -> None:
    """No rounding noise at frequency 0 and at the highest one, whose sines are all 0."""
    y = result("DFT", [np.arange(100, dtype=np.float32).reshape(1, 100, 1)], [], opset=20)
    assert y[0, 0, 1] == 0
    assert y[0, 50, 1] == 0


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("step", [2, 3, 8])
def test_stft(windowed: bool, onesided: int, step: int) -> None:
    signal, window = floats(2, 30, 1), floats(8, seed=1)
    operands = [signal, np.array(step), window if windowed else None, np.array(8)]
    found = result("STFT", operands, [1, 3], onesided=onesided)
    frames = np.stack([signal[:, i : i + 8, 0] for i in range(0, 23, step)], 1)
    weighted = frames * window if windowed else frames
    expected = np.fft.rfft(weighted) if onesided else np.fft.fft(weighted)
    np.testing.assert_allclose(found, parts(expected), rtol=1e-5, atol=5e-6)
