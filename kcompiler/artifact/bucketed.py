"""The buckets of a package: which segments each consists of, and what is padded how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcompiler.artifact.check import Check, fail
from kcompiler.buckets.bucket import Bucket, Buckets
from kcompiler.buckets.layout import Layout, Segment, extents, is_position
from kcompiler.graph.types import TensorType, dtype_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kcompiler import compilation as parts
    from kcompiler.compilation import Compilation

MOST = 1 << 10
MAX_EXTENT = 1 << 40


def packed_buckets(buckets: Buckets) -> dict[str, Any]:
    """The manifest's field `buckets`."""
    first, members = 0, []
    for bucket in buckets.members:
        made = bucket.compilation
        members.append(
            {
                "dims": dict(bucket.dims),
                "inputs": [_tensor(name, kind) for name, kind in made.inputs],
                "outputs": [_tensor(name, kind) for name, kind in made.outputs],
                "layouts": {name: _axes(axes) for name, axes in bucket.outputs.items()},
                "positions": {name: _axes([axis]) for name, axis in bucket.positions.items()},
                "segments": [first, len(made.segments)],
            }
        )
        first += len(made.segments)
    return {
        "limits": {name: list(limits) for name, limits in buckets.limits.items()},
        "inputs": {name: _axes(axes) for name, axes in buckets.inputs.items()},
        "members": members,
    }


def _tensor(name: str, kind: Any) -> dict[str, Any]:
    return {"name": name, "dtype": dtype_name(kind.dtype), "shape": list(kind.shape)}


def _axes(axes: Sequence[Layout]) -> list[list[list[str | int]]]:
    return [[[s.dim or "", s.size] for s in layout] for layout in axes]


def segments_of_buckets(
    check: Check, segments: Sequence[parts.Segment]
) -> list[tuple[parts.Segment, ...]]:
    """The segments of each bucket, which follow one another and are all there are."""
    found, end = [], 0
    count = len(check.package.require("buckets", "members", kind=list, high=MOST))
    for i in range(count):
        at = ("buckets", "members", i, "segments")
        first, size = check.number(*at, 0), check.number(*at, 1)
        if first != end or first + size > len(segments):
            fail(check.origin, f"bucket {i} begins at segment {first}, not at {end}")
        end = first + size
        found.append(tuple(segments[first:end]))
    if end != len(segments) or not found:
        fail(check.origin, f"the buckets have {end} segments, the package {len(segments)}")
    return found


def unpacked_buckets(check: Check, members: Sequence[Compilation]) -> Buckets:
    """The buckets around compilations; whatever a run relies on is checked."""
    limits = {
        name: (
            check.number("buckets", "limits", name, 0),
            check.number("buckets", "limits", name, 1),
        )
        for name in _keys(check, "buckets", "limits")
    }
    inputs = {
        n: _layouts(check, limits, "buckets", "inputs", n)
        for n in _keys(check, "buckets", "inputs")
    }
    found = []
    for i, compilation in enumerate(members):
        at = ("buckets", "members", i)
        outputs = {
            n: _layouts(check, limits, *at, "layouts", n) for n in _keys(check, *at, "layouts")
        }
        positions = {}
        for name in _keys(check, *at, "positions"):
            axes = _layouts(check, limits, *at, "positions", name)
            if len(axes) != 1 or not is_position(name):
                fail(check.origin, f"bucket {i} has the positions {name!r:.40}")
            positions[name] = axes[0]
        dims = {n: check.number(*at, "dims", n, high=MAX_EXTENT) for n in _keys(check, *at, "dims")}
        found.append(Bucket(dims, compilation, outputs, positions))
    buckets = Buckets(limits, inputs, tuple(found))
    for bucket in found:
        _check(check, buckets, bucket)
    if dict(found[-1].dims) != {name: high for name, (_, high) in limits.items()}:
        fail(check.origin, "its last bucket is not the largest")
    return buckets


def _keys(check: Check, *at: str | int) -> list[str]:
    return list(check.package.require(*at, kind=dict))


def _layouts(
    check: Check, limits: dict[str, tuple[int, int]], *at: str | int
) -> tuple[Layout, ...]:
    found = []
    for i in range(check.length(*at)):
        count = check.length(*at, i)
        axis = [(check.text(*at, i, k, 0), check.number(*at, i, k, 1)) for k in range(count)]
        unknown = next((dim for dim, _ in axis if dim and dim not in limits), None)
        if unknown is not None or any(dim and not size for dim, size in axis):
            fail(check.origin, f"a layout names the dimension {unknown!r:.40}")
        found.append(tuple(Segment(dim or None, size) for dim, size in axis))
    return tuple(found)


def _check(check: Check, buckets: Buckets, bucket: Bucket) -> None:
    """Layouts of the shapes that the program has, in every bucket under the same names."""
    first = buckets.members[0].compilation
    compilation = bucket.compilation
    if bucket.dims.keys() != buckets.limits.keys():
        fail(check.origin, "a bucket has other dimensions than the package")
    given = {**buckets.inputs, **{name: (axis,) for name, axis in bucket.positions.items()}}
    for what, layouts, tensors in (
        ("inputs", given, compilation.inputs),
        ("outputs", bucket.outputs, compilation.outputs),
    ):
        kinds = {n: k for n, k in tensors if isinstance(k, TensorType)}
        shapes = {name: extents(axes, bucket.dims) for name, axes in layouts.items()}
        if {name: kind.shape for name, kind in kinds.items()} != shapes:
            fail(check.origin, f"the {what} of bucket {bucket} have other shapes than its layouts")
    if _types(compilation) != _types(first):
        fail(check.origin, f"bucket {bucket} has other inputs or outputs than the first")


def _types(compilation: Compilation) -> list[tuple[str, str]]:
    """What the model takes and gives, in any bucket."""
    every = (*compilation.inputs, *compilation.outputs)
    kinds = [(name, kind) for name, kind in every if isinstance(kind, TensorType)]
    return [(name, dtype_name(kind.dtype)) for name, kind in kinds if not is_position(name)]
