"""What weights lose in narrow types is said, where it is more than rounding."""

from __future__ import annotations

import numpy as np
import pytest

from kcompiler.graph.node import Constant
from kcompiler.graph.operators import Attention, Contract
from kcompiler.graph.types import F32
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.precision import Precision
from kcompiler.sample import tensor
from tests.passes.test_precision import X, model

WEIGHTS = {
    "beyond": (
        np.where(np.arange(64) < 3, 1e20, 0.5),
        ["a weight of m: 3 of 64 elements are beyond f16 and become its ends, ±65,504"],
    ),
    "tiny": (
        np.full(64, 1e-12),
        ["a weight of m: 64 of 64 elements are too small for f16 and become 0"],
    ),
    "tiny beside zeros": (
        np.where(np.arange(64) < 5, 1e-30, 0),
        ["a weight of m: 5 of 64 elements are too small for f16 and become 0"],
    ),
    "tiny beside others": (np.where(np.arange(64) < 60, 1e-12, 0.5), []),
    "infinite": (np.where(np.arange(64) < 3, np.inf, 0.5), []),
    "usual": (np.linspace(-2, 2, 64), []),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_what_weights_lose_is_said(case: str) -> None:
    value, expected = WEIGHTS[case]
    w = Constant(value.astype(np.float32).reshape(8, 8))
    log: list[str] = []
    product = Contract(X, w, "ik,kj->ij", F32).with_origin(("m",))
    Precision(log=log).run(Fuse().run(model(product)))
    assert log == expected
    Precision("f32", log=log).run(Fuse().run(model(product)))
    assert log == expected


def test_masks_that_hide_are_no_loss() -> None:
    log: list[str] = []
    mask = Constant(np.where(np.tri(4) > 0, 0, np.finfo(np.float32).min).astype(np.float32))
    q = tensor("q", 1, 4, 8)
    Precision(log=log).run(Fuse().run(model(Attention(q, q, q, mask, 0.5))))
    assert not log
