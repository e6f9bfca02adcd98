"""Faults of a target that is a chip description alone: the generic core's own instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pytest import MonkeyPatch  # noqa: PT013 - a type

from kcompiler.machine.generic import isa
from kcompiler.machine.generic.target import generic_target
from kcompiler.machine.target import Target
from kcompiler.registry import find_target
from tests.conformance.planted import each, mutant, mutated


def plain(**how: Any) -> Target:
    """Rebel's chip under the generic instructions, changed."""
    chip = replace(find_target("rebel").chip, name="plain")
    return mutated(generic_target(chip), **how)


def loops(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The loops of an instruction, each changed."""
    return lambda item: replace(item, loops=tuple(map(change, item.loops)))


@mutant("generic: a sum one product short", "operators", "products", slow=True)
def short_sum(_: MonkeyPatch) -> Target:
    def shorter(loop: Any) -> Any:
        return loop if loop.acc or loop.extent < 2 else replace(loop, extent=loop.extent - 1)

    return plain(change=each(isa.Product)(loops(shorter)))


@mutant("generic: box one row low", "operators", "movement", slow=True)
def low_box(_: MonkeyPatch) -> Target:
    def moved(load: Any) -> Any:
        first, *rest = load.dims
        return replace(load, dims=(replace(first, origin=first.origin + 1), *rest))

    return plain(change=each(isa.Load)(moved))


@mutant("generic: stored with the strides of a row", "operators", "movement", slow=True)
def wrong_stride(_: MonkeyPatch) -> Target:
    def narrower(store: Any) -> Any:
        dims = tuple(
            replace(d, stride=d.stride // 2 if d.stride > 64 else d.stride) for d in store.dims
        )
        return replace(store, dims=dims)

    return plain(change=each(isa.Store)(narrower))


@mutant("generic: one read of a nest repeated", "operators", "elementwise", slow=True)
def repeated(_: MonkeyPatch) -> Target:
    def still(loop: Any) -> Any:
        return replace(loop, reads=(*loop.reads[:-1], 0)) if len(loop.reads) > 1 else loop

    return plain(change=each(isa.Nest)(loops(still)))


@mutant("generic: indices of another row", "operators", "movement", slow=True)
def other_indices(_: MonkeyPatch) -> Target:
    later = each(isa.Gather)(lambda x: replace(x, indices=x.indices + 8))
    return plain(change=later)


@mutant("generic: the sums that are there undeclared", "hazards", slow=True)
def undeclared_sums(patch: MonkeyPatch) -> Target:
    right = isa.Product.reads
    patch.setattr(isa.Product, "reads", lambda x, chip: right(replace(x, accumulate=0), chip))
    return plain()
