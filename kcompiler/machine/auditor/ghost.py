"""Arrays without elements: instructions are run for what they touch, not for what they compute.

A ghost is an array of one element repeated by strides of 0, whatever its shape. Operations on it
that go element by element, sums and matrix products give ghosts at the cost of one element; all
others run on it as on any array, so that only speed depends on which are known here.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kcompiler.graph.node import Array


class Ghost(np.ndarray[Any, np.dtype[Any]]):
    """An array that repeats one element."""

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Ghost:
        """The element, converted, repeated."""
        return ghost(_one(self).astype(dtype), self.shape)

    def reshape(self, *shape: Any, **_: Any) -> Ghost:
        """The element repeated in another shape."""
        wanted = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        if -1 in wanted:
            wanted[wanted.index(-1)] = self.size // -prod(wanted)
        if prod(wanted) != self.size:
            raise ValueError(f"cannot reshape {self.shape} into {tuple(wanted)}")
        return ghost(_one(self), wanted)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Nothing: there are no elements to keep."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        known = {"dtype", "casting", "axis", "keepdims"}
        if set(options) <= known:
            if method == "__call__" and ufunc.signature is None and ufunc.nout == 1:
                ones = [_one(x) for x in inputs]
                return ghost(ufunc(*ones, **options), np.broadcast_shapes(*map(np.shape, inputs)))
            if method == "__call__" and ufunc is np.matmul and _matrices(inputs):
                return _product(*inputs)
            if method == "reduce" and isinstance(inputs[0], Ghost):
                return _reduced(ufunc, inputs[0], options)
        return getattr(ufunc, method)(*map(_plain, inputs), **_plain_options(options))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        del types
        if func is np.broadcast_to and not kwargs and isinstance(args[0], Ghost):
            np.broadcast_shapes(args[0].shape, tuple(args[1]))
            return ghost(_one(args[0]), args[1])
        if func is np.where and len(args) == 3 and not kwargs:
            found = np.where(*map(_one, args))
            return ghost(found, np.broadcast_shapes(*map(np.shape, args)))
        return func(*map(_plain, args), **_plain_options(kwargs))


def ghost(element: Any, shape: Any) -> Ghost:
    """An array of this shape with one element."""
    one = np.asarray(element).reshape(-1)[:1].copy()
    shape = tuple(shape)
    return np.ndarray.__new__(Ghost, shape, one.dtype, buffer=one, strides=(0,) * len(shape))


def _one(value: Any) -> Array:
    """One element of what may be an array, as one of rank 0 (a literal stays weakly typed)."""
    if not isinstance(value, np.ndarray):
        return value  # type: ignore[no-any-return]
    if value.size == 0:
        return np.zeros((), value.dtype)
    return np.ndarray((), value.dtype, buffer=_plain(value)[(0,) * value.ndim].tobytes())


def _plain(value: Any) -> Any:
    if isinstance(value, Ghost):
        return value.view(np.ndarray)
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value))
    return value


def _plain_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in options.items()}


def _matrices(inputs: Any) -> bool:
    return all(np.ndim(x) >= 2 for x in inputs)


def _product(x: Any, y: Any) -> Ghost:
    """A matrix product's shape and type."""
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(f"matrix product of {x.shape} and {y.shape}")
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return ghost(np.multiply(_one(x), _one(y)), (*batch, x.shape[-2], y.shape[-1]))


def _reduced(ufunc: np.ufunc, x: Ghost, options: dict[str, Any]) -> Ghost:
    """A reduction's shape and type."""
    axis = options.get("axis", 0)
    axes = range(x.ndim) if axis is None else (axis if isinstance(axis, tuple) else (axis,))
    gone = {a % x.ndim for a in axes}
    found = ufunc.reduce(_one(x).reshape(1), dtype=options.get("dtype"))
    if options.get("keepdims"):
        return ghost(found, [1 if i in gone else n for i, n in enumerate(x.shape)])
    return ghost(found, [n for i, n in enumerate(x.shape) if i not in gone])
