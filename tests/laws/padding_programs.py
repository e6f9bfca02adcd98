"""Random graphs with open dimensions: programs that can be built for any extents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st

from kcompiler.buckets.layout import Layout, of_dim, static
from kcompiler.graph import operators as ops
from kcompiler.graph.build import constant, reshape, transpose
from kcompiler.graph.node import Graph, Input, Op
from kcompiler.graph.types import BOOL, F32, TensorType

Step: TypeAlias = tuple[str, int, int, int]
"""What to do, with which two tensors (by their number, modulo how many there are), and how."""

INPUTS: dict[str, tuple[Layout, ...]] = {
    "x": (of_dim("n"), static(4)),
    "y": (static(2), of_dim("n")),
    "z": (of_dim("m"), static(4)),
    "hide": (of_dim("n"),),
}
ZEROED = frozenset(INPUTS) - {"hide"}
"""Inputs whose padding may be anything; that of the mask must be zero."""


def _axis(x: Op, how: int) -> int:
    return how % x.type.rank


def _unary(x: Op, _: Op, how: int) -> Op:
    kinds: list[type[Any]] = [ops.Relu, ops.Sigmoid, ops.Abs, ops.Neg, ops.Tanh, ops.Exp, ops.Cos]
    found: Op = kinds[how % len(kinds)](x)
    return found


def _binary(x: Op, y: Op, how: int) -> Op:
    kinds: list[type[Any]] = [ops.Add, ops.Mul, ops.Max, ops.Sub]
    found: Op = kinds[how % len(kinds)](x, y)
    return found


def _shifted(x: Op, _: Op, how: int) -> Op:
    return ops.Add(x, constant(float(how % 5 - 2), F32))


def _reduced(x: Op, _: Op, how: int) -> Op:
    function = ("sum", "max", "min")[how // 4 % 3]
    return ops.Reduce(x, function, (_axis(x, how),))  # type: ignore[arg-type]


def _merged(x: Op, _: Op, how: int) -> Op:
    if x.type.rank < 2:
        return reshape(x, (*x.shape, 1))
    at = how % (x.type.rank - 1)
    return reshape(x, (*x.shape[:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :]))


def _split(x: Op, _: Op, how: int) -> Op:
    at = _axis(x, how)
    factor = 2 if x.shape[at] % 2 == 0 else 1
    pair = (factor, x.shape[at] // factor) if how % 2 else (x.shape[at] // factor, factor)
    return reshape(x, (*x.shape[:at], *pair, *x.shape[at + 1 :]))


def _product(x: Op, y: Op, how: int) -> Op:
    equation = ("ab,cb->ac", "ab,bc->ac", "ab,ac->bc", "ab,ab->a")[how % 4]
    return ops.Contract(x, y, equation, F32)


def _masked(x: Op, hide: Op, how: int) -> Op:
    """Scores of words, with keys hidden by the mask input or those after a word."""
    size = x.shape[-1]
    low = constant(-np.inf if how % 3 == 0 else -1e9, F32)
    if how % 2:
        seen: Op = constant(np.tri(x.shape[-2], size, dtype=bool), BOOL)
    else:
        seen = ops.Less(constant(0.0, F32), hide)
    return ops.Where(seen, x, low)


def _attention(x: Op, y: Op, how: int) -> Op:
    """Words that see all words, or only those before them."""
    mask = None
    if min(x.type.rank, y.type.rank) < 2:
        raise ValueError("there are no words")
    if how % 2:
        seen = constant(np.tri(x.shape[-2], y.shape[-2], dtype=bool), BOOL)
        low = constant(-np.inf if how % 4 == 1 else -1e9, F32)
        mask = ops.Where(seen, constant(0.0, F32), low)
    return ops.Attention(x, y, y, mask, 0.5)


def _gathered(x: Op, _: Op, how: int) -> Op:
    if x.shape[_axis(x, how)] < 2:
        raise ValueError("there is no row 1")
    return ops.Gather(x, constant([0, 1, 0][: how % 3 + 1], np.dtype(np.int64)), _axis(x, how))


def _sliced(x: Op, _: Op, how: int) -> Op:
    axis = _axis(x, how)
    starts, sizes = [0] * x.type.rank, list(x.shape)
    sizes[axis] = max(1, x.shape[axis] - how // 4 % 3) if how % 2 else 1
    starts[axis] = x.shape[axis] - sizes[axis] if how // 8 % 2 else 0
    return ops.Slice(x, tuple(starts), tuple(sizes), (1,) * x.type.rank)


def _padded(x: Op, _: Op, how: int) -> Op:
    low, high = [0] * x.type.rank, [0] * x.type.rank
    low[_axis(x, how)], high[_axis(x, how)] = how // 4 % 2, how // 8 % 2
    return ops.Pad(x, tuple(low), tuple(high), 0.0)


def _convolved(x: Op, _: Op, how: int) -> Op:
    kernel = np.array([1.0, -2.0, 3.0], np.float32)[: 1 + how % 3]
    image = reshape(x, (x.type.size // x.shape[-1], 1, x.shape[-1]))
    before, after = ((len(kernel) - 1, 0), (len(kernel) // 2, len(kernel) // 2))[how // 4 % 2]
    weights = constant(kernel.reshape(1, 1, -1), F32)
    return ops.Conv(image, weights, (1,), (before,), (after,), (1,), 1, F32)


def _pooled(x: Op, _: Op, how: int) -> Op:
    image = reshape(x, (1, x.type.size // x.shape[-1], x.shape[-1]))
    before, after = ((2, 0), (1, 1))[how // 2 % 2]
    return ops.Window(image, ("max", "sum")[how % 2], (3,), (1,), (before,), (after,), (1,))


STEPS: dict[str, Callable[[Op, Op, int], Op]] = {
    "unary": _unary,
    "binary": _binary,
    "shifted": _shifted,
    "reduced": _reduced,
    "merged": _merged,
    "split": _split,
    "product": _product,
    "attention": _attention,
    "gathered": _gathered,
    "sliced": _sliced,
    "padded": _padded,
    "convolved": _convolved,
    "pooled": _pooled,
    "turned": lambda x, _, how: transpose(
        x, np.roll(range(x.type.rank), how % x.type.rank).tolist()
    ),
    "softmax": lambda x, _, how: ops.Softmax(x, _axis(x, how)),
    "normal": lambda x, _, how: ops.RmsNorm(x, None, (_axis(x, how),), 1e-3),
    "joined": lambda x, y, how: ops.Concat((x, y), _axis(x, how)),
    "running": lambda x, _, how: ops.CumSum(x, _axis(x, how), bool(how & 4), bool(how & 8)),
    "best": lambda x, _, how: ops.Cast(ops.ArgReduce(x, "max", _axis(x, how), bool(how & 4)), F32),
    "repeated": lambda x, _, how: ops.Broadcast(x, (how % 3 + 1, *x.shape)),
}


def built(steps: list[Step], dims: Mapping[str, int]) -> Graph:
    """The graph of a program for some extents; raises `ValueError` where a step makes no sense."""
    sizes = {n: tuple(sum(s.extent(dims) for s in a) for a in axes) for n, axes in INPUTS.items()}
    inputs = tuple(Input(name, TensorType(F32, shape)) for name, shape in sizes.items())
    found: list[Op] = list(inputs[:3])
    for kind, first, second, how in steps:
        x, y = found[first % len(found)], found[second % len(found)]
        if x.type.size > 4000 or x.type.rank > 4 or (kind == "masked" and x.type.rank < 2):
            raise ValueError("too large, or too small")
        found.append(_masked(x, inputs[3], how) if kind == "masked" else STEPS[kind](x, y, how))
    return Graph("program", inputs, (("out", found[-1]),))


def programs() -> st.SearchStrategy[list[Step]]:
    """Programs; a step mostly takes what the step before made."""
    kinds = st.sampled_from([*STEPS, "masked"])
    last, some = st.just(-1), st.integers(0, 6)
    step = st.tuples(kinds, last | some, last | some, st.integers(0, 15))
    return st.lists(step, min_size=1, max_size=6)
