"""Expressions: what is the same, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from kcompiler.kernel.expr import Apply, Const
from kcompiler.machine.generic.lowering import micro
from kcompiler.machine.simulator.elementwise import immediate_bits

F32 = np.dtype(np.float32)


@pytest.mark.parametrize("values", [(0.0, -0.0), (-0.0, 0.0)])
def test_zeros_of_either_sign_keep_their_bits(values: tuple[float, float]) -> None:
    """Whichever of them was lowered before, alone or in the same expression."""
    consts = [Const(F32, v) for v in values]
    bits = [immediate_bits(v, F32) for v in values]
    assert [micro(c)[-1].immediate for c in consts] == bits
    both = Apply(F32, "add", tuple(consts))
    assert [m.immediate for m in micro(both)[:2]] == bits
    nested = [micro(Apply(F32, "neg", (c,)))[0].immediate for c in consts]
    assert nested == bits


def test_literals_that_are_the_same() -> None:
    """Two NaN are one literal, a number is one whether written whole or not."""
    assert Const(F32, float("nan")) == Const(F32, -float("-nan"))
    assert hash(Const(F32, 1)) == hash(Const(F32, 1.0))
    assert Const(F32, 1) == Const(F32, 1.0)
    assert Const(F32, 0.0) != Const(F32, -0.0)
    assert Const(F32, 1.0) != Const(np.dtype(np.float16), 1.0)
    assert Const(F32, 1.0) != Const(F32, 2.0)
