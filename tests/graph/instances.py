"""Hypothesis strategies for operators: an instance is a node whose operands have values.

Element-wise operators follow from the table of scalar functions alone; the others have one maker a
kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import hypothesis.extra.numpy as hnp
import ml_dtypes
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Input, Op
from kcompiler.graph.table import operator_kinds
from kcompiler.graph.types import BF16, BOOL, F16, F32, F64, I32, I64, TensorType, is_float
from kcompiler.scalar import FUNCTIONS, convert

I8 = np.dtype(np.int8)
U8 = np.dtype(np.uint8)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
FLOATS = (F32, F16, BF16, F64)
INTEGERS = (I32, I64, I8, U8)
TYPES = {
    "float": FLOATS,
    "integer": INTEGERS,
    "number": (*FLOATS, *INTEGERS),
    "bool": (BOOL,),
    "any": (*FLOATS, *INTEGERS, BOOL),
}
# These are made by the frontend and by passes, not computed: they have tests of their own.
STRUCTURE = (ops.Input, ops.Constant, ops.Host, ops.Item, ops.Fused)


class Instance:
    """A node whose operands are inputs, and values for them.

    Not a dataclass: Hypothesis would print all fields of all nodes instead of the `repr`.
    """

    def __init__(self, op: Op, values: tuple[Array, ...]) -> None:
        self.op = op
        self.values = values

    @property
    def result(self) -> Array:
        return self.op.evaluate(*self.values)

    def __repr__(self) -> str:
        operands = ", ".join(str(o.type) for o in self.op.operands)
        return f"{type(self.op).__name__}({operands}; {self.op.attributes})"


Draw = st.DrawFn
Maker = Callable[[Draw], Instance]
_MAKERS: dict[type[Op], Maker] = {}


def instances(kind: type[Op]) -> st.SearchStrategy[Instance]:
    """Well-typed nodes of a kind."""
    if issubclass(kind, ops.Elementwise) and kind is not ops.Cast:
        return _elementwise(kind)
    return st.composite(_MAKERS[kind])()


def kinds() -> tuple[type[Op], ...]:
    """All kinds that have a strategy; a new operator must get one."""
    return tuple(k for k in operator_kinds() if k not in STRUCTURE)


# Tests are parametrized by name: with a class in the parameters, Hypothesis fails to shrink.
NAMES = tuple(kind.__name__ for kind in kinds())


def node(make: Callable[..., Op], *values: Array | None) -> Instance:
    """An instance from operand values; None leaves an optional operand out."""
    given = [None if v is None else Input("", TensorType(v.dtype, v.shape)) for v in values]
    return Instance(make(*given), tuple(v for v in values if v is not None))


def array(draw: Draw, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """Random elements; those of floats have one of several magnitudes, and sometimes many ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype == BOOL:
        return np.asarray(rng.random(shape) < 0.5)
    if is_float(dtype):
        wide = rng.standard_normal(shape) * 2.0 ** draw(st.integers(-3, 3))
        ties = draw(st.booleans())
        return convert(np.asarray(np.rint(wide * 2) / 2 if ties else wide), dtype)
    info = np.iinfo(dtype)
    span = draw(st.sampled_from([3, 120]))
    low, high = max(info.min, -span), min(info.max, span)
    return np.asarray(rng.integers(low, high, shape, endpoint=True)).astype(dtype)


def shapes(min_dims: int = 0, max_dims: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=1, max_side=5)


@st.composite
def _elementwise(draw: Draw, kind: type[ops.Elementwise]) -> Instance:
    function = FUNCTIONS[kind.function]
    common = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    own = [_cut(draw, common) for _ in range(function.arity)]
    dtype = draw(st.sampled_from(TYPES[function.domain]))
    types = [BOOL, dtype, dtype] if kind is ops.Where else [dtype] * function.arity
    values = [array(draw, t, s) for t, s in zip(types, own, strict=True)]
    if is_float(dtype) and draw(st.booleans()):
        values = [_with_specials(draw, v) if v.dtype == dtype else v for v in values]
    if kind in {ops.Shl, ops.Shr}:
        values[1] = np.asarray(values[1].astype(np.int64) % 8, dtype)
    if kind in {ops.Div, ops.Mod, ops.Fmod, ops.Pow} and not is_float(dtype):
        values[1] = np.asarray(np.maximum(np.abs(values[1]), 1), dtype)  # ONNX defines no more
    if kind is ops.Pow and not is_float(dtype):
        values = [np.asarray(v % 4, dtype) for v in values]  # onnxruntime saturates where we wrap
    return node(kind, *values)


