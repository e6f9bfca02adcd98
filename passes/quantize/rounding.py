"""Rounding of weights that looks at the data: each weight makes good the errors of those before.

Of all integers near the weights of a filter, those are sought that change its results least, not
those that are nearest (M. Nagel et al., "Up or Down? Adaptive Rounding for Post-Training
Quantization", ICML 2020). One weight after the other is rounded and the rest move to make up for it
(E. Frantar et al., "GPTQ", ICLR 2023), for the data that really arrive, with the errors of earlier
layers. Weights do not move to make good those errors: that fits the samples, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.operators import Conv
from kcompiler.passes.quantize.formats import INT8, Format
from kcompiler.passes.quantize.layers import Layer
from kcompiler.passes.quantize.weights import Weights, quantize_weights
from kcompiler.scalar import convert

_PER_WEIGHT, _FEWEST, _MOST = 8, 2048, 16384  # positions that are looked at, over all samples
_LONGEST = 1536  # weights of a filter
_BLOCK = 32  # weights of a filter
_DAMPING = 0.01  # of the mean power of the data: weights do not move for less


@dataclass
class Moments:
    """Second moments of the data that each group's filters see: (groups, K, K)."""

    near: Array  # sum of x x'
    count: int


def moments(layer: Layer, near: Sequence[Array], *, centred: bool) -> Moments | None:
    """The moments over all samples, around the means where the bias takes care of these.

    None for what is no plain product, and for filters so long that their inverse takes minutes:
    the more weights there are, the less the rounding of each matters.
    """
    if layer.terms > _LONGEST:
        return None
    wanted = _positions(layer, len(near))
    total: Array = np.zeros(())
    sums: Array = np.zeros(())
    count = 0
    for each in near:
        x = _columns(layer, each, wanted)
        if x is None:
            return None
        sums = sums + x.sum(2, dtype=np.float64)
        count += x.shape[2]
    # Taken off before the products: afterwards rounding is all that is left of data like 5 ± 0.001.
    mean = (sums / count if centred else np.zeros_like(sums))[:, :, None].astype(np.float32)
    for each in near:
        x = _columns(layer, each, wanted)
        if x is not None:
            x = x - mean
            total = total + (x @ x.transpose(0, 2, 1)).astype(np.float64)
    return Moments(total, count)


