"""What Python callers may pass: anything else is a `UsageError` that says what would do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from kcompiler.buckets.spec import Wish


def check_mapping(name: str, value: object, example: str) -> Mapping[str, Any]:
    """The value; raise `UsageError` unless it is a dictionary or the like, whose keys are names."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} cannot be {_kind(value)}", fix=f"for example {example}")
    odd = next((key for key in value if not isinstance(key, str)), None)
    if odd is not None:
        raise UsageError(
            f"{name}: a name cannot be {_kind(odd)}",
            why=f"it is {odd!r}",
            fix=f"for example {example}",
        )
    return value


def check_file(name: str, value: object, *, message: bool = False) -> None:
    """Raise `UsageError` unless it is a path or bytes, or a `message` of ONNX."""
    if isinstance(value, str | bytes | os.PathLike) or (
        message and hasattr(value, "SerializeToString")
    ):
        return
    fix = "give a path or the bytes of a file" + (", or an onnx.ModelProto" if message else "")
    raise UsageError(f"{name} cannot be {_kind(value)}", fix=fix)


def check_is(name: str, value: object, kind: type, fix: str) -> None:
    """Raise `UsageError` unless it is of a type."""
    if not isinstance(value, kind):
        raise UsageError(f"{name} cannot be {_kind(value)}", fix=fix)


def check_names(value: object) -> None:
    """Raise `UsageError` unless it is a list of names, or None."""
    if value is not None and (isinstance(value, str) or not isinstance(value, Sequence)):
        fix = f"give a list: [{value!r}]" if isinstance(value, str) else "a list, or None for all"
        raise UsageError(f"names of outputs cannot be {_kind(value)}", fix=fix)


def dims_of(wishes: object) -> dict[str, Wish]:
    """The extents of open dimensions, with Python's own integers."""
    if wishes is None:
        return {}
    given = check_mapping("dims", wishes, _DIMS)
    return {name: _wish(name, wish) for name, wish in given.items()}


def shapes_of(shapes: object) -> dict[str, tuple[int, ...]]:
    """The shapes of inputs, with Python's own integers."""
    if shapes is None:
        return {}
    found = {}
    for name, shape in check_mapping("shapes", shapes, _SHAPES).items():
        extents = _whole_numbers(shape)
        if extents is None:
            what = f"the shape of {name!r} cannot be {_kind(shape)}"
            raise UsageError(what, why=f"it is {shape!r}", fix=f"for example {_SHAPES}")
        found[name] = tuple(extents)
    return found


_DIMS = 'dims={"seq": 128}, or buckets, dims={"seq": "1..512:128"}'
_SHAPES = 'shapes={"x": (1, 3, 224, 224)}'


def _wish(name: str, wish: Any) -> Wish:
    if isinstance(wish, str | range):
        return wish
    if _is_whole(wish):
        return int(wish)
    extents = _whole_numbers(wish)
    if extents is None:
        what = f"the extent of dimension {name!r} cannot be {_kind(wish)}"
        raise UsageError(what, why=f"it is {wish!r}", fix=f"for example {_DIMS}")
    return extents


def _is_whole(value: object) -> bool:
    """Whether it is an integer of Python or numpy; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _whole_numbers(value: object) -> list[int] | None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return None
    return [int(v) for v in value] if all(map(_is_whole, value)) else None


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
