"""Grids, regions, losses, windows of signals and others that ONNX defines and few models have."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fuzz.maker import F32, I32, I64, MOST, Discarded, Maker
from tests.fuzz.recipe import recipe
from tests.fuzz.recipes_movement import axis_of


@recipe("BlackmanWindow", "HammingWindow", "HannWindow")
def signal_window(m: Maker, operator: str) -> None:
    size = m.known(np.array(m.below(1, 9), m.one(I64, I32)))
    m.emit(operator, [size], m.maybe(periodic=m.below(0, 1), output_datatype=1))


@recipe("MelWeightMatrix")
def mel(m: Maker, operator: str) -> None:
    bins, length, rate = m.below(1, 4), m.one(8, 16), m.one(1000, 8000)
    whole = [m.known(np.array(n, np.int64)) for n in (bins, length, rate)]
    edges = [m.known(np.array(e, np.float32)) for e in (0.0, rate / 2)]
    m.emit(operator, [*whole, *edges])


@recipe("AffineGrid")
def affine_grid(m: Maker, operator: str) -> None:
    n, space = m.one(1, 2), [m.one(1, 2, 3) for _ in range(m.one(2, 3))]
    theta = m.fresh(m.dtype(m.allowed(operator)), (n, len(space), len(space) + 1))
    m.emit(operator, [theta, m.integers(n, 2, *space)], m.maybe(align_corners=m.below(0, 1)))


@recipe("GridSample")
def grid_sample(m: Maker, operator: str) -> None:
    x = m.pick([F32], (4, 4), lambda v: v.size > 0)
    grid = m.fresh(F32, (x.shape[0], m.one(1, 2, 3), m.one(1, 2, 4), 2), "unit")
    modes = ("bilinear", "nearest") if m.opset < 20 else ("linear", "nearest")
    padding = m.one("zeros", "border", "reflection")
    m.emit(operator, [x, grid], m.maybe(mode=m.one(*modes), padding_mode=padding, align_corners=1))


@recipe("Col2Im")
def col2im(m: Maker, operator: str) -> None:
    image, block = [m.one(3, 4, 5) for _ in range(2)], [m.one(1, 2, 3) for _ in range(2)]
    strides = [m.one(1, 2) for _ in range(2)]
    counts = [(n - k) // s + 1 for n, k, s in zip(image, block, strides, strict=True)]
    shape = (m.one(1, 2), m.one(1, 3) * block[0] * block[1], counts[0] * counts[1])
    x = m.fresh(m.dtype([F32, *m.allowed(operator)]), shape)
    m.emit(operator, [x, m.integers(*image), m.integers(*block)], strides=strides)


@recipe("DeformConv")
def deformable(m: Maker, operator: str) -> None:
    x = m.fresh(F32, (m.one(1, 2), m.one(1, 2), m.one(3, 4), m.one(3, 4)))
    k = m.one(1, 2)
    space = [n - k + 1 for n in x.shape[2:]]
    w = m.fresh(F32, (m.one(1, 3), x.shape[1], k, k))
    offset = m.fresh(F32, (x.shape[0], 2 * k * k, *space), "unit")
    mask = m.fresh(F32, (x.shape[0], k * k, *space)) if m.flip() else None
    m.emit(operator, [x, w, offset, None, mask], kernel_shape=[k, k])


@recipe("Det")
def determinant(m: Maker, operator: str) -> None:
    n = m.one(1, 2, 3)
    m.emit(operator, [m.fresh(m.dtype(m.allowed(operator)), (*m.shape(0, 2), n, n))])


@recipe("MaxRoiPool")
def max_roi(m: Maker, operator: str) -> None:
    x = m.fresh(F32, (m.one(1, 2), m.one(1, 3), m.one(4, 5), m.one(4, 5)))
    boxes = [[m.below(0, x.shape[0] - 1), 0, 0, m.below(1, 3), m.below(1, 3)] for _ in range(2)]
    m.emit(operator, [x, m.known(np.array(boxes, np.float32))], pooled_shape=[m.one(1, 2), 2])


@recipe("RoiAlign")
def roi_align(m: Maker, operator: str) -> None:
    x = m.fresh(F32, (m.one(1, 2), m.one(1, 3), m.one(4, 5), m.one(4, 5)))
    count = m.one(1, 2, 3)
    boxes = np.array([[0.1, 0.3, m.number(1, 3), m.number(1, 3)] for _ in range(count)])
    which = np.array([m.below(0, x.shape[0] - 1) for _ in range(count)])
    flags = m.maybe(output_height=2, output_width=m.one(1, 3))
    flags |= m.maybe(mode="max", sampling_ratio=m.below(0, 3))
    rois = m.known(boxes.astype(np.float32)) if m.flip() else m.given(boxes.astype(np.float32))
    m.emit(operator, [x, rois, m.known(which)], flags)


@recipe("MaxUnpool")
def unpool(m: Maker, operator: str) -> None:
    x = m.fresh(F32, (1, m.one(1, 2), 4, 4))
    y, places = m.emit("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2], outputs=2)
    m.emit(operator, [y, places], kernel_shape=[2, 2], strides=[2, 2])


@recipe("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(m: Maker, operator: str) -> None:
    classes, batch = m.one(2, 3, 5), m.one(1, 2, 3)
    space = [m.one(1, 2, 3) for _ in range(m.one(0, 1, 2))]
    x = m.fresh(F32, (batch, classes, *space))
    rng = np.random.default_rng(m.random.getrandbits(32))
    target = np.asarray(rng.integers(0, classes, (batch, *space))).astype(m.one(I64, I32))
    weight = m.fresh(F32, (classes,), "positive") if m.flip(0.3) else None
    flags = m.maybe(reduction=m.one("none", "mean", "sum"), ignore_index=m.below(0, classes))
    outputs = m.one(1, 2) if operator[0] == "S" else 1
    m.emit(operator, [x, m.given(target), weight], flags, outputs=outputs)


@recipe("NonMaxSuppression")
def suppression(m: Maker, operator: str) -> None:
    count = m.one(1, 3, 5)
    low = m.array(F32, (1, count, 2), "positive")
    boxes = np.concatenate([low, low + m.array(F32, (1, count, 2), "positive")], axis=2)
    scores = m.fresh(F32, (1, m.one(1, 2), count), "positive")
    most = m.known(np.array([m.below(1, 3)]))
    limits = [m.known(np.array([v], np.float32)) for v in (0.4, 0.5)]
    m.emit(operator, [m.given(boxes), scores, most, *limits])


@recipe("RotaryEmbedding")
def rotary(m: Maker, operator: str) -> None:
    batch, heads, steps, size = m.one(1, 2), m.one(1, 2), m.one(1, 3), m.one(2, 4)
    x = m.fresh(F32, (batch, heads, steps, size))
    flags = m.maybe(interleaved=m.below(0, 1))
    if m.flip():
        tables = [m.fresh(F32, (batch, steps, size // 2), "unit") for _ in range(2)]
        m.emit(operator, [x, *tables], flags)
        return
    tables = [m.fresh(F32, (5, size // 2), "unit") for _ in range(2)]
    places = np.array([[m.below(0, 4) for _ in range(steps)] for _ in range(batch)])
    m.emit(operator, [x, *tables, m.given(places)], flags)


@recipe("Unique")
def unique(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 3), lambda v: v.size > 0)
    axis = m.maybe(axis=axis_of(m, x))
    m.emit(operator, [x], axis | m.maybe(sorted=m.below(0, 1)), outputs=m.below(1, 4))


@recipe("TensorScatter")
def tensor_scatter(m: Maker, operator: str) -> None:
    batch, steps, size = m.one(1, 2), m.one(3, 4), m.one(1, 3)
    cache = m.fresh(F32, (batch, m.one(1, 2), steps, size))
    update = m.fresh(F32, (*cache.shape[:2], m.one(1, 2), size))
    room = steps - update.shape[2]
    places = m.known(np.array([m.below(0, room) for _ in range(batch)])) if m.flip() else None
    m.emit(operator, [cache, update, places], m.maybe(mode=m.one("linear", "circular")))


@recipe("CumProd")
def cumulate(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    axis = m.known(np.array(axis_of(m, x), m.one(np.int64, np.int32)))
    m.emit(operator, [x, axis], m.maybe(exclusive=m.below(0, 1), reverse=m.below(0, 1)))


@recipe("SwiGLU")
def swiglu(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    m.emit(operator, [x, m.like(x, x.shape)], m.maybe(alpha=m.number(0.5, 2)))


@recipe("BitCast")
def bit_cast(m: Maker, operator: str) -> None:
    x = m.pick([F32, I32])
    m.emit(operator, [x], to=6 if x.dtype == F32 else 1)


@recipe("CausalConvWithState")
def causal(m: Maker, operator: str) -> None:
    batch, channels, length, k = m.one(1, 2), m.one(1, 3), m.one(1, 4), m.one(1, 2, 3)
    x = m.fresh(F32, (batch, channels, length))
    w = m.fresh(F32, (channels, 1, k))
    bias = m.fresh(F32, (channels,)) if m.flip() else None
    past = m.fresh(F32, (batch, channels, k - 1)) if m.flip() and k > 1 else None
    m.emit(operator, [x, w, bias, past], m.maybe(activation=m.one("none", "silu")), outputs=2)


@recipe("LinearAttention")
def linear_attention(m: Maker, operator: str) -> None:
    batch, steps, heads, size = m.one(1, 2), m.one(1, 3), m.one(1, 2), m.one(1, 2)
    parts = [m.fresh(F32, (batch, steps, heads * size)) for _ in range(3)]
    flags: dict[str, Any] = {"q_num_heads": heads, "kv_num_heads": heads, "update_rule": "linear"}
    if batch * steps * heads * size > MOST:
        raise Discarded("a tensor is too large")
    m.emit(operator, parts, flags, outputs=2)
