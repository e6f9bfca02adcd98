"""Small tensors for the examples that rules give of themselves, and values for their inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Constant, Input
from kcompiler.graph.types import BOOL, F32, TensorType, is_float
from kcompiler.scalar import convert


def tensor(name: str, *shape: int, dtype: np.dtype[Any] = F32) -> Input:
    """An input of a shape; one name stands for one tensor within an example."""
    return Input(name, TensorType(dtype, shape))


def weight(rng: np.random.Generator, *shape: int, dtype: np.dtype[Any] = F32) -> Constant:
    """A random constant."""
    return constant(values(rng, TensorType(dtype, shape)), dtype)


def number(value: float, dtype: np.dtype[Any] = F32) -> Constant:
    """A rank-0 constant."""
    return constant(value, dtype)


def values(rng: np.random.Generator, kind: TensorType) -> Array:
    """Random values of a type: floats in [0.1, 2.5] of either sign, small integers."""
    if kind.dtype == BOOL:
        return rng.integers(0, 2, kind.shape).astype(BOOL)
    if not is_float(kind.dtype):
        return convert(rng.integers(0, 8, kind.shape), kind.dtype)
    size = rng.uniform(0.1, 2.5, kind.shape)
    return convert(np.asarray(size * rng.choice([-1, 1], kind.shape)), kind.dtype)
