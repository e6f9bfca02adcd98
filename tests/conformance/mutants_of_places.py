"""Faults of boxes, products, addresses and order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pytest import MonkeyPatch  # noqa: PT013 - a type

from kcompiler.machine.instruction import Isa
from kcompiler.machine.simulator import boxes, contraction
from kcompiler.machine.target import Target
from kcompiler.targets.rebel import isa
from tests.conformance.planted import (
    Addresses,
    Change,
    each,
    mutant,
    mutated,
)

# ---------------- boxes of tensors


def moved(load: isa.NdmaLoad) -> isa.NdmaLoad:
    """The box of a padded tensor begins one element later."""
    dims = tuple(replace(d, origin=d.origin + 1) if d.origin < 0 else d for d in load.dims)
    return replace(load, dims=dims)


@mutant("halo off by one", "operators", "products")
def halo(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.NdmaLoad)(moved))


def unclipped(load: isa.NdmaLoad) -> isa.NdmaLoad:
    """The tensor is taken for one element longer."""
    last = load.dims[-1]
    return replace(load, dims=(*load.dims[:-1], replace(last, extent=last.extent + 1)))


@mutant("wrong clip at an edge", "operators", "reductions")
def clip(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.NdmaLoad)(unclipped))


@mutant("wrong fill value of padding", "operators", "reductions")
def fill(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.NdmaLoad)(lambda x: replace(x, fill=0)))


def other_core(load: isa.NdmaLoad) -> isa.NdmaLoad:
    """Cores take each other's boxes along the first axis of the grid."""
    dims = tuple(replace(d, core_steps=d.core_steps[::-1]) for d in load.dims)
    return replace(load, dims=dims)


@mutant("wrong core offset", "operators", "products", slow=True)
def core_offset(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.NdmaLoad)(other_core))


def without_last(kind: type[Isa], least: int, holds: Callable[[Any], bool]) -> Change:
    """The last instruction of a kind is missing where there are several."""

    def change(code: list[Any], _: Addresses) -> Sequence[Any]:
        places = [i for i, x in enumerate(code) if isinstance(x, kind) and holds(x)]
        gone = places[-1] if len(places) >= least else -1
        return [x for i, x in enumerate(code) if i != gone]

    return change


@mutant("missing last partial tile", "operators", "products")
def last_tile(_: MonkeyPatch) -> Target:
    return mutated(change=without_last(isa.NdmaStore, 2, lambda _: True))


@mutant("last core left out", "operators", "elementwise")
def last_core(_: MonkeyPatch) -> Target:
    fewer = each(isa.VectorNest)(lambda x: replace(x, cores=max(1, x.cores - 1)))
    return mutated(change=fewer)


@mutant("off by one in a gather's negative index", "operators", "movement")
def negative_index(patch: MonkeyPatch) -> Target:
    right = boxes.gather

    def wrong(m: Any, *args: Any, axis: int, indices: Any, **kwargs: Any) -> None:
        late = np.where(indices == args[3].dims[axis].extent - 1, 0, indices)
        right(m, *args, axis=axis, indices=late, **kwargs)

    patch.setattr(boxes, "gather", wrong)
    return mutated()


# ---------------- products


def swapped(key: str) -> Callable[[Any], Any]:
    """Two loops have each other's stride of a factor."""

    def change(work: isa.MatrixContract) -> isa.MatrixContract:
        moving = [i for i, loop in enumerate(work.loops) if getattr(loop, key)]
        if len(moving) < 2:
            return work
        loops, (i, j) = list(work.loops), moving[:2]
        one, other = getattr(loops[i], key), getattr(loops[j], key)
        loops[i], loops[j] = replace(loops[i], **{key: other}), replace(loops[j], **{key: one})
        return replace(work, loops=tuple(loops))

    return change


@mutant("swapped strides", "operators", "products")
def strides(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(swapped("a")))


@mutant("transposed weight tile", "operators", "products")
def transposed(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(swapped("b")))