def _positions(layer: Layer, samples: int) -> int:
    """How many positions of each sample: several for each weight of a filter, over all samples."""
    return -(-min(max(_PER_WEIGHT * layer.terms, _FEWEST), _MOST) // samples)


def _columns(layer: Layer, data: Array, wanted: int) -> Array | None:
    """What filters are multiplied with, at some positions: (groups, K, positions)."""
    if isinstance(layer.op, Conv):
        return _unfolded(layer.op, data, wanted)
    own, other = layer.op.letters[layer.place], layer.op.letters[1 - layer.place]
    summed = [c for c in own if c in other and c not in layer.op.letters[2]]
    if len(own) != 2 or len(summed) != 1:
        return None
    first = np.moveaxis(data, other.index(summed[0]), 0)
    columns = first.reshape(1, len(first), -1)
    return columns[:, :, :: max(1, columns.shape[2] // wanted)]


def _unfolded(conv: Conv, x: Array, wanted: int) -> Array:
    pads = zip((0, 0, *conv.pads_low), (0, 0, *conv.pads_high), strict=True)
    padded = np.pad(x, list(pads)) if any((*conv.pads_low, *conv.pads_high)) else x
    kernel = conv.w.shape[2:]
    reach = [(n - 1) * d + 1 for n, d in zip(kernel, conv.dilations, strict=True)]
    axes = tuple(range(2, x.ndim))
    seen = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=axes)
    places = [slice(None, None, s) for s in conv.strides]
    taps = [slice(None, None, d) for d in conv.dilations]
    seen = seen[(slice(None), slice(None), *places, *taps)]
    n, c, *rest = seen.shape
    out = rest[: len(kernel)]
    step = max(1, int(np.ceil((np.prod(out) * n / wanted) ** (1 / len(out)))))
    thinned = (slice(min(step // 2, (extent - 1) // 2), None, step) for extent in out)
    thin = seen[(slice(None), slice(None), *thinned)]
    moved = np.moveaxis(thin, 1, 0).reshape(c, n, *thin.shape[2:])
    flat = moved.reshape(c, int(np.prod(moved.shape[1 : 2 + len(out)])), -1)
    groups = conv.groups
    return flat.transpose(0, 2, 1).reshape(groups, c // groups * flat.shape[2], flat.shape[1])


def round_weights(
    layer: Layer, found: Moments, least: Array | float, kind: Format = INT8
) -> Weights:
    """The weights of a layer, rounded for its data."""
    weights = layer.weights
    if weights is None:
        raise ValueError(f"{layer.name} has no weights")
    rows = _rows(layer, weights.value.astype(np.float64), found.near.shape[0])
    groups, k = found.near.shape[:2]
    power = np.trace(found.near, axis1=1, axis2=2)[:, None, None] / k
    damping = max(_DAMPING, k / max(found.count, 1)) * power + 1e-12
    h = found.near + damping * np.eye(k)
    diagonal = np.diagonal(h, axis1=1, axis2=2)
    importance = np.broadcast_to(diagonal[:, None, :], rows.shape)
    start = quantize_weights(weights.value, layer.kept, _back(layer, importance), least, kind)
    scale = _rows(layer, np.broadcast_to(start.scale, weights.shape).astype(np.float64), groups)
    values = convert(_one_by_one(rows, scale[:, :, :1], h, kind), kind.dtype)
    return Weights(np.ascontiguousarray(_back(layer, values)), start.scale)


def _one_by_one(w: Array, scale: Array, h: Array, kind: Format) -> Array:
    """Round column by column, the most powerful first; the others take up the error.

    Those of the same block do at once, the rest when the block is done: most of the work is one
    product of matrices a block.
    """
    order = np.argsort(-np.diagonal(h, axis1=1, axis2=2), axis=1, kind="stable")
    sorted_h = np.take_along_axis(np.take_along_axis(h, order[:, :, None], 1), order[:, None, :], 2)
    rest = np.take_along_axis(w, order[:, None, :], 2).transpose(0, 2, 1).copy()
    upper = np.linalg.cholesky(np.linalg.inv(sorted_h)).transpose(0, 2, 1)
    step, count = scale[:, :, 0], rest.shape[1]
    values = np.empty_like(rest)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        errors = np.empty_like(rest[:, start:stop])
        for j in range(start, stop):
            whole = kind.nearest(rest[:, j] / step)
            error = (rest[:, j] - whole * step) / upper[:, j, j, None]
            rest[:, j + 1 : stop] -= upper[:, j, j + 1 : stop, None] * error[:, None]
            values[:, j], errors[:, j - start] = whole, error
        rest[:, stop:] -= upper[:, start:stop, stop:].transpose(0, 2, 1) @ errors
    back = np.argsort(order, axis=1, kind="stable")
    return np.take_along_axis(values, back[:, :, None], 1).transpose(0, 2, 1)


def _rows(layer: Layer, w: Array, groups: int) -> Array:
    """Weights as (groups, filters, K)."""
    if isinstance(layer.op, Conv):
        return w.reshape(groups, w.shape[0] // groups, -1)
    return (w if layer.kept == (0,) else w.T)[None]


def _back(layer: Layer, rows: Array) -> Array:
    """The inverse of `_rows`."""
    shape = layer.op.operands[layer.place].shape
    if isinstance(layer.op, Conv):
        return np.asarray(rows).reshape(shape)
    return np.asarray(rows[0] if layer.kept == (0,) else rows[0].T)
