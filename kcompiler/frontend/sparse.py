"""Sparse tensors, made dense."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import SparseTensorProto, TensorProto

from kcompiler.errors import ModelError
from kcompiler.frontend.limits import FOLD_BYTES
from kcompiler.graph.node import Array


def dense(sparse: SparseTensorProto, decode: Callable[[TensorProto], Array]) -> Array:
    """The dense value; raises `ModelError` for indices outside and for an absurd size."""
    where = f"sparse tensor {sparse.values.name!r}"
    shape = tuple(sparse.dims)
    values, indices = decode(sparse.values), decode(sparse.indices)
    size = math.prod(shape)
    if any(extent < 0 for extent in shape) or size * values.itemsize > FOLD_BYTES:
        raise ModelError(f"{where} has the impossible shape {list(shape)}")
    if values.ndim != 1 or indices.dtype != np.int64 or indices.ndim not in {1, 2}:
        raise ModelError(f"{where} is damaged", why="its values or indices have a wrong type")
    if indices.ndim == 2 and indices.shape[1] != len(shape):
        raise ModelError(f"{where} is damaged", why="its indices have another rank")
    bounds = np.asarray(shape if indices.ndim == 2 else size)
    if len(indices) != len(values) or np.any(indices < 0) or np.any(indices >= bounds):
        raise ModelError(f"{where} is damaged", why="its indices lie outside")
    if indices.ndim == 2:
        indices = np.ravel_multi_index(tuple(indices.T), shape)
    result = np.zeros(size, values.dtype)
    result[indices] = values
    return result.reshape(shape)
