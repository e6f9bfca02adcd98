"""Sums of products: contraction and convolution."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from kcompiler.graph.matmul import accumulator, matmul
from kcompiler.graph.node import Array, Op, Tensor
from kcompiler.graph.operators.check import require, windows
from kcompiler.graph.types import TensorType, is_float
from kcompiler.scalar import convert

# Worked on at a time: enough for BLAS and for numpy's loops, small enough for the caches.
_COLUMN_BYTES = 1 << 23
_PLANE_BYTES = 1 << 19


def _result_dtype(op: Op, x: Op, y: Op, dtype: np.dtype[Any]) -> np.dtype[Any]:
    try:
        acc = accumulator(x.dtype, y.dtype)
    except ValueError as problem:
        require(False, op, str(problem))
        raise
    require(is_float(acc) == is_float(dtype), op, f"sums in {acc} cannot become {dtype}")
    return dtype


class Contract(Op):
    """A sum of products of two tensors in Einstein's notation, like "bik,bkj->bij".

    Letters of equal name have equal extents; those not in the result are summed over. Floats
    accumulate in float32, 8-bit integers in int32; `dtype` is the element type of the result.
    """

    x: Tensor
    y: Tensor
    equation: str
    dtype: np.dtype[Any]

    @property
    def letters(self) -> tuple[str, str, str]:
        """The letters of x, of y and of the result."""
        operands, _, result = self.equation.partition("->")
        x, _, y = operands.partition(",")
        return x, y, result

    @property
    def extents(self) -> dict[str, int]:
        """Letter -> extent."""
        x, y, _ = self.letters
        return dict(zip(x, self.x.shape, strict=True)) | dict(zip(y, self.y.shape, strict=True))

    def infer(self) -> TensorType:
        x, y, result = self.letters
        require(self.equation == f"{x},{y}->{result}", self, 'the equation must read "ab,bc->ac"')
        for part, tensor in ((x, self.x), (y, self.y)):
            require(len(part) == tensor.type.rank, self, f"{part!r} needs a letter a dimension")
        for part in (x, y, result):
            distinct = len(set(part)) == len(part) and part.isascii()
            require(
                distinct and (part.isalpha() or not part), self, f"{part!r} needs distinct letters"
            )
        known = self.extents
        same = all(known[letter] == extent for letter, extent in zip(x, self.x.shape, strict=True))
        require(same, self, "a letter must have one extent")
        require(set(result) <= known.keys(), self, "a letter of the result must be in an operand")
        dtype = _result_dtype(self, self.x, self.y, self.dtype)
        return TensorType(dtype, tuple(known[letter] for letter in result))

    def evaluate(self, x: Array, y: Array) -> Array:
        x, xs = _sum_alone(x, self.letters[0], self.letters[1] + self.letters[2])
        y, ys = _sum_alone(y, self.letters[1], self.letters[0] + self.letters[2])
        result = self.letters[2]
        batch = "".join(c for c in xs if c in ys and c in result)
        summed = "".join(c for c in xs if c in ys and c not in result)
        rows = "".join(c for c in xs if c not in ys)
        columns = "".join(c for c in ys if c not in xs)
        left = _grouped(x, xs, batch, rows, summed)
        right = _grouped(y, ys, batch, summed, columns)
        order = batch + rows + columns
        full = matmul(left, right).reshape([self.extents[c] for c in order])
        return convert(full.transpose([order.index(c) for c in result]), self.dtype)

    def macs(self) -> int:
        return math.prod(self.extents.values())


def _sum_alone(x: Array, letters: str, elsewhere: str) -> tuple[Array, str]:
    """Sum over the letters that occur nowhere else, in the accumulator type."""
    alone = tuple(i for i, c in enumerate(letters) if c not in elsewhere)
    if not alone:
        return x, letters
    summed = x.astype(accumulator(x.dtype, x.dtype)).sum(alone)
    return np.asarray(summed), "".join(c for c in letters if c in elsewhere)


def _grouped(x: Array, letters: str, *groups: str) -> Array:
    """`x` with its letters in the order of the groups, each group one dimension but the first."""
    moved = x.transpose([letters.index(c) for c in "".join(groups)])
    split = len(groups[0])
    sizes, at = list(moved.shape[:split]), split
    for group in groups[1:]:
        sizes.append(math.prod(moved.shape[at : at + len(group)]))
        at += len(group)
    return moved.reshape(sizes)


class Conv(Op):
    """Cross-correlation of x[N, C, S…] with w[M, C/groups, K…], for 1 to 3 spatial dimensions."""

    x: Tensor
    w: Tensor
    strides: tuple[int, ...]
    pads_low: tuple[int, ...]
    pads_high: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int
    dtype: np.dtype[Any]

    def infer(self) -> TensorType:
        x, w = self.x.shape, self.w.shape
        require(3 <= len(x) <= 5 and len(x) == len(w), self, "x is [N,C,S…], w [M,C/groups,K…]")
        require(self.groups > 0 and w[0] % self.groups == 0, self, "groups must divide M")
        require(x[1] == w[1] * self.groups, self, "C must be groups times w's second dimension")
        out = windows(
            self,
            x[2:],
            window=w[2:],
            strides=self.strides,
            pads_low=self.pads_low,
            pads_high=self.pads_high,
            dilations=self.dilations,
        )
        dtype = _result_dtype(self, self.x, self.w, self.dtype)
        return TensorType(dtype, (x[0], w[0], *out))

    def macs(self) -> int:
        return self.type.size * math.prod(self.w.shape[1:])

    def evaluate(self, x: Array, w: Array) -> Array:
        acc = accumulator(x.dtype, w.dtype)
        if is_float(acc):
            x, w = convert(x, acc), convert(w, acc)
        pads = zip((0, 0, *self.pads_low), (0, 0, *self.pads_high), strict=True)
        padded = np.pad(x, list(pads)) if any((*self.pads_low, *self.pads_high)) else x
        if self.w.shape[1] == 1 and self.groups > 1:
            return convert(self._depthwise(padded.astype(acc), w.astype(acc)), self.dtype)
        return convert(self._unfolded(padded, w), self.dtype)

    def _depthwise(self, x: Array, w: Array) -> Array:
        """A multiply-add a kernel position: one input channel makes no matrix worth the name."""
        multiplier = self.shape[1] // self.groups
        result = np.zeros((self.shape[0], self.groups, multiplier, *self.shape[2:]), x.dtype)
        weights = w.reshape(self.groups, multiplier, *w.shape[2:])
        plane = multiplier * math.prod(self.shape[2:]) * self.shape[0] * x.itemsize
        block = max(1, _PLANE_BYTES // max(plane, 1))
        for start in range(0, self.groups, block):
            part = slice(start, start + block)
            self._accumulate(result[:, part], x[:, part], weights[part])
        return result.reshape(self.shape)

    def _accumulate(self, result: Array, x: Array, weights: Array) -> None:
        ones = (1,) * len(self.strides)
        for k in product(*map(range, weights.shape[2:])):
            tap: tuple[Any, ...] = (slice(None), slice(None), *k)
            weight = weights[tap].reshape(*weights.shape[:2], *ones)
            result += self._shifted(x, k)[:, :, None] * weight

    def _shifted(self, x: Array, k: tuple[int, ...]) -> Array:
        """The padded input as kernel position k sees it."""
        steps = zip(k, self.dilations, self.strides, self.shape[2:], strict=True)
        cut = tuple(slice(i * d, i * d + (n - 1) * s + 1, s) for i, d, s, n in steps)
        return x[(slice(None), slice(None), *cut)]

    def _unfolded(self, x: Array, w: Array) -> Array:
        """A matrix product with the input unfolded to columns, a stripe of rows at a time."""
        g, kernel = self.groups, w.shape[2:]
        weights = w.reshape(g, w.shape[0] // g, math.prod(w.shape[1:]))
        unfolded = np.lib.stride_tricks.sliding_window_view(
            x,
            [(n - 1) * d + 1 for n, d in zip(kernel, self.dilations, strict=True)],
            axis=tuple(range(2, x.ndim)),
        )
        places = tuple(slice(None, None, s) for s in self.strides)
        taps = tuple(slice(None, None, d) for d in self.dilations)
        unfolded = unfolded[(slice(None), slice(None), *places, *taps)]
        result = np.empty(self.shape, accumulator(x.dtype, w.dtype))
        row = unfolded[:, :, :1].size * x.itemsize
        stripe = max(1, _COLUMN_BYTES // max(row, 1))
        for start in range(0, self.shape[2], stripe):
            part = unfolded[:, :, start : start + stripe]
            result[:, :, start : start + stripe] = self._multiply(weights, part)
        return result

    def _multiply(self, weights: Array, part: Array) -> Array:
        """weights[g, M/g, C/g*K] times part[N, C, *S, K…]."""
        n, spatial = part.shape[0], len(self.strides)
        out = part.shape[2 : 2 + spatial]
        split = part.reshape(n, self.groups, part.shape[1] // self.groups, *part.shape[2:])
        taps = range(3 + spatial, split.ndim)
        columns = split.transpose(0, 1, 2, *taps, *range(3, 3 + spatial))
        flat = columns.reshape(n, self.groups, weights.shape[-1], math.prod(out))
        return matmul(weights, flat).reshape(n, self.shape[1], *out)
