"""Reductions, sorting, sums along an axis, softmax and normalizations."""

from __future__ import annotations

import numpy as np

from tests.fuzz.maker import F32, I8, U8, Maker
from tests.fuzz.recipe import recipe
from tests.fuzz.recipes_movement import ANY, axes_of, axis_of, plain_axis

_REDUCTIONS = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare
"""


@recipe(*_REDUCTIONS.split())
def reduce(m: Maker, operator: str) -> None:
    kind = "positive" if operator == "ReduceLogSum" else ""
    x = m.pick(m.allowed(operator), (0, 4), kind=kind)
    axes = axes_of(m, x, 1) if x.rank else []
    attributes = m.maybe(keepdims=m.below(0, 1))
    if m.opset < (13 if operator == "ReduceSum" else 18):
        m.emit(operator, [x], attributes | ({"axes": axes} if axes and m.flip(0.7) else {}))
        return
    given = m.integers(*axes) if m.flip(0.7) and (axes or m.flip(0.2)) else None
    noop = m.maybe(noop_with_empty_axes=m.below(0, 1))
    m.emit(operator, [x, given], attributes | noop)


@recipe("ArgMax", "ArgMin")
def arg_reduce(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4), lambda v: 0 not in v.shape)
    last = {"select_last_index": m.below(0, 1)} if m.opset >= 12 and m.flip() else {}
    m.emit(operator, [x], last | m.maybe(keepdims=m.below(0, 1)), axis=plain_axis(m, x))


@recipe("TopK")
def top_k(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4), lambda v: 0 not in v.shape)
    axis = plain_axis(m, x)
    k = m.below(0 if m.flip(0.05) else min(1, x.shape[axis]), x.shape[axis])
    flags = {"largest": m.below(0, 1)} if m.opset >= 11 and m.flip() else {}
    if m.opset < 10:
        m.emit(operator, [x], {"k": k, "axis": axis}, outputs=2)
    else:
        m.emit(operator, [x, m.integers(k)], flags | {"axis": axis}, outputs=2)


@recipe("CumSum")
def cumulate(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    axis = m.known(np.array(axis_of(m, x), m.one(np.int64, np.int32)))
    m.emit(operator, [x, axis], m.maybe(exclusive=m.below(0, 1), reverse=m.below(0, 1)))


@recipe("Softmax", "LogSoftmax", "Hardmax")
def softmax(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    axis = {"axis": plain_axis(m, x)}
    # The default was 1 before opset 13, and no axis of a vector.
    m.emit(operator, [x], axis if x.rank == 1 else m.maybe(**axis))


@recipe("LpNormalization")
def lp_normalization(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    m.emit(operator, [x], m.maybe(axis=axis_of(m, x), p=m.below(1, 2)))


@recipe("MeanVarianceNormalization")
def mean_variance(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (4, 4))
    m.schema(operator)  # which infers no type
    axes = m.maybe(axes=sorted(m.some(range(x.rank), 1)))
    m.emit_known(operator, [x], [(x.dtype, x.shape)], **axes)


@recipe("LayerNormalization", "RMSNormalization")
def layer_normalization(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    axis = axis_of(m, x)
    shape = x.shape[axis:]
    operands = [x, m.like(x, shape)]
    outputs = 1
    if operator == "LayerNormalization":
        operands += [m.like(x, shape)] if m.flip() else []
        outputs = m.one(1, 1, 3)
    attributes = m.maybe(epsilon=m.one(1e-5, 1e-2)) | {"axis": axis}
    m.emit(operator, operands, attributes, outputs=outputs)


@recipe("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
def skip_normalization(m: Maker, operator: str) -> None:
    x = m.pick([F32], (3, 3), lambda v: 0 not in v.shape)
    parts = [x, m.like(x, x.shape), m.fresh(F32, x.shape[-1:])]
    if operator == "SkipLayerNormalization" and m.flip():
        parts.append(m.fresh(F32, x.shape[-1:]))
    m.emit_microsoft(operator, parts, [(F32, x.shape)], epsilon=1e-3)


@recipe("BatchNormalization", "InstanceNormalization", "GroupNormalization")
def channel_normalization(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (2 if operator[0] == "B" else 3, 4))
    channels = x.shape[1]
    attributes = m.maybe(epsilon=m.one(1e-5, 1e-2))
    if operator == "GroupNormalization":
        groups = m.one(*[g for g in (1, 2, 3, 4) if channels % g == 0])
        attributes["num_groups"] = groups
        size = groups if m.opset < 21 else channels
        m.schema(operator)  # which infers no type
        parts = [x, *(m.fresh(x.dtype, (size,)) for _ in range(2))]
        m.emit_known(operator, parts, [(x.dtype, x.shape)], **attributes)
        return
    count = 4 if operator == "BatchNormalization" else 2
    parts = [m.fresh(x.dtype, (channels,), "positive", 0.8) for _ in range(count)]
    m.emit(operator, [x, *parts], attributes)


@recipe("LRN")
def lrn(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (3, 4))
    m.emit(operator, [x], m.maybe(alpha=0.1, beta=0.5, bias=2.0), size=m.one(1, 3, 5))


@recipe("Shape", "Size")
def shape(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    edges = {"start": m.below(-5, 5), "end": m.below(-5, 5)} if operator == "Shape" else {}
    m.emit(operator, [x], m.maybe(**edges) if m.opset >= 15 else {})


@recipe("NonZero")
def non_zero(m: Maker, operator: str) -> None:
    m.emit(operator, [m.pick(m.allowed(operator), (1, 3))])


@recipe("EyeLike")
def eye(m: Maker, operator: str) -> None:
    m.emit(operator, [m.pick(m.allowed(operator), (2, 2))], m.maybe(k=m.below(-2, 2)))


@recipe("Constant")
def constant(m: Maker, operator: str) -> None:
    from onnx import numpy_helper

    data = m.array(m.dtype(ANY), m.shape())
    m.emit(operator, [], value=numpy_helper.from_array(data, "value"))


@recipe("ConstantOfShape")
def constant_of_shape(m: Maker, operator: str) -> None:
    from onnx import numpy_helper

    data = m.array(m.dtype(m.allowed(operator, output=True)), (1,))
    value = m.maybe(value=numpy_helper.from_array(data, "value"))
    m.emit(operator, [m.integers(*m.shape())], value)


@recipe("Range")
def range_(m: Maker, operator: str) -> None:
    dtype = m.dtype(m.allowed(operator))
    step = m.one(1, 2, -1)
    start, stop = m.below(-3, 3), m.below(-3, 8)
    parts = [m.known(np.array(v, dtype)) for v in (start, stop, step)]
    m.emit(operator, parts)


@recipe("DequantizeLinear", "QuantizeLinear")
def quantize(m: Maker, operator: str) -> None:
    if operator == "QuantizeLinear":
        x = m.pick([F32])
        target = m.dtype([U8, I8])
    else:
        x = m.pick([U8, I8])
        target = x.dtype
    axis = plain_axis(m, x) if x.rank and m.opset >= 13 and m.flip() else None
    shape = () if axis is None else (x.shape[axis],)
    scale = m.fresh(F32, shape, "positive", 0.8)
    zero = m.fresh(target, shape, "positive", 0.8) if m.flip(0.8) or target == I8 else None
    m.emit(operator, [x, scale, zero], {} if axis is None else {"axis": axis})


@recipe("DynamicQuantizeLinear")
def dynamic_quantize(m: Maker, operator: str) -> None:
    m.emit(operator, [m.pick([F32], (1, 3), lambda v: v.size > 0)], outputs=3)


@recipe("DFT")
def fourier(m: Maker, operator: str) -> None:
    dtype = m.dtype(m.allowed(operator))
    x = m.fresh(dtype, (m.one(1, 2), m.one(1, 2, 4, 5), m.one(1, 2)))
    flags = m.maybe(inverse=1) if x.shape[-1] == 2 else m.maybe(onesided=1)
    length = m.known(np.array(m.one(3, 4))) if m.flip(0.3) else None
    if m.opset < 20:
        m.emit(operator, [x, length], flags | {"axis": 1})
    else:
        m.emit(operator, [x, length, m.known(np.array(1))], flags)


@recipe("STFT")
def short_fourier(m: Maker, operator: str) -> None:
    dtype = m.dtype(m.allowed(operator))
    x = m.fresh(dtype, (m.one(1, 2), m.one(8, 11), 1))
    step, size = m.known(np.array(m.one(1, 2, 3))), m.one(2, 4)
    window = m.fresh(dtype, (size,)) if m.flip() else None
    length = m.known(np.array(size)) if window is None or m.flip() else None
    m.emit(operator, [x, step, window, length], m.maybe(onesided=m.below(0, 1)))