def _cut(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to another."""
    ones = draw(st.tuples(*[st.booleans()] * len(shape)))
    extents = tuple(1 if one else extent for one, extent in zip(ones, shape, strict=True))
    return extents[draw(st.integers(0, len(shape))) :]


def _with_specials(draw: Draw, x: Array) -> Array:
    """`x` with zeros, infinities, NaN and large numbers in places."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    special = convert(rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1e4, -1e4], x.shape), x.dtype)
    return np.where(rng.random(x.shape) < 0.5, x, special)


def _maker(kind: type[Op]) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        _MAKERS[kind] = maker
        return maker

    return register


def _float(draw: Draw) -> np.dtype[Any]:
    return draw(st.sampled_from(FLOATS))


def _number(draw: Draw) -> np.dtype[Any]:
    return draw(st.sampled_from(TYPES["number"]))


def _axis(draw: Draw, x: Array) -> int:
    return draw(st.integers(0, x.ndim - 1))


def _axes(draw: Draw, x: Array) -> tuple[int, ...]:
    return tuple(sorted(draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))))


@_maker(ops.Cast)
def _cast(draw: Draw) -> Instance:
    x = array(draw, draw(st.sampled_from(TYPES["any"])), draw(shapes()))
    dtype = draw(st.sampled_from(TYPES["any"]))
    if is_float(x.dtype) and dtype == U8:
        x = np.asarray(np.abs(x))  # ONNX leaves open what becomes of a number out of range
    return node(lambda v: ops.Cast(v, dtype), x)


@_maker(ops.Quantize)
def _quantize(draw: Draw) -> Instance:
    x = array(draw, _float(draw), draw(shapes(min_dims=1)))
    scale, zero = _steps(draw, x, F64 if x.dtype == F64 else F32)
    return node(ops.Quantize, x, scale, zero)


@_maker(ops.Dequantize)
def _dequantize(draw: Draw) -> Instance:
    x = array(draw, draw(st.sampled_from([I8, U8, E4M3])), draw(shapes(min_dims=1)))
    scale, zero = _steps(draw, x, draw(st.sampled_from([F32, F64])))
    return node(ops.Dequantize, x, scale, _zeros(zero, x.dtype))


def _zeros(zero: Array, dtype: np.dtype[Any]) -> Array:
    """Zero points of a type; those of floats are 0."""
    return np.zeros(zero.shape, dtype) if is_float(dtype) else convert(zero, dtype)


