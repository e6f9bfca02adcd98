"""Kernels to Warboy's instructions: what differs from the generic way.

A tensor's memory decides who moves it. Sums wait for the nest after them: where it makes bytes of
them, the tensor unit's drain does that, and the vector unit gets bytes or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import dtype_name
from kcompiler.kernel.expr import Const, Expr, Load, loads, substitute
from kcompiler.kernel.nest import Access, Affine, Axis, Nest, row_major
from kcompiler.kernel.statements import Compute, Copy, Statement
from kcompiler.machine.generic import lowering
from kcompiler.machine.instruction import Isa
from kcompiler.machine.simulator.elementwise import run_micro
from kcompiler.targets.warboy.epilogue import Drain, Work, split
from kcompiler.targets.warboy.lookups import last_reader, look_ups, looked_up
from kcompiler.targets.warboy.units import (
    DRAM,
    SRAM,
    Dot,
    Output,
    Requantize,
    Step,
    Table,
    TableLoop,
    Term,
)

Strides = Mapping[str, int]


@dataclass(frozen=True)
class _Sums:
    """A contraction that may still be told to drain bytes; `axes` are those of `dot.kept`."""

    nest: Nest
    dot: Dot
    axes: tuple[str, ...]

    def drained(self, how: Requantize, out: Strides, channel: Strides) -> Dot:
        """The instruction that makes bytes, whose strides along each axis are given."""
        places = [{"out": out[a], "channel": channel[a]} for a in self.axes]
        count = len(self.dot.sequence)
        steps = zip(self.dot.sequence, places[:count], strict=True)
        outputs = zip(self.dot.outputs, places[count:], strict=True)
        return replace(
            self.dot,
            sequence=tuple(replace(step, **place) for step, place in steps),
            outputs=tuple(replace(output, **place) for output, place in outputs),
            drain=(how,),
        )


@dataclass
class Lowering(lowering.Lowering):
    """One kernel's way to instructions."""

    waiting: _Sums | None = None

    def block(self, body: tuple[Statement, ...]) -> Iterator[Isa]:
        """The instructions of a block; at the kernel's end no sums wait."""
        yield from super().block(body)
        if body is self.kernel.body:
            yield from self.flush()

    def flush(self) -> tuple[Isa, ...]:
        """The sums that wait, as sums."""
        found = () if self.waiting is None else (self.waiting.dot,)
        self.waiting = None
        return found

    def copy(self, copy: Copy) -> Sequence[Isa]:
        """A transfer, by the DMA engine or over the fetch network."""
        outer = copy.src if copy.dst.tensor in self.buffers else copy.dst
        self.instructions = DRAM if self.bindings[outer.tensor].memory == "dram" else SRAM
        return (*self.flush(), *super().copy(copy))

    def compute(self, compute: Compute) -> Sequence[Isa]:
        """A nest: its drain on the tensor unit, if it has one, and the rest of it."""
        nest = compute.nest
        types = [self.buffers[r.operand].dtype for r in nest.reads]
        work = split(nest, types, self.waiting.nest.write.operand if self.waiting else None)
        done = self.drained(nest, work)
        if work.drain is None or done is None:
            return (*self.flush(), *self.alone(compute, work))
        self.waiting = None
        if work.drained:
            return (done,)
        place = nest.reads[work.drain.total].operand
        before = self.buffers[place]
        self.buffers[place] = replace(before, dtype=work.drain.dtype)
        rest = self.steps(_with_body(nest, work.body), table=work.table is not None)
        self.buffers[place] = before
        return (done, *rest)

    def alone(self, compute: Compute, work: Work) -> Sequence[Isa]:
        """A nest without a drain; sums wait for the next one."""
        nest = compute.nest
        later = compute.carry is not None and self.values[compute.carry] > 0
        if nest.is_contraction and self.array_takes(nest):
            sums = self.sums(nest, later)
            vector = self.vector(nest, later)
            if sums.dot.full_rate_cycles(self.chip) <= self.cycles(vector):
                self.waiting = sums
                return ()
            return vector
        if work.drain is None and work.table is not None:
            return self.steps(_with_body(nest, work.body), table=True)
        return self.after_look_ups(compute, later)

    # ---- the tensor unit ----------------------------------------------------------------------

    def sums(self, nest: Nest, accumulate: bool) -> _Sums:
        """A contraction; the factor that streams is the one that takes less time so."""
        both = [self._sums(nest, accumulate, reads) for reads in (nest.reads, nest.reads[::-1])]
        return min(both, key=lambda found: found.dot.full_rate_cycles(self.chip))

    def _sums(self, nest: Nest, accumulate: bool, reads: Sequence[Access]) -> _Sums:
        (data, along), (weights, beside) = (self.place(r, nest) for r in reads)
        sums, places = self.place(nest.write, nest)
        kept = [a for a in nest.parallel if a.extent > 1]
        outputs = [a for a in kept if beside[a.name] and not along[a.name]]
        steps = sorted((a for a in kept if a not in outputs), key=lambda a: not beside[a.name])

        def common(axis: Axis) -> dict[str, int]:
            found = {"extent": axis.extent, "weights": beside[axis.name]}
            return found | {"sums": places[axis.name], "out": 0, "channel": 0}

        dot = Dot(
            cores=self.cores,
            data=data,
            weights=weights,
            sums=sums,
            data_type=self.type_of(reads[0]),
            weight_type=self.type_of(reads[1]),
            sequence=tuple(Step(data=along[a.name], **common(a)) for a in steps),
            terms=tuple(
                Term(extent=a.extent, data=along[a.name], weights=beside[a.name])
                for a in nest.reduced
                if a.extent > 1
            ),
            outputs=tuple(Output(**common(a)) for a in outputs),
            accumulate=int(accumulate),
            drain=(),
        )
        return _Sums(nest, dot, tuple(a.name for a in (*steps, *outputs)))

    def drained(self, nest: Nest, work: Work) -> Dot | None:
        """The sums that wait, drained to bytes; None where this nest has no use for that."""
        drain, sums = work.drain, self.waiting
        if drain is None or sums is None:
            return None
        names = _same_axes(sums.nest, nest, drain.total)
        if names is None:
            return None
        out, along = self._bytes_place(nest, work, drain)
        (biases, bias, by), (scales, scale, scale_by) = (
            self._parameter(nest, p) for p in (drain.bias, drain.scale)
        )
        if by is not None and scale_by is not None and by != scale_by:
            return None
        how = Requantize(
            to=dtype_name(drain.dtype),
            out=out,
            bias_from=biases,
            bias=int(bias),
            scale_from=scales,
            scale=float(scale) if scales == "number" else 1.0,
            scales=0 if scales == "number" else int(scale),
            zero=drain.zero,
            low=drain.low,
            high=drain.high,
        )
        channel = by or scale_by or dict.fromkeys(along, 0)
        return sums.drained(
            how,
            {axis: along[name] for axis, name in names.items()},
            {axis: channel[name] for axis, name in names.items()},
        )

    def _bytes_place(self, nest: Nest, work: Work, drain: Drain) -> tuple[int, Strides]:
        """Where drained bytes go: the result, or over the sums for the vector unit to go on."""
        if work.drained:
            return self.place(nest.write, nest)
        access = nest.reads[drain.total]
        steps = row_major(self.buffers[access.operand].shape)
        pairs = list(zip(access.index, steps, strict=True))
        along = {a.name: sum(f.coefficient(a.name) * s for f, s in pairs) for a in nest.axes}
        return self.address(access.operand), along

    def _parameter(self, nest: Nest, given: Load | Const) -> tuple[str, float, Strides | None]:
        """(where from, the number or the address, strides) of bias or scale."""
        if isinstance(given, Const):
            return "number", given.value, None
        return "buffers", *self.place(nest.reads[given.read], nest)

    # ---- the vector unit ----------------------------------------------------------------------

    def after_look_ups(self, compute: Compute, accumulate: bool) -> Sequence[Isa]:
        """A nest step by step, after those functions of single bytes in it that tables can take."""
        nest, before, kept = compute.nest, list[Isa](), dict(self.buffers)
        for read, part in look_ups(nest.body, [self.buffers[r.operand].dtype for r in nest.reads]):
            access = nest.reads[read]
            if not _each_once(access, nest) or not last_reader(
                self.kernel.body, compute, access.operand
            ):
                continue
            before += self.steps(replace(_with_body(nest, part), write=access), table=True)
            self.buffers[access.operand] = replace(self.buffers[access.operand], dtype=part.dtype)
            nest = replace(nest, body=looked_up(nest.body, read, part))
        done = (*before, *self.vector(nest, accumulate))
        self.buffers = kept
        return done

    def steps(self, nest: Nest, *, table: bool) -> Sequence[Isa]:
        """An element-wise nest; as a table where it has one read, of bytes."""
        if not table:
            return self.vector(nest, accumulate=False)
        (read,) = nest.reads
        source, along = self.place(read, nest)
        out, places = self.place(nest.write, nest)
        axes = [a for a in nest.axes if a.extent > 1]
        loops = tuple(
            TableLoop(extent=a.extent, source=along[a.name], out=places[a.name]) for a in axes
        )
        values = table_of(nest.body, self.buffers[read.operand].dtype)
        found = tuple(map(int, values.view(np.uint8)))
        return (Table(cores=self.cores, source=source, out=out, loops=loops, table=found),)


