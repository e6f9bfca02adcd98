"""Typed access to a manifest whose fields may be missing or of any type."""

from typing import Any, TypeVar

from kcompiler.errors import PackageError
from kcompiler.package.defect import brief

Kind = TypeVar("Kind")

RECOMPILE = "compile the model again with this version of kcompiler"


def require(
    manifest: object,
    *keys: str | int,
    kind: type[Kind],
    low: float | None = None,
    high: float | None = None,
    origin: str = "",
) -> Kind:
    """Return `manifest[keys[0]][keys[1]]...`, which must be of `kind` and lie within the bounds.

    `kind` is bool, int, float, str, list or dict. The bounds are inclusive; of str, list and dict
    they bound the length. A bool is no int, but an int will do as a float. An int among the keys
    indexes a list. Raises `PackageError` with the name of the field.
    """
    name = ".".join(map(str, keys)) or "manifest"
    value = _lookup(manifest, keys, name, origin)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:  # isinstance would let a bool pass as an int
        raise _unmet(f"{name} is {brief(value)}, not of type {kind.__name__}", origin)
    size: Any = len(value) if isinstance(value, str | list | dict) else value
    if (low is not None and size < low) or (high is not None and size > high):
        label = name if size is value else f"the length of {name}"
        least, most = ("any" if bound is None else bound for bound in (low, high))
        raise _unmet(f"{label} is {size}, allowed is {least} to {most}", origin)
    return value


def _lookup(value: Any, keys: tuple[str | int, ...], name: str, origin: str) -> Any:
    for key in keys:
        # A string would take an int, a list a negative one.
        inside = key in value if isinstance(value, dict) else _indexes(value, key)
        if not inside:
            raise _unmet(f"the field {name} is missing", origin)
        value = value[key]
    return value


def _indexes(value: object, key: str | int) -> bool:
    return isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value)


def _unmet(why: str, origin: str) -> PackageError:
    return PackageError("the manifest is not what kcompiler expects", origin, why, RECOMPILE)