def _steps(draw: Draw, x: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """A scale and a zero point: one of all, or one a channel."""
    axis = draw(st.none() | st.integers(0, x.ndim - 1))
    shape = () if axis is None else (x.shape[axis], *[1] * (x.ndim - 1 - axis))
    scale = 2.0 ** draw(st.integers(-6, 2)) * (1 + np.abs(array(draw, dtype, shape)))
    kind = draw(st.sampled_from([I8, U8, E4M3]))
    return np.asarray(scale, dtype), _zeros(array(draw, kind, shape), kind)


@_maker(ops.Reshape)
def _reshape(draw: Draw) -> Instance:
    x = array(draw, _number(draw), draw(shapes()))
    target = draw(st.permutations([*x.shape, 1]))
    return node(lambda v: ops.Reshape(v, tuple(target)), x)


@_maker(ops.Transpose)
def _transpose(draw: Draw) -> Instance:
    x = array(draw, _number(draw), draw(shapes()))
    return node(lambda v: ops.Transpose(v, tuple(draw(st.permutations(range(x.ndim))))), x)


@_maker(ops.Slice)
def _slice(draw: Draw) -> Instance:
    x = array(draw, _number(draw), draw(shapes()))
    starts, sizes, steps = [], [], []
    for extent in x.shape:
        start, step = draw(st.integers(0, extent - 1)), draw(st.sampled_from([1, 2, 3, -1, -2]))
        most = (extent - 1 - start) // step + 1 if step > 0 else start // -step + 1
        starts.append(start)
        sizes.append(draw(st.integers(0, most)))
        steps.append(step)
    return node(lambda v: ops.Slice(v, tuple(starts), tuple(sizes), tuple(steps)), x)


@_maker(ops.Pad)
def _pad(draw: Draw) -> Instance:
    x = array(draw, _number(draw), draw(shapes()))
    amounts = st.tuples(*[st.integers(0, 3)] * x.ndim)
    value = draw(st.sampled_from([0, 3, 0.5])) if is_float(x.dtype) else draw(st.integers(0, 9))
    return node(lambda v: ops.Pad(v, draw(amounts), draw(amounts), value), x)


@_maker(ops.Concat)
def _concat(draw: Draw) -> Instance:
    first = array(draw, _number(draw), draw(shapes(min_dims=1)))
    axis = _axis(draw, first)
    extents = draw(st.lists(st.integers(0, 4), max_size=3))
    around = first.shape[:axis], first.shape[axis + 1 :]
    rest = [array(draw, first.dtype, (*around[0], n, *around[1])) for n in extents]
    return node(lambda *vs: ops.Concat(vs, axis), first, *rest)


@_maker(ops.Broadcast)
def _broadcast(draw: Draw) -> Instance:
    target = draw(shapes())
    x = array(draw, _number(draw), _cut(draw, target))
    return node(lambda v: ops.Broadcast(v, target), x)


@_maker(ops.Gather)
def _gather(draw: Draw) -> Instance:
    x = array(draw, _number(draw), draw(shapes(min_dims=1)))
    axis = _axis(draw, x)
    index = st.integers(-x.shape[axis], x.shape[axis] - 1)
    indices = draw(hnp.arrays(np.int64, shapes(max_dims=2), elements=index))
    return node(lambda v, i: ops.Gather(v, i, axis), x, indices)


@_maker(ops.Contract)
def _contract(draw: Draw) -> Instance:
    extents = {c: draw(st.integers(1, 6)) for c in "abcdef"}
    x, y = (draw(st.permutations("abcdef"))[: draw(st.integers(0, 4))] for _ in "xy")
    either = sorted({*x, *y})
    kept = draw(st.permutations(either))[: draw(st.integers(0, min(len(either), 4)))]
    equation = f"{''.join(x)},{''.join(y)}->{''.join(kept)}"
    x_type, y_type, dtype = draw(st.sampled_from(_PRODUCTS))
    values = (array(draw, t, [extents[c] for c in v]) for t, v in ((x_type, x), (y_type, y)))
    return node(lambda a, b: ops.Contract(a, b, equation, dtype), *values)


_PRODUCTS = (
    *((t, t, t) for t in (*FLOATS, I32, I64)),
    *((F16, F16, F32), (BF16, F16, F32), (I8, I8, I32), (U8, I8, I32), (U8, U8, I32)),
)


@_maker(ops.Conv)
def _conv(draw: Draw) -> Instance:
    rank = draw(st.integers(1, 3))
    groups, inner, outer = (draw(st.integers(1, 3)) for _ in range(3))
    spatial, kernel, window = _window_of(draw, rank)
    x_type, y_type, dtype = draw(st.sampled_from(_PRODUCTS))
    x = array(draw, x_type, (draw(st.integers(1, 2)), groups * inner, *spatial))
    w = array(draw, y_type, (groups * outer, inner, *kernel))
    return node(lambda v, u: ops.Conv(v, u, **window, groups=groups, dtype=dtype), x, w)


def _window_of(draw: Draw, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Spatial extents, a window that fits into them, and its attributes."""
    kernel, strides, dilations, low, high, spatial = [], [], [], [], [], []
    for _ in range(rank):
        k, d = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        reach = (k - 1) * d + 1
        pads = draw(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)))
        kernel.append(k)
        dilations.append(d)
        strides.append(draw(st.integers(1, 3)))
        low.append(pads[0])
        high.append(pads[1])
        spatial.append(draw(st.integers(max(reach - sum(pads), 1), 7)))
    attributes = {"strides": strides, "pads_low": low, "pads_high": high, "dilations": dilations}
    return tuple(spatial), tuple(kernel), {k: tuple(v) for k, v in attributes.items()}


@_maker(ops.Window)
def _window(draw: Draw) -> Instance:
    spatial, kernel, attributes = _window_of(draw, draw(st.integers(1, 3)))
    x = array(draw, draw(st.sampled_from([*FLOATS, I32])), (2, 3, *spatial))
    function: Literal["max", "sum"] = draw(st.sampled_from(["max", "sum"]))
    instance = node(lambda v: ops.Window(v, function, kernel, **attributes), x)
    assume(not np.isinf(instance.result.astype(F64)).any())  # a window of padding alone is nobody's
    return instance


@_maker(ops.Reduce)
def _reduce(draw: Draw) -> Instance:
    x = array(draw, _number(draw), draw(shapes(min_dims=1)))
    function: Literal["sum", "max", "min", "prod"]
    function = draw(st.sampled_from(["sum", "max", "min", "prod"]))
    if function == "prod" and not is_float(x.dtype):
        x = np.sign(x)  # onnxruntime saturates where we wrap
    return node(lambda v: ops.Reduce(v, function, _axes(draw, x)), x)


@_maker(ops.ArgReduce)
def _arg_reduce(draw: Draw) -> Instance:
    x = array(draw, _number(draw), draw(shapes(min_dims=1)))
    function: Literal["max", "min"] = draw(st.sampled_from(["max", "min"]))
    return node(lambda v: ops.ArgReduce(v, function, _axis(draw, x), draw(st.booleans())), x)


@_maker(ops.CumSum)
def _cumsum(draw: Draw) -> Instance:
    x = array(draw, draw(st.sampled_from([*FLOATS, I32, I64])), draw(shapes(min_dims=1)))
    flags = draw(st.tuples(st.booleans(), st.booleans()))
    return node(lambda v: ops.CumSum(v, _axis(draw, x), *flags), x)


@_maker(ops.TopKValues)
def _top_values(draw: Draw) -> Instance:
    return _top(draw, ops.TopKValues)


@_maker(ops.TopKIndices)
def _top_indices(draw: Draw) -> Instance:
    return _top(draw, ops.TopKIndices)


def _top(draw: Draw, kind: type[ops.TopKValues | ops.TopKIndices]) -> Instance:
    x = array(draw, draw(st.sampled_from([*FLOATS, I32, I64])), draw(shapes(min_dims=1)))
    axis = _axis(draw, x)
    k = draw(st.integers(1, x.shape[axis]))
    return node(lambda v: kind(v, k, axis, draw(st.booleans())), x)


@_maker(ops.Softmax)
def _softmax(draw: Draw) -> Instance:
    x = array(draw, _float(draw), draw(shapes(min_dims=1)))
    return node(lambda v: ops.Softmax(v, _axis(draw, x)), x)


@_maker(ops.LayerNorm)
def _layer_norm(draw: Draw) -> Instance:
    x, scale, bias = _normed(draw)
    return node(
        lambda v, s, b: ops.LayerNorm(v, s, b, _axes(draw, x), draw(_EPSILONS)), x, scale, bias
    )


@_maker(ops.RmsNorm)
def _rms_norm(draw: Draw) -> Instance:
    x, scale, _ = _normed(draw)
    return node(lambda v, s: ops.RmsNorm(v, s, _axes(draw, x), draw(_EPSILONS)), x, scale)


_EPSILONS = st.sampled_from([1e-5, 1e-3, 0.1])


def _normed(draw: Draw) -> tuple[Array, Array | None, Array | None]:
    x = array(draw, _float(draw), draw(shapes(min_dims=1)))
    cut = [x.shape[draw(st.integers(0, x.ndim)) :] for _ in range(2)]
    scale, bias = (array(draw, x.dtype, c) if draw(st.booleans()) else None for c in cut)
    return x, scale, bias


@_maker(ops.Attention)
def _attention(draw: Draw) -> Instance:
    batch = draw(shapes(max_dims=2))
    sq, sk, d, dv = (draw(st.integers(1, 6)) for _ in range(4))
    dtype = _float(draw)
    q, k, v = (array(draw, dtype, (*batch, *s)) for s in ((sq, d), (sk, d), (sk, dv)))
    mask = None
    if draw(st.booleans()):
        mask = array(draw, dtype, draw(st.sampled_from([(sq, sk), (1, sk), (*batch, sq, sk)])))
    return node(lambda *o: ops.Attention(o[0], o[1], o[2], o[3], 1 / math.sqrt(d)), q, k, v, mask)
