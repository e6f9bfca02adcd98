"""A kernel's work in the cores' own memories: what it reads there, and which products it sums.

A kernel finds nothing there: what it reads it has written itself, on every core that reads. Sums of
products are counted where they grow and followed to the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.auditor.area import Area, meet
from kcompiler.machine.auditor.cells import MIXED, MOST_CELLS, Cells, Scratch, uniform
from kcompiler.machine.auditor.finding import Broken
from kcompiler.machine.auditor.observe import UNUSABLE, Access, Step, filled, reason
from kcompiler.machine.auditor.operands import factors, operand_area, touches
from kcompiler.machine.chip import Chip
from kcompiler.machine.products import Operand, Products
from kcompiler.machine.program import Binding

_MOST_TERMS = 1 << 32  # of products in one instruction that are looked at one by one
Filled: TypeAlias = "tuple[int, Array]"
"""Where a transfer writes, and which bytes from there on some core has from memory."""


@dataclass
class Count:
    """Multiply-accumulates of a kernel.

    `done` counts all, also those for elements beyond a tensor's edge. `stored` counts those in the
    elements that leave the cores: MIXED where these are not the sums themselves, one for one.
    """

    done: int = 0
    stored: float = 0

    @property
    def macs(self) -> int:
        """Those stored, where that can be told, else those done."""
        return self.done if self.stored == MIXED else round(self.stored)


class KernelRun:
    """One kernel, step by step."""

    def __init__(
        self, number: int, steps: Sequence[Step], chip: Chip, operands: Sequence[Binding]
    ) -> None:
        self.number, self.steps, self.chip, self.operands = number, steps, chip, operands
        self.count = Count()
        areas: dict[str, list[Area]] = {}
        for step in steps:
            for access in (a for a in step.accesses if a.per_core):
                areas.setdefault(access.memory, []).append(access.area)
        self.scratch = {name: Scratch(Cells(found)) for name, found in areas.items()}
        self._masks: dict[int, Filled | None] = {}
        self._multiplied: dict[tuple[Any, ...], Step] = {}
        self._seen: set[int] = set()  # steps of whose bytes some were read
        self._left: dict[int, int] = {}  # elements stored of what a step has computed
        self._repeated: dict[int, Step] = {}  # sums begun anew -> where they were summed before
        self._alike: dict[int, int] = {}  # sums -> cores that may each have summed the same
        self._chained = 1  # the most of these among sums that went into other sums
        self._taken: dict[Area, dict[tuple[int, tuple[Any, ...]], Step]] = {}

    @property
    def repeats(self) -> bool:
        """Whether tiles of something in between are computed again, so that more is multiplied.

        Later, or beside each other on several cores that each need the whole tile.
        """
        return bool(self._repeated) or self._chained > 1

    def check(self) -> Iterator[Broken]:
        """All that is wrong."""
        for index, step in enumerate(self.steps):
            for access in step.of(written=False, per_core=True):
                yield from self._read(step, access)
            yield from self._work(index, step)
            for access in step.of(written=True, per_core=True):
                scratch = self.scratch[access.memory]
                scratch.cells.of(scratch.writer, access.area)[...] = index
                scratch.cells.of(scratch.cores, access.area)[...] = access.cores
        yield from self._unread()

    def _work(self, index: int, step: Step) -> Iterator[Broken]:
        """What a step makes of the sums that it reads."""
        try:
            products = step.item.products(self.chip) if step.accesses else None
            fits = products is None or touches(step, products)
        except UNUSABLE as error:
            why = f"cannot say what it multiplies: {reason(error)}"
            yield Broken("macs", why, self.number, step)
            return
        if products is None:
            yield from self._pass_on(step)
        elif fits:
            yield from self._sum(index, step, products)
        else:
            why = "says that it multiplies other bytes than it touches"
            yield Broken("macs", why, self.number, step)

    def _read(self, step: Step, access: Access) -> Iterator[Broken]:
        """What is read is there, on every core that reads."""
        scratch = self.scratch[access.memory]
        writers = scratch.cells.of(scratch.writer, access.area)
        found = np.unique(writers).tolist()
        self._seen.update(found)
        written = scratch.cells.of(scratch.cores, access.area)
        least = int(written.min())
        if least < access.cores:
            span = scratch.cells.first(access.area, written < access.cores)
            why = "reads what the kernel has not written"
            if least:
                why += f" on more than {least} of {access.cores} cores"
            yield Broken("reads", why, self.number, step, access.memory, span)
            return
        if len(found) > 1:
            yield from self._remains(step, access, found)
            yield from self._across(step, access, found)

    def _remains(self, step: Step, access: Access, writers: Sequence[int]) -> Iterator[Broken]:
        """What is read at once is no rest of something with something else written over it.

        A fill, which reads nothing, is there to be written over.
        """
        for one, two in combinations(writers, 2):
            if not any(not a.written for a in self.steps[one].accesses):
                continue
            for x, y in product(*(self._written(w, access.memory) for w in (one, two))):
                byte = meet(x, y)
                if byte is not None:
                    over = [self.steps[w].place for w in (one, two)]
                    why = f"reads what instruction {over[0]} wrote and {over[1]} wrote over in part"
                    span = max(x.start, y.start), min(x.stop, y.stop)
                    yield Broken("buffers", why, self.number, step, access.memory, span)
                    return

    def _unread(self) -> Iterator[Broken]:
        """Of what a step writes some byte is read before all are written over, or the kernel ends.

        Else something lies where it should be. A fill is there for what may not be written.
        """
        for index, step in enumerate(self.steps):
            own = step.of(written=True, per_core=True)
            if not own or index in self._seen or all(a.written for a in step.accesses):
                continue
            why = "writes what nothing reads before it is written over or the kernel ends"
            span = own[0].area.start, own[0].area.stop
            yield Broken("buffers", why, self.number, step, own[0].memory, span)

    def _across(self, step: Step, access: Access, writers: Sequence[int]) -> Iterator[Broken]:
        """What is read at once begins or ends in no part of what belongs to something else.

        Neighbouring parts of one tensor may be read as one, but nothing leaves a core like that.
        """
        leaves = any(a.written and not a.per_core for a in step.accesses)
        names = [f"instruction {self.steps[w].place}" if leaves else self._name(w) for w in writers]
        for writer, name in zip(writers, names, strict=True):
            cut = [
                a
                for a in self._written(writer, access.memory)
                if a.start < access.area.start or a.stop > access.area.stop
            ]
            if cut and set(names) != {name}:
                other = next(n for n in names if n != name)
                why = f"reads across the end of {other} into a part of {name}"
                span = cut[0].start, cut[0].stop
                yield Broken("buffers", why, self.number, step, access.memory, span)
                return

    def _name(self, index: int) -> str:
        """What a step writes into a core's memory: tensors, or what some engine computes."""
        step = self.steps[index]
        names = {
            b.name
            for a in step.of(written=False, per_core=False)
            for b in self.operands
            if b.memory == a.memory and b.address <= a.area.start < b.address + b.nbytes
        }
        return ", ".join(sorted(names)) or f"what {step.item.mnemonic} computes"

    def _written(self, index: int, memory: str) -> list[Area]:
        accesses = self.steps[index].of(written=True, per_core=True)
        return [a.area for a in accesses if a.memory == memory]

    def _terms(self, access: Access) -> float:
        """Products that went into each element of what an access touches."""
        scratch = self.scratch[access.memory]
        return uniform(scratch.cells.of(scratch.terms, access.area))

    def _pass_on(self, step: Step) -> Iterator[Broken]:
        """Sums that other work reads and writes one for one, or that leave the cores."""
        reads = [(a, self._terms(a)) for a in step.of(written=False, per_core=True)]
        sums = [(a, terms) for a, terms in reads if terms]
        for access in step.of(written=True, per_core=True):
            scratch = self.scratch[access.memory]
            one = {t: self._one(a, "sums") for a, t in sums if a.items == access.items}
            one.pop(MIXED, None)
            terms, begun = one.popitem() if len(one) == 1 else (MIXED if sums else 0, -1)
            scratch.cells.of(scratch.terms, access.area)[...] = terms
            scratch.cells.of(scratch.sums, access.area)[...] = begun
            scratch.cells.of(scratch.spent, access.area)[...] = False
        for access in step.of(written=True, per_core=False):
            self._store(access, {terms for _, terms in sums})
        if step.of(written=True, per_core=False):
            yield from self._stored_again(step)

    def _one(self, access: Access, what: Literal["sums", "writer"]) -> int:
        """The one step that all cells of an access name; -1 where they differ."""
        scratch = self.scratch[access.memory]
        found = scratch.cells.of(getattr(scratch, what), access.area)
        low, high = int(found.min()), int(found.max())
        return low if low == high else -1

    def _stored_again(self, step: Step) -> Iterator[Broken]:
        """What was computed leaves the cores once: a second time it stands for work left out."""
        for access in step.of(written=False, per_core=True):
            begun = self._one(access, "sums")
            if begun in self._repeated:
                yield self._multiplied_again(self.steps[begun], self._repeated[begun])
            maker = begun if begun >= 0 else self._one(access, "writer")
            if maker < 0 or self.steps[maker].of(written=False, per_core=False):
                continue
            room = sum(a.items for a in self.steps[maker].of(written=True, per_core=True))
            self._left[maker] = self._left.get(maker, 0) + access.items
            if self._left[maker] > room:
                why = f"stores again what instruction {self.steps[maker].place} has computed once"
                span = access.area.start, access.area.stop
                yield Broken("writes", why, self.number, step, access.memory, span)

    def _store(self, access: Access, terms: set[float]) -> None:
        if MIXED in terms or len(terms) > 1 or self.count.stored == MIXED:
            self.count.stored = MIXED
        elif terms:
            self.count.stored += terms.pop() * access.items

    def _sum(self, index: int, step: Step, products: Products) -> Iterator[Broken]:
        """Products, added to the sums that are there or to nothing."""
        scratch = self.scratch[self.chip.scratchpad]
        total = operand_area(products.total, products.extents)
        self.count.done += prod(products.extents) * max(step.cores, 1)
        own = self._valid_terms(scratch, products)
        terms = own + sum(self._before(scratch, x, products, own) for x in factors(products))
        begun = index
        if products.accumulate:
            found = uniform(scratch.cells.of(scratch.terms, total))
            begun = int(scratch.cells.of(scratch.sums, total).flat[0])
            terms = MIXED if MIXED in (found, terms) else found + terms
        before = self._before_them(step, scratch, products)
        if before is not None and (begun == index or begun in self._repeated):
            self._repeated.setdefault(begun, before)
            before = None
        result = total if products.result is None else operand_area(
            products.result, products.extents
        )  # fmt: skip
        alike = min(self._copies(scratch, x, products) for x in factors(products))
        self._alike[begun] = max(alike, self._alike.get(begun, 1))
        scratch.cells.of(scratch.terms, result)[...] = terms
        scratch.cells.of(scratch.sums, result)[...] = begun
        scratch.cells.of(scratch.spent, result)[...] = False
        if before is not None:
            yield self._multiplied_again(step, before)
            return
        yield from self._again(step, scratch, products)

    def _before(self, scratch: Scratch, factor: Operand, products: Products, terms: int) -> float:
        """Each sum's share of the products that a factor was computed from itself, once."""
        touched = operand_area(factor, products.extents)
        found = scratch.cells.of(scratch.terms, touched)
        spent = scratch.cells.of(scratch.spent, touched)
        if spent.all() or not found.any():
            return 0
        spent[...] = True
        made = np.unique(scratch.cells.of(scratch.sums, touched)).tolist()
        self._chained = max(self._chained, *(self._alike.get(i, 1) for i in made))
        each = uniform(found)
        if each == MIXED:
            self.count.stored = MIXED
            return 0
        still = zip(products.extents, factor.strides, products.total.strides, strict=True)
        return terms * each / prod(n for n, moved, kept in still if moved == 0 and kept)

    def _copies(self, scratch: Scratch, factor: Operand, products: Products) -> int:
        """How many cores at most have the same elements of a factor."""
        touched = operand_area(factor, products.extents)
        writers = np.unique(scratch.cells.of(scratch.writer, touched)).tolist()
        return max((self.steps[w].copies for w in writers if w >= 0), default=1)

    def _before_them(self, step: Step, scratch: Scratch, products: Products) -> Step | None:
        """The step that multiplied the same elements before, if there is one.

        Sums that are begun anew may do that where a later product takes them in: a tile of
        something in between may be computed again for each tile that needs it. Where such sums
        leave the cores, they stand for others that were left out.
        """
        one, two = (self._identity(scratch, x, products) for x in factors(products))
        before = self._multiplied.setdefault((products.extents, one, two), step)
        return None if before is step else before

    def _multiplied_again(self, step: Step, before: Step) -> Broken:
        why = f"multiplies what instruction {before.place} has multiplied"
        return Broken("macs", why, self.number, step)

    def _again(self, step: Step, scratch: Scratch, products: Products) -> Iterator[Broken]:
        """No element goes into the same sums twice."""
        one, two = (self._identity(scratch, x, products) for x in factors(products))
        total = operand_area(products.total, products.extents)
        if not products.accumulate:
            self._taken[total] = {}
        taken = self._taken.setdefault(total, {})
        before = taken.setdefault((0, one), taken.setdefault((1, two), step))
        if before is not step:
            why = f"adds products of elements that instruction {before.place} has added"
            yield Broken("macs", why, self.number, step)

    def _identity(self, scratch: Scratch, factor: Operand, products: Products) -> tuple[Any, ...]:
        """Where the elements of a factor come from: equal for equal elements only."""
        touched = operand_area(factor, products.extents)
        writers = np.unique(scratch.cells.of(scratch.writer, touched)).tolist()
        return (factor.strides, *(self._origin(w, factor.address) for w in writers))

    def _origin(self, writer: int, address: int) -> tuple[Any, ...]:
        """Bytes of shared memories and the place among them, where a transfer moved these alone."""
        step = self.steps[writer]
        sources = [(a.memory, a.area, a.items) for a in step.of(written=False, per_core=False)]
        own = step.of(written=True, per_core=True)
        if not sources or len(own) != 1 or step.of(written=False, per_core=True):
            return (writer, address)
        return (address - own[0].area.start, *sources)

    def _valid_terms(self, scratch: Scratch, products: Products) -> int:
        """How many products each sum takes in, without those beyond the edges of both tensors.

        An element that the kernel has computed is beyond an edge where what it meets is.
        """
        reduced = [i for i, s in enumerate(products.total.strides) if s == 0]
        every = prod(products.extents[i] for i in reduced)
        makers = [self._maker(scratch, operand, products) for operand in factors(products)]
        if any(m is not None and self._loads(m) and self._mask(m) is None for m in makers):
            return every
        masks = [
            self._inside(m, operand, products, reduced)
            for m, operand in zip(makers, factors(products), strict=True)
            if m is not None and self._loads(m)
        ]
        if not masks or any(m is None for m in masks):
            return every
        return int(np.sum(np.any(np.stack([m for m in masks if m is not None]), axis=0)))

    def _maker(self, scratch: Scratch, operand: Operand, products: Products) -> int | None:
        """The step that wrote all of a factor; None if there are several."""
        touched = operand_area(operand, products.extents)
        writers = np.unique(scratch.cells.of(scratch.writer, touched))
        return int(writers[0]) if len(writers) == 1 and writers[0] >= 0 else None

    def _loads(self, writer: int) -> bool:
        return bool(self.steps[writer].of(written=False, per_core=False))

    def _inside(
        self, writer: int, operand: Operand, products: Products, reduced: Sequence[int]
    ) -> Array | None:
        """For each term of a sum, whether some element of a factor is from memory."""
        mask = self._mask(writer)
        touched = operand_area(operand, products.extents)
        if mask is None or prod(products.extents) > _MOST_TERMS:
            return None
        if touched.start < mask[0] or touched.stop > mask[0] + len(mask[1]):
            return None
        start, flags = mask
        view = np.ndarray(
            products.extents, np.bool_, flags, operand.address - start, operand.strides
        )
        kept = tuple(i for i in range(len(products.extents)) if i not in reduced)
        return np.asarray(view.any(axis=kept))

    def _mask(self, writer: int) -> Filled | None:
        """Which bytes a transfer has from memory on some core; None: all, or it is no transfer."""
        if writer not in self._masks:
            self._masks[writer] = self._partly(self.steps[writer])
        return self._masks[writer]

    def _partly(self, step: Step) -> Filled | None:
        own = step.of(written=True, per_core=True)
        taken = sum(a.total for a in step.of(written=False, per_core=False))
        if len(own) != 1 or not taken or taken >= own[0].total * own[0].cores:
            return None
        if own[0].items * own[0].cores > MOST_CELLS:
            return None
        ((access, flags),) = [f for f in filled(step, self.chip) if f[0].per_core]
        some = flags.reshape(access.cores, -1).any(axis=0)
        return access.area.start, np.repeat(some, access.itemsize)