@mutant("accumulator not cleared", "operators", "products")
def not_cleared(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(lambda x: replace(x, accumulate=1)))


@mutant("partial sums lost", "operators", "products")
def sums_lost(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(lambda x: replace(x, accumulate=0)))


@mutant("K-slice dropped", "operators", "products")
def slice_dropped(_: MonkeyPatch) -> Target:
    return mutated(change=without_last(isa.MatrixContract, 2, lambda x: bool(x.accumulate)))


@mutant("sums kept in f16", "operators", "products", slow=True)
def narrow_sums(patch: MonkeyPatch) -> Target:
    right = contraction.contract

    def wrong(m: Any, scratchpad: str, cores: int, work: Any) -> None:
        right(m, scratchpad, cores, work)
        data = m.stores[scratchpad].data
        if work.a.dtype.kind == "f":
            shape, steps = _sums(work)
            view = np.ndarray(
                (len(data), *shape), np.float32, data, work.acc, (data.strides[0], *steps)
            )
            view[...] = view.astype(np.float16)

    patch.setattr(contraction, "contract", wrong)
    return mutated()


def _sums(work: Any) -> tuple[list[int], list[int]]:
    kept = [loop for loop in work.loops if loop.acc]
    return [loop.extent for loop in kept], [loop.acc for loop in kept]


# ---------------- addresses


def stale(code: list[Any], addresses: Addresses) -> Sequence[Any]:
    """The array reads the first copy of every double buffer."""
    first = {places[1]: places[0] for places in addresses.values() if len(places) > 1}
    return [
        replace(x, a=first.get(x.a, x.a), b=first.get(x.b, x.b))
        if isinstance(x, isa.MatrixContract)
        else x
        for x in code
    ]


@mutant("stale double buffer", "operators", "products")
def stale_buffer(_: MonkeyPatch) -> Target:
    return mutated(change=stale)


def crowded(addresses: Addresses) -> Addresses:
    """The second buffer lies on the first."""
    names = list(addresses)
    return dict(addresses) | ({names[1]: addresses[names[0]]} if len(names) > 1 else {})


@mutant("overlapping allocation", "operators", "elementwise")
def overlapping(_: MonkeyPatch) -> Target:
    return mutated(move=crowded)


def beyond(addresses: Addresses) -> Addresses:
    """Every buffer lies higher than it was told to."""
    return {name: tuple(p + (1 << 16) for p in places) for name, places in addresses.items()}


@mutant("budget exceeded", "hazards", slow=True)
def over_budget(_: MonkeyPatch) -> Target:
    return mutated(move=beyond)


# ---------------- order


@mutant("lost sync", "hazards")
def lost_sync(_: MonkeyPatch) -> Target:
    return mutated(awaited=lambda wait: wait.update(count=max(0, wait["count"] - 1)))


@mutant("sync of one core for all", "hazards")
def one_core(_: MonkeyPatch) -> Target:
    return mutated(awaited=lambda wait: wait.update(all_cores=False))


@mutant("wait that never ends", "hazards")
def endless(_: MonkeyPatch) -> Target:
    return mutated(awaited=lambda wait: wait.update(count=wait["count"] + 10_000))


@mutant("store before the sums are finished", "hazards")
def undeclared_write(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.MatrixContract, "writes", lambda *_: ())
    return mutated()


@mutant("loads over what is still read", "hazards", slow=True)
def undeclared_read(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.MatrixContract, "reads", lambda *_: ())
    return mutated()


@mutant("a byte of the box undeclared", "hazards", slow=True)
def short_touch(patch: MonkeyPatch) -> Target:
    right = isa.NdmaLoad.writes

    def wrong(self: Any, chip: Any) -> Any:
        return tuple(replace(t, run=max(0, t.run - 1)) for t in right(self, chip))

    patch.setattr(isa.NdmaLoad, "writes", wrong)
    return mutated()
