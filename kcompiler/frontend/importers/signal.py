"""Fourier transforms: one product with a table of sines and cosines."""

from __future__ import annotations

import numpy as np

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.helpers import table_size, take, wide
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Op
from kcompiler.graph.types import F64, I64

_LETTERS = "abcdefghijklmnop"


@onnx_op("DFT")
def dft(node: Node) -> Op:
    """Forward and inverse, of real or complex numbers, whole or one side of the spectrum."""
    x, axis = node[0], _axis(node)
    inverse, onesided = node.flag("inverse"), node.flag("onesided")
    length = _length(node, 1)
    if length is None:
        length = x.shape[axis]
        length = 2 * (length - 1) if inverse and onesided else length
    read = length // 2 + 1 if inverse and onesided else length
    return wide(_fitted(x, axis, read), lambda v: _transformed(v, axis, length, inverse, onesided))


def _axis(node: Node) -> int:
    rank = node[0].type.rank
    if node.opset < 20:
        axis = node.integer("axis", 1)
    else:
        given = node.value(2)
        axis = -2 if given is None else int(given.reshape(()).item())
    axis = build.normal_axis(axis, rank)
    if axis == rank - 1 or node[0].shape[-1] not in {1, 2}:
        raise ValueError("the last axis must hold real and imaginary parts")
    return axis


def _length(node: Node, index: int) -> int | None:
    given = node.value(index)
    if given is None:
        return None
    length = int(given.reshape(()).item())
    if length < 1:
        raise ValueError(f"a transform of length {length}")
    return length


@onnx_op("STFT")
def stft(node: Node) -> Op:
    """Transforms of overlapping frames, each weighted by a window."""
    x, window = node[0], node.get(2)
    step = _length(node, 1)
    length = _length(node, 3)
    if length is None and window is not None:
        length = window.shape[0]
    if length is None or step is None:
        raise ValueError("neither a window nor a length is given")
    if x.type.rank != 3 or x.shape[1] < length:
        raise ValueError(f"frames of {length} from a signal of shape {list(x.shape)}")
    starts = np.arange((x.shape[1] - length) // step + 1) * step
    table_size(len(starts), length)
    places = (starts[:, None] + np.arange(length)).reshape(-1)
    frames = take(x, 1, places)
    frames = build.reshape(frames, (x.shape[0], len(starts), length, x.shape[2]))
    if window is not None:
        frames = ops.Mul(frames, build.reshape(window, (length, 1)))
    onesided = node.flag("onesided", True)
    return wide(frames, lambda v: _transformed(v, 2, length, False, onesided))


def _fitted(x: Op, axis: int, length: int) -> Op:
    """The axis cut, or filled with zeros."""
    extent = x.shape[axis]
    if extent > length:
        return build.slice_axis(x, axis, 0, length)
    none = [0] * x.type.rank
    high = [length - extent if i == axis else 0 for i in range(x.type.rank)]
    return build.pad(x, none, high)


def _transformed(x: Op, axis: int, length: int, inverse: bool, onesided: bool) -> Op:
    rank = x.type.rank
    if rank > len(_LETTERS):
        raise NotExpressible(f"a transform of {rank} dimensions")
    table_size(2 * length, 2 * length)
    table = _real(length) if inverse and onesided else _table(length, inverse, onesided)
    table = table[:, : x.shape[-1]]
    letters = _LETTERS[:rank]
    result = letters.replace(letters[axis], "y").replace(letters[-1], "z")
    equation = f"{letters},{letters[axis]}{letters[-1]}yz->{result}"
    return ops.Contract(x, build.constant(table, x.dtype), equation, x.dtype)


def _table(length: int, inverse: bool, onesided: bool) -> Array:
    """[position, part of the input, frequency, part of the result]."""
    bins = length // 2 + 1 if onesided else length
    cosine, sine = _waves(length, np.arange(length), np.arange(bins))
    if not inverse:
        sine = -sine
    from_real = np.stack([cosine, sine], -1)
    from_imaginary = np.stack([-sine, cosine], -1)
    table = np.stack([from_real, from_imaginary], 1)
    return table / length if inverse else table


def _real(length: int) -> Array:
    """From one side of a spectrum to real numbers: [frequency, part, position, 1]."""
    bins = np.arange(length // 2 + 1)
    cosine, sine = _waves(length, bins, np.arange(length))
    twice = np.where((bins == 0) | (2 * bins == length), 1.0, 2.0)[:, None]
    table = np.stack([twice * cosine, -twice * sine], 1)[..., None]
    return np.asarray(table / length)


def _waves(length: int, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Cosine and sine of 2 pi row column / length; what is 0 or 1 is so exactly."""
    turns = np.multiply.outer(rows.astype(I64), columns.astype(I64)) % length
    angle = 2 * np.pi * turns.astype(F64) / length
    quarter = 4 * turns % length == 0
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.where(quarter, np.round(cosine), cosine), np.where(quarter, np.round(sine), sine)
