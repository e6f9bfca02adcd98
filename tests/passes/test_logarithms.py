"""Sums before a logarithm: which kernels multiply float32 for it, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.operators import (
    Add,
    Contract,
    Exp,
    Fused,
    Log,
    Max,
    Mul,
    Pad,
    Reduce,
    Relu,
    Sigmoid,
    Sqrt,
    Sub,
    Transpose,
)
from kcompiler.graph.types import F32, TensorType
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.precision import Precision, multiplies_f32
from kcompiler.sample import number

FRAMES, SAMPLES, BANDS = 4, 256, 16
X = Input("x", TensorType(F32, (FRAMES, SAMPLES)))


def waves() -> Array:
    """A tone in each band, under a window: what is no tone of a band cancels in it."""
    time = np.arange(SAMPLES) / SAMPLES
    tones = np.sin(2 * math.pi * np.outer(np.arange(3, 3 + BANDS), time))
    return (tones * np.hanning(SAMPLES)).T.astype(np.float32)


def product(x: Op, w: Array) -> Op:
    return Contract(x, Constant(w), "ij,jk->ik", F32)


def square(x: Op) -> Op:
    return Mul(x, x)


def small(x: Op) -> Op:
    return Add(x, number(1e-9))


def converted(root: Op, *, logarithms: bool = True) -> Graph:
    graph = Fuse().run(Graph("g", (X,), (("y", root),)))
    found: Graph = Precision("f16", logarithms).run(graph)
    return found


def wide(root: Op, **options: bool) -> list[bool]:
    """Whether each kernel with a product multiplies float32, in order."""
    kernels = (n for n in converted(root, **options).nodes if isinstance(n, Fused))
    has = (k for k in kernels if any(isinstance(n, Contract) for n in k.body.nodes))
    return [multiplies_f32(k) for k in has]


SQUARE = np.eye(SAMPLES, dtype=np.float32)
BASIS = waves()
Spectrum = Callable[[], Op]
CASES: dict[str, tuple[Spectrum, list[bool]]] = {
    "a spectrum": (lambda: Log(small(square(product(X, BASIS)))), [True]),
    "a filter before it": (
        lambda: Log(Max(Sqrt(square(product(product(X, SQUARE), BASIS))), number(1e-5))),
        [True, True],
    ),
    "padding and turning": (
        lambda: Log(
            small(square(product(Pad(product(X, SQUARE[:, :-2]), (0, 1), (0, 1), 0.0), BASIS)))
        ),
        [True, True],
    ),
    "bands of a spectrum": (
        lambda: Log(small(product(square(product(X, BASIS)), np.abs(BASIS[:BANDS])))),
        [True, True],
    ),
    "a transpose": (
        lambda: Log(small(square(Transpose(product(X, BASIS), (1, 0))))),
        [True],
    ),
    "one is added": (lambda: Log(Add(number(1.0), square(product(X, BASIS)))), [False]),
    "a large floor": (lambda: Log(Max(product(X, BASIS), number(0.6))), [False]),
    "no logarithm": (lambda: Sqrt(square(product(X, BASIS))), [False]),
    "a probability": (lambda: Log(Sigmoid(product(X, BASIS))), [False]),
    "a sum of exponentials": (
        lambda: Log(Reduce(Exp(product(X, BASIS)), "sum", (1,))),
        [False],
    ),
    "layers before the last one": (
        lambda: Log(small(square(product(Relu(product(X, SQUARE)), BASIS)))),
        [False, True],
    ),
    "beside the logarithm": (
        lambda: Sub(Log(small(square(product(X, BASIS)))), product(X, BASIS[:, ::-1])),
        [True, False],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_which_products_are_of_float32(name: str) -> None:
    made, wanted = CASES[name]
    assert wide(made()) == wanted
    assert wide(made(), logarithms=False) == [False] * len(wanted)


def decibels(found: Array, wanted: Array) -> float:
    noise = np.mean((found - wanted) ** 2)
    return float(10 * np.log10(np.mean(wanted**2) / noise))


def test_a_quiet_band_beside_a_loud_one() -> None:
    """Against numpy in float64: half precision leaves noise where the loud tone cancels."""
    time = np.arange(SAMPLES) / SAMPLES
    signal = np.stack([np.sin(2 * math.pi * (f + 0.5) * time) for f in (5, 8, 11, 14)])
    x = signal.astype(np.float32)
    exact = np.log(np.square(x.astype(np.float64) @ BASIS.astype(np.float64)) + 1e-9)
    root = Log(small(square(product(X, BASIS))))
    found = [
        decibels(run_graph(converted(root, logarithms=on), {"x": x})["y"], exact)
        for on in (False, True)
    ]
    assert found[0] < 40
    assert found[1] > 80


def test_a_number_in_the_model_may_be_of_any_size() -> None:
    assert wide(Log(Add(square(product(X, BASIS)), constant(0.4, F32)))) == [True]
    assert wide(Log(Add(square(product(X, BASIS)), constant(0.5, F32)))) == [False]
