"""Compile a model for several extents of its dimensions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcompiler.buckets.analysis import Padded, analyse
from kcompiler.buckets.bucket import Bucket, Buckets
from kcompiler.buckets.layout import Layout, joined, of_dim, static
from kcompiler.buckets.share import share_constants
from kcompiler.buckets.spec import Spec, Wish, parse
from kcompiler.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from kcompiler.compilation import Compilation
    from kcompiler.compiler import Options, Source
    from kcompiler.frontend import Imported
    from kcompiler.frontend.dims import Declared, Open
    from kcompiler.machine.target import Target
_LEAST = 2
"""Smaller extents make other graphs: an axis of one element is repeated, of none is left out."""


def compile_dims(
    source: Source, target: Target, options: Options, dims: Mapping[str, Wish]
) -> Compilation:
    """Compile a model for one extent of each dimension, or for buckets where there are several."""
    spec = parse(dims)
    if spec.ranged:
        if options.quantization.data is not None:
            _check_calibration(target, options)
        return compile_buckets(source, target, spec, options)
    from kcompiler.compiler import compile_model

    return compile_model(source, target, replace(options, dims=spec.all_dims({})))


def _check_calibration(target: Target, options: Options) -> None:
    """Refuse what cannot be decided once for all buckets."""
    if options.quantization.equalize:
        fix = "give each dimension one extent, or leave --equalize out"
        raise UsageError("equalization needs one extent of each dimension", fix=fix)
    if target.integer_only:
        why = f"{target.name} has nothing but integers between kernels, and what hides padded rows"
        why = f"{why} (-10000, -inf) is in no range that was learnt without padding"
        fix = "give each dimension one extent: a package for each"
        raise UsageError("calibration needs one extent of each dimension", why=why, fix=fix)


def compile_buckets(source: Source, target: Target, spec: Spec, options: Options) -> Compilation:
    """A program for each bucket; the result is that of the largest, which holds the others.

    Raises `UnsupportedError` where the outputs of a bucket cannot be padded.
    """
    return _Job(source, target, spec, options).run()


class _Job:
    """One compilation of all buckets."""

    def __init__(self, source: Source, target: Target, spec: Spec, options: Options) -> None:
        from kcompiler.compiler import plan_for
        from kcompiler.frontend.listing import list_axes

        self.source, self.target, self.spec, self.options = source, target, spec, options
        self.plan = plan_for(options.quantization)
        model: Any = Path(source) if isinstance(source, os.PathLike) else source
        self.declared = [d for d in list_axes(model) if d.name not in options.values]
        self._check_names()

    def run(self) -> Compilation:
        """All buckets, smallest first; calibration is for the largest, and holds for all."""
        step = 1 if self.plan is None else -1
        ordered = list(self.spec.combinations())[::step]
        made = [self._bucket(extents) for extents in ordered][::step]
        shared = share_constants([b.compilation for b in made])
        found = [replace(b, compilation=c) for b, c in zip(made, shared, strict=True)]
        limits = {name: (e.low, e.buckets[-1]) for name, e in self.spec.ranged.items()}
        inputs = {d.name: self._layouts(d, {}) for d in self.declared}
        largest = found[-1].compilation
        buckets = Buckets(limits, inputs, tuple(found))
        return replace(largest, buckets=buckets, witness={}, notes=_notes(found))

    def _check_names(self) -> None:
        """A dimension with buckets is one that the model leaves open."""
        names = {n for d in self.declared for o in d.shape or () if _is_open(o) for n in _names(o)}
        for name in (*self.spec.ranged, *self.spec.sums):
            if name not in names:
                fix = "give a dimension that an input leaves open"
                why = f"the open ones are {', '.join(sorted(names))}" if names else ""
                raise UsageError(f"the model has no dimension {name!r}", why=why, fix=fix)

    def _layouts(self, declared: Declared, exact: Mapping[str, int]) -> tuple[Layout, ...]:
        """The layout of each axis of an input; dimensions of one extent are in `exact`."""
        shape = self.options.shapes.get(declared.name, declared.shape)
        if shape is None:
            fix = f"give its shape: --shape {declared.name}=1,3,224,224"
            raise UsageError(f"the model leaves the rank of {declared.name!r} open", fix=fix)
        return tuple(self._layout(axis, exact) for axis in shape)

    def _layout(self, axis: int | Open, exact: Mapping[str, int]) -> Layout:
        if isinstance(axis, int):
            return static(axis)
        name = next((n for n in _names(axis) if self._knows(n)), axis.name)
        if name in self.spec.ranged:
            return static(exact[name]) if name in exact else of_dim(name)
        if name in self.spec.sums:
            exactly = (replace(s, dim=None, size=s.extent(exact)) if s.dim in exact else s
                       for s in self.spec.sums[name])  # fmt: skip
            return joined(exactly)
        return static(self.spec.fixed.get(name, 0))  # 0: the importer says what is missing

    def _knows(self, name: str) -> bool:
        return name in self.spec.ranged or name in self.spec.sums or name in self.spec.fixed

    def _import(self, ranged: Mapping[str, int]) -> Imported:
        from kcompiler.compiler import import_model

        dims = self.spec.all_dims(ranged)
        found = import_model(self.source, replace(self.options, dims=dims))
        if found.tail is not None or found.deciding:
            why = "a part of it, or the shape of a value, follows from data"
            raise UnsupportedError("the model's outputs cannot be padded", why=why)
        return found

    def _bucket(self, ranged: dict[str, int]) -> Bucket:
        from kcompiler.compiler import compile_imported

        least = {name: self.spec.ranged[name].least(size) for name, size in ranged.items()}
        exact = {name: size for name, size in ranged.items() if least[name] == size}
        open_dims = {name: size for name, size in ranged.items() if name not in exact}
        imported = self._import(ranged)
        inputs = {d.name: self._layouts(d, exact) for d in self.declared}
        padded = self._padded(imported, inputs, open_dims, least, exact)
        graph = padded.graph
        changed = replace(
            imported,
            graph=graph,
            inputs=tuple((i.name, i.type) for i in graph.inputs),
        )
        parts = self.source, changed, self.target, self.options
        compilation = compile_imported(*parts, self.plan)
        return Bucket(ranged, compilation, padded.outputs, padded.positions)

    def _padded(
        self,
        imported: Imported,
        inputs: Mapping[str, tuple[Layout, ...]],
        bucket: Mapping[str, int],
        least: Mapping[str, int],
        exact: Mapping[str, int],
    ) -> Padded:
        if not bucket:
            outputs = {n: tuple(map(static, v.shape)) for n, v in imported.graph.outputs}
            return Padded(imported.graph, inputs, outputs)
        samples = witnesses(bucket, least)
        others = [(dims, self._import({**exact, **dims}).graph) for dims in samples]
        return analyse(imported.graph, inputs, bucket, least, others)


def _notes(found: Sequence[Bucket]) -> tuple[str, ...]:
    """The notes of the largest bucket, and after them what is to say of some others alone."""
    notes = found[-1].compilation.notes
    where: dict[str, list[str]] = {}
    for bucket in found:
        for note in bucket.compilation.notes:
            where.setdefault(note, []).append(str(bucket))
    others = ((n, ", ".join(b)) for n, b in where.items() if n not in notes)
    return (*notes, *(f"{note} (in the program for {names})" for note, names in others))


def witnesses(bucket: Mapping[str, int], least: Mapping[str, int]) -> list[dict[str, int]]:
    """Other extents to import a model at: large, middle and small ones, in no dimension the same.

    Where a bucket has no room below, they lie above it.
    """
    large, middle, small = {}, {}, {}
    for number, (name, size) in enumerate(bucket.items()):
        low = max(least[name], _LEAST)
        large[name] = max(size - 1 - number, low) if size > low else size + 1 + number
        between = (low + size) // 2 - 2 * number
        middle[name] = max(between, low) if size > low + 1 else size + 3 + 2 * number
        small[name] = min(low + number, size - 1) if size > low else size + 2 + number
    every = [large, middle, small]
    return [dims for i, dims in enumerate(every) if dims not in every[:i]]


def _is_open(axis: Any) -> bool:
    return not isinstance(axis, int)


def _names(axis: Any) -> Sequence[str]:
    return (axis.name, axis.place)
