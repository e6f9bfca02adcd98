"""Contractions and windows take up the pads and transposes around them."""

from __future__ import annotations

import numpy as np

from kcompiler.graph.node import Op
from kcompiler.graph.operators import Contract, Conv, Pad, Transpose, Window
from kcompiler.graph.types import F32, is_float
from kcompiler.pattern import Any, node, one_of
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import tensor, weight
from kcompiler.scalar import lowest

X = Any("x")


class PadInside(Rule):
    """Padding before a convolution or a window becomes its own.

    The value must be what the operator pads with: 0, or below all values for a maximum.
    """

    pattern = one_of(
        node(Conv, node(Pad, X, name="pad"), Any("w")), node(Window, node(Pad, X, name="pad"))
    )
    exact = True

    def check(self, match: Match) -> str | None:
        pad, root = match.node(Pad, "pad"), match.root
        if any((*pad.low[:2], *pad.high[:2])):
            return "batch or channels are padded"
        if isinstance(root, Window) and root.function == "max":
            low = float(lowest(root.dtype)) if not is_float(root.dtype) else -3e4
            return None if pad.value <= low else f"{pad.value} is not below all values"
        return None if pad.value == 0 else f"{pad.value} is not 0"

    def build(self, match: Match) -> Op:
        pad, root = match.node(Pad, "pad"), match.root
        if not isinstance(root, Conv | Window):
            raise TypeError(f"not a window: {root!r}")
        low = tuple(a + b for a, b in zip(root.pads_low, pad.low[2:], strict=True))
        high = tuple(a + b for a, b in zip(root.pads_high, pad.high[2:], strict=True))
        if isinstance(root, Conv):
            return Conv(
                pad.x, root.w, root.strides, low, high, root.dilations, root.groups, root.dtype
            )
        return Window(pad.x, root.function, root.window, root.strides, low, high, root.dilations)

    def example(self, rng: np.random.Generator) -> Op:
        x = tensor("x", 1, 2, 5)
        around = ((0, 0, 1), (0, 0, 2))
        if rng.integers(2):
            w = weight(rng, 3, 2, 3)
            return Conv(Pad(x, *around, 0), w, (2,), (0,), (1,), (1,), 1, F32)
        lowest_ = Pad(x, *around, -np.inf)
        if rng.integers(2):
            return Window(lowest_, "max", (3,), (1,), (1,), (0,), (1,))
        return Window(Pad(x, *around, 0), "sum", (3,), (1,), (1,), (0,), (1,))


class TransposeIntoContract(Rule):
    """A transpose before or after a contraction only renames its letters."""

    pattern = one_of(
        node(Contract, node(Transpose, X, name="left"), Any("y")),
        node(Contract, Any("y"), node(Transpose, X, name="right")),
        node(Transpose, node(Contract, X, Any("y"), name="inner")),
    )
    exclusive = True

    def build(self, match: Match) -> Op:
        if "inner" in match:
            inner, perm = match.node(Contract, "inner"), match.node(Transpose, "root").perm
            x, y, result = inner.letters
            moved = "".join(result[p] for p in perm)
            return Contract(inner.x, inner.y, f"{x},{y}->{moved}", inner.dtype)
        root = match.node(Contract, "root")
        x, y, result = root.letters
        if "left" in match:
            x = _before(x, match.node(Transpose, "left").perm)
            return Contract(match["x"], match["y"], f"{x},{y}->{result}", root.dtype)
        y = _before(y, match.node(Transpose, "right").perm)
        return Contract(match["y"], match["x"], f"{x},{y}->{result}", root.dtype)

    def example(self, rng: np.random.Generator) -> Op:
        x, y = tensor("x", 2, 3, 4), tensor("y", 2, 4, 5)
        turned = Transpose(tensor("x", 3, 4, 2), (2, 0, 1))
        return (
            Contract(turned, y, "bij,bjk->bik", F32),
            Contract(y, turned, "bjk,bij->bik", F32),
            Transpose(Contract(x, y, "bij,bjk->bik", F32), (2, 0, 1)),
        )[rng.integers(3)]


def _before(letters: str, perm: tuple[int, ...]) -> str:
    """The letters of a tensor whose transpose has `letters`."""
    return "".join(letters[perm.index(i)] for i in range(len(perm)))


RULES: tuple[Rule, ...] = (PadInside(), TransposeIntoContract())
