"""Fused bodies for tests: a Hypothesis strategy for random ones, and running them both ways."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from kcompiler.graph import operators as ops
from kcompiler.graph.matmul import accumulator
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.text import print_graph
from kcompiler.graph.types import F16, F32, I32, TensorType, is_float
from kcompiler.kernel.from_graph import BoundRegion
from kcompiler.kernel.interpreter import run_region

I8 = np.dtype(np.int8)
FLOAT_UNARY = (ops.Relu, ops.Neg, ops.Abs, ops.Sigmoid, ops.Tanh, ops.Exp, ops.Gelu)
INT_UNARY = (ops.Relu, ops.Neg, ops.Abs)
BINARY = (ops.Add, ops.Sub, ops.Mul, ops.Max, ops.Min)


def values(seed: int, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """Small numbers: floats around 0, integers of a few bits."""
    rng = np.random.default_rng(seed)
    if is_float(dtype):
        return np.asarray(rng.uniform(-2, 2, shape)).astype(dtype)
    return rng.integers(-9, 10, shape).astype(dtype)


def fuse(body: Callable[..., Op], *types: TensorType) -> ops.Fused:
    """A fused node whose body is a function of its inputs."""
    inner = tuple(Input(f"x{i}", t) for i, t in enumerate(types))
    outer = tuple(Input(f"x{i}", t) for i, t in enumerate(types))
    return ops.Fused(outer, Graph("body", inner, (("y", body(*inner)),)))


def f32(*shape: int) -> TensorType:
    """A float32 tensor."""
    return TensorType(F32, shape)


def buffers(bound: BoundRegion, given: dict[str, Array]) -> dict[str, Array]:
    """What `run_region` wants, from the values of the graph's inputs by name."""
    names = [o.name for o in bound.region.operands if o.role in {"input", "constant"}]
    found = {}
    for name, op in zip(names, bound.operands, strict=True):
        if isinstance(op, Constant):
            found[name] = op.value
        elif isinstance(op, Input):
            found[name] = given[op.name]
    return found


def run(bound: BoundRegion, fused: ops.Fused, given: Sequence[Array]) -> Array:
    """The region's result in the shape of the fused node."""
    named = {f"x{i}": value for i, value in enumerate(given)}
    return run_region(bound.region, buffers(bound, named)).reshape(fused.shape)


class Body:
    """A fused node that shows its text in failures."""

    def __init__(self, fused: ops.Fused) -> None:
        self.fused = fused

    def __repr__(self) -> str:
        return "\n" + print_graph(self.fused.body)


@st.composite
def bodies(draw: DrawFn) -> Body:
    """Random bodies of a few operators on one or two inputs; they end in anything."""
    kinds: list[np.dtype[Any]] = [F32, F32, F16, I32, I8]
    dtype = draw(st.sampled_from(kinds))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    xs = [Input(f"x{i}", TensorType(dtype, shape)) for i in range(draw(st.integers(1, 2)))]
    pool: list[Op] = [*xs]
    for _ in range(draw(st.integers(1, 6))):
        steps = [step for step in STEPS if step is not _composite or is_float(pool[-1].dtype)]
        x = draw(st.sampled_from(pool[-2:]))
        made = draw(st.sampled_from(steps))(draw, x, pool)
        if made.type.size <= 2000:
            pool.append(made)
    inner = tuple(xs)
    outer = tuple(Input(x.name, x.declared) for x in xs)
    return Body(ops.Fused(outer, Graph("body", inner, (("y", pool[-1]),))))


def _constant(draw: DrawFn, dtype: np.dtype[Any], shape: Sequence[int]) -> Constant:
    return Constant(values(draw(st.integers(0, 99)), dtype, shape))


