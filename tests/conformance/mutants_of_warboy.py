"""Faults of what Warboy has of its own: dot products that drain, tables, the fetch network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from pytest import MonkeyPatch  # noqa: PT013 - a type

from kcompiler.graph.types import F32
from kcompiler.machine.simulator import contraction
from kcompiler.machine.target import Target
from kcompiler.scalar import convert
from kcompiler.targets.warboy import epilogue, isa, lowering, units
from tests.conformance.mutants_of_places import moved, without_last
from tests.conformance.planted import Change, each, mutant, mutated


def warboy(**how: Any) -> Target:
    """Warboy, changed."""
    return mutated("warboy", **how)


def dots(step: Callable[[units.Dot], units.Dot]) -> Target:
    """Warboy with other dot products."""
    return warboy(change=each(units.Dot)(step))


def drains(**fields: Any) -> Target:
    """Warboy whose drain always has these fields."""

    def changed(dot: units.Dot) -> units.Dot:
        return replace(dot, drain=tuple(replace(how, **fields) for how in dot.drain))

    return dots(changed)


# ---------------- the drain


def applied(patch: MonkeyPatch, wrong: Callable[[Any, Any, Any, Any], Any]) -> Target:
    """The drain computes something else: `wrong(how, sums, bias, scale)`."""
    patch.setattr(units.Requantize, "apply", wrong)
    return warboy()


@mutant("warboy: the drain rounds halves up", "operators", "quantized", slow=True)
def halves_up(patch: MonkeyPatch) -> Target:
    def wrong(how: Any, sums: Any, bias: Any, scale: Any) -> Any:
        whole = np.floor(convert(sums + bias, F32) * scale + np.float32(0.5))
        return convert(np.clip(whole + F32.type(how.zero), how.low, how.high), how.dtype)

    return applied(patch, wrong)


@mutant(
    "warboy: the drain rounds after the zero point is cut off", "operators", "quantized", slow=True
)
def cut_off(patch: MonkeyPatch) -> Target:
    def wrong(how: Any, sums: Any, bias: Any, scale: Any) -> Any:
        whole = np.trunc(convert(sums + bias, F32) * scale) + F32.type(how.zero)
        return convert(np.clip(whole, how.low, how.high), how.dtype)

    return applied(patch, wrong)


@mutant("warboy: the drain wraps, and does not saturate", "operators", "quantized", slow=True)
def wraps(patch: MonkeyPatch) -> Target:
    def wrong(how: Any, sums: Any, bias: Any, scale: Any) -> Any:
        whole = np.rint(convert(sums + bias, F32) * scale) + F32.type(how.zero)
        return whole.astype(np.int64).astype(how.dtype)

    return applied(patch, wrong)


@mutant("warboy: bias after the scale", "operators", "quantized", slow=True)
def late_bias(patch: MonkeyPatch) -> Target:
    def wrong(how: Any, sums: Any, bias: Any, scale: Any) -> Any:
        whole = np.rint(convert(sums, F32) * scale) + convert(bias, F32) + F32.type(how.zero)
        return convert(np.clip(whole, how.low, how.high), how.dtype)

    return applied(patch, wrong)


@mutant("warboy: no bias", "operators", "quantized")
def no_bias(_: MonkeyPatch) -> Target:
    return drains(bias_from="number", bias=0)


@mutant("warboy: no zero point", "operators", "quantized", slow=True)
def no_zero(_: MonkeyPatch) -> Target:
    return drains(zero=0)


@mutant("warboy: saturates one below the top", "operators", "quantized", slow=True)
def low_top(_: MonkeyPatch) -> Target:
    def lower(dot: units.Dot) -> units.Dot:
        return replace(dot, drain=tuple(replace(d, high=d.high - 1) for d in dot.drain))

    return dots(lower)


@mutant("warboy: one scale for all channels", "models", slow=True)
def one_scale(_: MonkeyPatch) -> Target:
    def still(loop: Any) -> Any:
        return replace(loop, channel=0)

    def changed(dot: units.Dot) -> units.Dot:
        steps, outputs = (tuple(map(still, part)) for part in (dot.sequence, dot.outputs))
        return replace(dot, sequence=steps, outputs=outputs)

    return dots(changed)


@mutant("warboy: bytes of sums that are not complete", "operators", "products", slow=True)
def sums_lost(_: MonkeyPatch) -> Target:
    return dots(lambda dot: replace(dot, accumulate=0))


@mutant("warboy: sums not cleared", "operators", "products", slow=True)
def not_cleared(_: MonkeyPatch) -> Target:
    return dots(lambda dot: replace(dot, accumulate=1))


@mutant("warboy: another nest's sums are drained", "operators", "quantized", slow=True)
def other_sums(patch: MonkeyPatch) -> Target:
    """The lowering takes the first int32 read for the sums, whoever made it."""
    right = epilogue.split
    patch.setattr(lowering, "split", lambda nest, dtypes, _: right(nest, dtypes, ""))
    crossed: Any = lowering._same_axes

    def same(sums: Any, nest: Any, read: int) -> Any:
        found = crossed(sums, nest, read)
        return None if found is None else dict(zip(found, reversed(found.values()), strict=True))

    patch.setattr(lowering, "_same_axes", same)
    return warboy()


# ---------------- the tensor unit


@mutant("warboy: the last terms that fill no 32", "operators", "products", slow=True)
def whole_terms(_: MonkeyPatch) -> Target:
    def whole(term: units.Term) -> units.Term:
        return term if term.extent < 32 else replace(term, extent=term.extent // 32 * 32)

    return dots(lambda dot: replace(dot, terms=tuple(map(whole, dot.terms))))


@mutant("warboy: the last outputs that fill no 4", "operators", "products", slow=True)
def whole_outputs(_: MonkeyPatch) -> Target:
    def whole(output: units.Output) -> units.Output:
        return output if output.extent < 4 else replace(output, extent=output.extent // 4 * 4)

    return dots(lambda dot: replace(dot, outputs=tuple(map(whole, dot.outputs))))


@mutant("warboy: weights without a sign", "operators", "products")
def unsigned(_: MonkeyPatch) -> Target:
    return dots(lambda dot: replace(dot, weight_type="u8"))


@mutant(
    "warboy: height and width exchanged in the fetch sequence", "operators", "products", slow=True
)
def exchanged(_: MonkeyPatch) -> Target:
    def changed(dot: units.Dot) -> units.Dot:
        if len(dot.sequence) < 2:
            return dot
        *rest, one, other = dot.sequence
        swapped = (replace(one, data=other.data), replace(other, data=one.data))
        try:
            return replace(dot, sequence=(*rest, *swapped))
        except ValueError:  # such an instruction cannot be said
            return dot

    return dots(changed)


@mutant("warboy: sums of 24 bits", "operators", "products", slow=True)
def narrow_sums(patch: MonkeyPatch) -> Target:
    right = contraction.sums

    def wrong(*args: Any) -> Any:
        found = right(*args)
        return (found.astype(np.int64) + (1 << 23)) % (1 << 24) - (1 << 23)

    patch.setattr(contraction, "sums", wrong)
    return warboy()


@mutant("warboy: the last slice without work", "operators", "products", slow=True)
def last_slice(_: MonkeyPatch) -> Target:
    return dots(lambda dot: replace(dot, cores=max(1, dot.cores - 1)))


@mutant("warboy: a group's weights for all groups", "operators", "products", slow=True)
def first_group(_: MonkeyPatch) -> Target:
    def still(dot: units.Dot) -> units.Dot:
        steps = tuple(replace(x, weights=0) for x in dot.sequence)
        return replace(dot, sequence=steps)

    return dots(still)


# ---------------- tables


def tables(change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Target:
    """Warboy with other tables."""
    return warboy(change=each(units.Table)(lambda x: replace(x, table=change(x.table))))


@mutant("warboy: a table that begins at -128", "operators", "quantized", slow=True)
def rotated(_: MonkeyPatch) -> Target:
    return tables(lambda table: (*table[128:], *table[:128]))


@mutant("warboy: a table's last byte", "operators", "quantized", slow=True)
def last_byte(_: MonkeyPatch) -> Target:
    return tables(lambda table: (*table[:-1], table[-1] ^ 1))


@mutant("warboy: a table of 7 bits", "operators", "quantized", slow=True)
def seven_bits(_: MonkeyPatch) -> Target:
    return tables(lambda table: (*table[:128], *table[:128]))


# ---------------- DMA and fetch network


@mutant("warboy: the fetched window off by one", "operators", "products", slow=True)
def halo(_: MonkeyPatch) -> Target:
    return warboy(change=each(isa.Fetch, isa.DmaLoad)(moved))


@mutant("warboy: padding is 0, not the zero point", "operators", "quantized", slow=True)
def padding(_: MonkeyPatch) -> Target:
    return warboy(change=each(isa.Fetch, isa.DmaLoad)(lambda x: replace(x, fill=0)))


def edge(store: Any) -> Any:
    """The last index of a tensor is taken for outside of it."""
    *rest, last = store.dims
    return replace(store, dims=(*rest, replace(last, extent=max(1, last.extent - 1))))


@mutant("warboy: the edge is not committed", "operators", "products", slow=True)
def committed(_: MonkeyPatch) -> Target:
    return warboy(change=each(isa.Commit, isa.DmaStore)(edge))


@mutant("warboy: slices fetch each other's boxes", "operators", "products", slow=True)
def other_slice(_: MonkeyPatch) -> Target:
    def reversed_steps(x: Any) -> Any:
        dims = tuple(replace(d, core_steps=d.core_steps[::-1]) for d in x.dims)
        return replace(x, dims=dims)

    return warboy(change=each(isa.Fetch, isa.DmaLoad)(reversed_steps))


LAST_COMMIT: Change = without_last(isa.Commit, 1, lambda _: True)


@mutant("warboy: a tile between kernels is not committed", "models", slow=True)
def last_commit(_: MonkeyPatch) -> Target:
    return warboy(change=LAST_COMMIT)


# ---------------- order, and what is said


@mutant("warboy: drained bytes undeclared", "hazards", slow=True)
def undeclared_bytes(patch: MonkeyPatch) -> Target:
    """The sums are declared, which a drain does not write."""
    right = units.Dot.writes
    patch.setattr(units.Dot, "writes", lambda x, chip: right(replace(x, drain=()), chip))
    return warboy()


@mutant("warboy: biases and scales undeclared", "hazards", slow=True)
def undeclared_scales(patch: MonkeyPatch) -> Target:
    right = units.Dot.reads
    patch.setattr(units.Dot, "reads", lambda x, chip: right(replace(x, drain=()), chip))
    return warboy()


@mutant("warboy: a table's indices undeclared", "hazards", slow=True)
def undeclared_indices(patch: MonkeyPatch) -> Target:
    patch.setattr(units.Table, "reads", lambda *_: ())
    return warboy()


@mutant("warboy: products said that are not done", "hazards", slow=True)
def other_products(patch: MonkeyPatch) -> Target:
    """The auditor is told of more sums than there are."""
    right = units.Dot.products

    def wrong(dot: units.Dot, chip: Any) -> Any:
        found = right(dot, chip)
        first, *rest = found.extents or (1,)
        return replace(found, extents=(first + 1, *rest)) if found.extents else found

    patch.setattr(units.Dot, "products", wrong)
    return warboy()


@mutant("warboy: a sign lost in the fetch sequence", "encoding", slow=True)
def lost_sign(_: MonkeyPatch) -> Target:
    def decode(_: Any, buffer: Any, offset: int = 0) -> Any:
        made, size = isa.Warboy.decode(buffer, offset)
        if isinstance(made, units.Table):
            made = replace(
                made, loops=tuple(replace(x, source=abs(x.source) % (1 << 19)) for x in made.loops)
            )
        return made, size

    faulty: Any = type(
        "Faulty", (isa.Warboy,), {"__doc__": "Warboy's.", "decode": classmethod(decode)}
    )
    return warboy(isa=faulty)


@mutant("warboy: dot products at any rate", "monotonicity", slow=True)
def any_rate(patch: MonkeyPatch) -> Target:
    patch.setattr(units.Dot, "cycles", lambda *_: 1)
    return warboy()


@mutant("warboy: free tables", "monotonicity", slow=True)
def free_tables(patch: MonkeyPatch) -> Target:
    patch.setattr(units.Table, "cycles", lambda *_: 0)
    return warboy()