def table_of(body: Expr, dtype: np.dtype[Any]) -> Array:
    """The value of an expression of one byte for each of the 256."""
    every = np.arange(256, dtype=np.uint8).view(dtype)
    return np.ascontiguousarray(run_micro(lowering.micro(body), [every], None))


def _with_body(nest: Nest, body: Expr) -> Nest:
    """The nest with another body, and no reads but those that it uses."""
    used = loads(body)

    def leaf(expr: Expr) -> Expr:
        return replace(expr, read=used.index(expr.read)) if isinstance(expr, Load) else expr

    reads = tuple(nest.reads[r] for r in used)
    return replace(nest, reads=reads, body=substitute(body, leaf))


def _same_axes(sums: Nest, nest: Nest, read: int) -> dict[str, str] | None:
    """Axis of the sums -> axis of the nest that reads them, one to one; None if they differ."""
    found: dict[str, str] = {}
    inner, outer = sums.extents, nest.extents
    for written, seen in zip(sums.write.index, nest.reads[read].index, strict=True):
        one, other = _axis(written), _axis(seen)
        if one is None or other is None or inner.get(one, 1) != outer.get(other, 1):
            return None
        if inner.get(one, 1) > 1:
            found[one] = other
    all_of_nest = sorted(a.name for a in nest.axes if a.extent > 1) == sorted(found.values())
    all_of_sums = sorted(a.name for a in sums.parallel if a.extent > 1) == sorted(found)
    return found if all_of_nest and all_of_sums else None


def _each_once(access: Access, nest: Nest) -> bool:
    """Whether a nest reads each element of a tensor once."""
    found = [_axis(form) for form in access.index]
    axes = [name for name in found if name and nest.extents[name] > 1]
    return None not in found and sorted(axes) == sorted(a.name for a in nest.axes if a.extent > 1)


def _axis(form: Affine) -> str | None:
    """The axis that an index is; no name where it stays at 0, None where it is anything else."""
    if form == Affine():
        return ""
    plain = len(form.terms) == 1 and form.terms[0][1] == 1 and not form.offset
    return form.terms[0][0] if plain else None