def _unary(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    return draw(st.sampled_from(FLOAT_UNARY if is_float(x.dtype) else INT_UNARY))(x)


def _binary(draw: DrawFn, x: Op, pool: list[Op]) -> Op:
    fitting = [p for p in pool if p.type == x.type]
    shape = tuple(draw(st.sampled_from([1, n])) for n in x.shape)
    other = draw(st.sampled_from([*fitting, _constant(draw, x.dtype, shape)]))
    return draw(st.sampled_from(BINARY))(x, other)


def _cast(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    kinds = [F32, F16] if is_float(x.dtype) else [I32, I8, F32]
    return ops.Cast(x, draw(st.sampled_from(kinds)))


def _reshape(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    shape = list(x.shape)
    if len(shape) > 1 and draw(st.booleans()):
        d = draw(st.integers(0, len(shape) - 2))
        shape[d : d + 2] = [shape[d] * shape[d + 1]]
    elif shape:
        d = draw(st.integers(0, len(shape) - 1))
        divisors = [k for k in range(1, shape[d] + 1) if shape[d] % k == 0]
        inner = draw(st.sampled_from(divisors))
        shape[d : d + 1] = [shape[d] // inner, inner]
    return ops.Reshape(x, tuple(shape))


def _transpose(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    return ops.Transpose(x, tuple(draw(st.permutations(range(len(x.shape))))))


def _slice(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    starts, sizes, steps = [], [], []
    for extent in x.shape:
        step = draw(st.sampled_from([1, 1, 2, -1]))
        start = draw(st.integers(0, extent - 1))
        room = (extent - 1 - start) // step if step > 0 else start
        starts.append(start)
        sizes.append(draw(st.integers(1, room + 1)))
        steps.append(step)
    return ops.Slice(x, tuple(starts), tuple(sizes), tuple(steps))


def _pad(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    low = tuple(draw(st.integers(0, 2)) for _ in x.shape)
    high = tuple(draw(st.integers(0, 1)) for _ in x.shape)
    return ops.Pad(x, low, high, draw(st.sampled_from([0, 1, -3])))


def _broadcast(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    shape = tuple(draw(st.integers(1, 3)) if n == 1 else n for n in x.shape)
    return ops.Broadcast(x, (*draw(st.sampled_from([(), (2,)])), *shape))


def _concat(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    if not x.shape:
        return ops.Neg(x)
    axis = draw(st.integers(0, len(x.shape) - 1))
    shape = list(x.shape)
    shape[axis] = draw(st.integers(1, 3))
    return ops.Concat((x, _constant(draw, x.dtype, shape)), axis)


def _gather(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    if not x.shape:
        return ops.Neg(x)
    axis = draw(st.integers(0, len(x.shape) - 1))
    index = draw(st.lists(st.integers(-x.shape[axis], x.shape[axis] - 1), min_size=1, max_size=3))
    return ops.Gather(x, Constant(np.array(index)), axis)


def _result(x: Op, y: Op) -> np.dtype[Any]:
    acc = accumulator(x.dtype, y.dtype)
    return x.dtype if is_float(acc) else acc


def _contract(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    letters = "abcdefgh"[: len(x.shape)]
    if not letters or len(letters) > 4:
        return ops.Neg(x)
    extents = dict(zip(letters, x.shape, strict=True)) | {"z": draw(st.integers(1, 4))}
    y = "".join(draw(st.permutations([*draw(st.sets(st.sampled_from(letters), min_size=1)), "z"])))
    other = _constant(draw, x.dtype, [extents[c] for c in y])
    kept = draw(st.sets(st.sampled_from([*letters, "z"]), min_size=1))
    result = "".join(draw(st.permutations(sorted(kept))))
    return ops.Contract(x, other, f"{letters},{y}->{result}", _result(x, other))


def _conv(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    if not 3 <= len(x.shape) <= 4:
        return ops.Neg(x)
    channels, space = x.shape[1], x.shape[2:]
    groups = draw(st.sampled_from([g for g in (1, 2, 3, channels) if channels % g == 0]))
    kernel = tuple(draw(st.integers(1, 3)) for _ in space)
    stride = tuple(draw(st.integers(1, 2)) for _ in space)
    dilation = tuple(draw(st.integers(1, 2)) for _ in space)
    low = tuple(draw(st.integers(0, 2)) for _ in space)
    reach = ((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    high = tuple(max(0, r - n - a) for r, n, a in zip(reach, space, low, strict=True))
    w = _constant(draw, x.dtype, (groups * draw(st.integers(1, 3)), channels // groups, *kernel))
    return ops.Conv(x, w, stride, low, high, dilation, groups, _result(x, w))


def _window(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    if len(x.shape) < 3:
        return ops.Neg(x)
    space = x.shape[2:]
    window = tuple(draw(st.integers(1, min(n, 3))) for n in space)
    stride = tuple(draw(st.integers(1, 2)) for _ in space)
    low = tuple(draw(st.integers(0, w - 1)) for w in window)
    ones = (1,) * len(space)
    function = draw(st.sampled_from(["max", "sum"]))
    return ops.Window(x, function, window, stride, low, (0,) * len(space), ones)  # type: ignore[arg-type]


def _axes(draw: DrawFn, x: Op) -> tuple[int, ...]:
    return tuple(sorted(draw(st.sets(st.sampled_from(range(len(x.shape))), min_size=1))))


def _reduce(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    if not x.shape:
        return ops.Neg(x)
    function = draw(st.sampled_from(["sum", "max", "min"]))
    return ops.Reduce(x, function, _axes(draw, x))  # type: ignore[arg-type]


def _composite(draw: DrawFn, x: Op, _: list[Op]) -> Op:
    if not x.shape or not is_float(x.dtype):
        return ops.Neg(x)
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return ops.Softmax(x, draw(st.integers(0, len(x.shape) - 1)))
    scale = _constant(draw, x.dtype, x.shape[-1:])
    if kind == 1:
        return ops.RmsNorm(x, draw(st.sampled_from([None, scale])), _axes(draw, x), 0.1)
    if kind == 2:
        return ops.LayerNorm(x, scale, draw(st.sampled_from([None, scale])), _axes(draw, x), 0.1)
    if len(x.shape) < 2:
        return ops.Neg(x)
    keys = (*x.shape[:-2], 3, x.shape[-1])
    k, v = _constant(draw, x.dtype, keys), _constant(draw, x.dtype, (*keys[:-1], 2))
    mask = _constant(draw, x.dtype, (x.shape[-2], 3))
    return ops.Attention(x, k, v, draw(st.sampled_from([None, mask])), 0.5)


STEPS = (
    *(_unary, _binary, _cast, _reshape, _transpose, _slice, _pad, _broadcast, _concat, _gather),
    *(_contract, _conv, _window, _reduce, _composite, _composite),
)
