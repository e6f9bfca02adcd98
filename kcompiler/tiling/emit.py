"""From a plan to the statements of a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kcompiler.errors import IRError
from kcompiler.kernel.footprint import (
    Buffer,
    Footprint,
    Range,
    Stage,
    is_origin,
    last,
    reduction_axis,
    value,
)
from kcompiler.kernel.nest import Access, Affine, Nest, Region
from kcompiler.kernel.statements import Alloc, Box, Compute, Copy, For, Kernel, Statement
from kcompiler.tiling.measure import place_of
from kcompiler.tiling.plan import Plan, SectionPlan
from kcompiler.tiling.variants import unrepeated


def emit(plan: Plan, region: Region, memory: str) -> Kernel:
    """The kernel that a plan of a region means; buffers lie in `memory`."""
    operands = tuple(o for o in unrepeated(region).operands if o.role != "local")
    several = len(plan.sections) > 1
    bodies = [
        _Section(section, memory, f"s{i}_" if several else "").body()
        for i, section in enumerate(plan.sections)
    ]
    body = bodies[0]
    if several:  # a loop of one trip ends the life of a section's buffers
        body = tuple(For(f"section{i}", 1, "sequential", b) for i, b in enumerate(bodies))
    for dimension, cores in reversed(plan.grid):
        body = (For(core_variable(dimension), cores, "core", body),)
    return Kernel("", operands, body)


def core_variable(dimension: int) -> str:
    """The core loop that splits a dimension of the output."""
    return f"core{dimension}"


class _Section:
    """The loops of one section."""

    def __init__(self, plan: SectionPlan, memory: str, prefix: str) -> None:
        self.plan = plan
        self.fp: Footprint = plan.footprint
        self.memory = memory
        self.prefix = prefix  # of buffer names, which are unique in a kernel
        self.point = {last(a.axis): a.tile - 1 for a in plan.axes}
        order = plan.schedule.order
        self.loops = [name for name in order if plan.axis(name).trips > 1]
        self.origins = {a.axis: self._origin(a.axis) for a in plan.axes}

    def _origin(self, axis: str) -> Affine:
        """Where the current tile of an axis begins."""
        a = self.plan.axis(axis)
        terms = {self._variable(axis): a.tile} if a.trips > 1 else {}
        if a.cores > 1:
            terms[core_variable(a.dimension)] = a.tile * a.trips
        return Affine.of(terms)

    def _variable(self, axis: str) -> str:
        return "tile_" + axis.replace("@", "_of_")

    def body(self) -> tuple[Statement, ...]:
        """All statements of the section, inside the core loops."""
        return self._level(0)

    def _level(self, depth: int) -> tuple[Statement, ...]:
        """The statements inside the first `depth` loops."""
        body = list(self._block(depth, None))
        if depth < len(self.loops):
            body.append(self._loop(self.loops[depth], self._level(depth + 1)))
        if self._where(self.fp.output.origins) == (depth, None):
            body.append(self._store())
        return tuple(body)

    def _name(self, buffer: str) -> str:
        return self.prefix + buffer

    def _loop(self, axis: str, body: tuple[Statement, ...]) -> For:
        order = self.plan.schedule.order
        position = order.index(axis) if axis in order else len(order)
        double = position >= self.plan.schedule.sequential
        kind = "double" if double else "sequential"
        return For(self._variable(axis), self.plan.axis(axis).trips, kind, body)  # type: ignore[arg-type]

    def _where(self, origins: frozenset[str]) -> tuple[int, str | None]:
        """(loops around, reduction loop) of something that moves with the origins of some axes."""
        axes, reduction, anchor = place_of(self.fp, origins)
        if reduction is not None and self.plan.axis(reduction).trips == 1:
            reduction = None
        if reduction is not None:
            axes |= anchor
        return max((i + 1 for i, a in enumerate(self.loops) if a in axes), default=0), reduction

    def _block(self, depth: int, reduction: str | None) -> tuple[Statement, ...]:
        """Buffers and stages directly inside one loop."""
        here = [b for b in self.fp.buffers if self._where(b.origins) == (depth, reduction)]
        body: list[Statement] = [self._alloc(b) for b in here]
        body += [self._load(b) for b in sorted(here, key=_urgency) if b.operand.role in _OUTSIDE]
        for j, stage in enumerate(self.fp.stages):
            inside, loop = self._where(stage.origins), self._cut(j, stage)
            if inside == (depth, reduction):
                carry = self._variable(loop) if loop else None
                body.append(Compute(self._nest(stage), carry))
            elif loop and reduction is None and inside == (depth, loop):
                body.append(self._loop(loop, self._block(depth, loop)))
        return tuple(body)

    def _cut(self, j: int, stage: Stage) -> str | None:
        """The loop over the tiles of a stage's own reduction."""
        name = reduction_axis(j, stage.split) if stage.split else None
        return name if name and self.plan.axis(name).trips > 1 else None

    # ---- statements ---------------------------------------------------------------------------

    def _shape(self, ranges: Sequence[Range]) -> tuple[int, ...]:
        return tuple(r.length(self.point) for r in ranges)

    def _alloc(self, buffer: Buffer) -> Alloc:
        return Alloc(
            self._name(buffer.name), buffer.operand.dtype, self._shape(buffer.ranges), self.memory
        )

    def _outer(self, buffer: Buffer) -> Box:
        """The box of the operand that a buffer holds."""
        origin = tuple(_placed(r.low, self.point, self.origins) for r in buffer.ranges)
        steps = tuple(r.step for r in buffer.ranges)
        return Box(buffer.operand.name, origin, self._shape(buffer.ranges), steps)

    def _inner(self, buffer: Buffer) -> Box:
        """All of a buffer."""
        shape = self._shape(buffer.ranges)
        return Box(self._name(buffer.name), (Affine(),) * len(shape), shape, (1,) * len(shape))

    def _load(self, buffer: Buffer) -> Copy:
        outer = self._outer(buffer)
        if buffer.gather is not None:
            outer = _looked_up(outer, buffer.gather[0], buffer.operand.shape)
        gather = buffer.gather and (buffer.gather[0], self._name(buffer.gather[1]))
        return Copy(self._inner(buffer), outer, buffer.fill, gather)

    def _store(self) -> Copy:
        return Copy(self._outer(self.fp.output), self._inner(self.fp.output))

    def _nest(self, stage: Stage) -> Nest:
        """The nest with a tile's extents, on buffers."""
        lengths = {name: r.length(self.point) for name, r in stage.axes.items()}
        axes = tuple(replace(a, extent=lengths[a.name]) for a in stage.nest.axes)
        reads = tuple(self._read(stage, r, lengths) for r in range(len(stage.reads)))
        index = self._index(stage, stage.nest.write, self.fp.buffer(stage.write))
        return replace(
            stage.nest, axes=axes, reads=reads, write=Access(self._name(stage.write), index)
        )

    def _read(self, stage: Stage, number: int, lengths: Mapping[str, int]) -> Access:
        access = stage.nest.reads[number]
        buffer = self.fp.buffer(stage.reads[number])
        if access.indirect is not None:
            dimension, by = access.indirect
            (form,) = stage.nest.reads[by].index
            index = (*access.index[:dimension], form, *access.index[dimension + 1 :])
            access = Access(access.operand, index)
        index = self._index(stage, access, buffer)
        bounds = zip((f.bounds(lengths) for f in index), self._shape(buffer.ranges), strict=True)
        inside = all(low >= 0 and high < extent for (low, high), extent in bounds)
        padded = access.fill is not None and buffer.operand.role == "local"
        if not inside and not padded:
            raise IRError("kernel", "reads stay inside buffers", buffer.name)
        return Access(self._name(buffer.name), index, None if inside else access.fill)

    def _index(self, stage: Stage, access: Access, buffer: Buffer) -> tuple[Affine, ...]:
        pairs = zip(access.index, buffer.ranges, strict=True)
        return tuple(stage.relative(form, r, self.point) for form, r in pairs)


_OUTSIDE = ("constant", "input")


def _urgency(buffer: Buffer) -> tuple[bool, bool]:
    """Weights come first: no kernel writes them, so they load while the one before still computes.

    What a gather looks up comes last, after its indices.
    """
    return (buffer.gather is not None, buffer.operand.role != "constant")


def _placed(low: Affine, point: Mapping[str, int], origins: Mapping[str, Affine]) -> Affine:
    """The first index of a range, in loop variables."""
    still = Affine(tuple(t for t in low.terms if not is_origin(t[0])), low.offset)
    moving = Affine(tuple(t for t in low.terms if is_origin(t[0])))
    return moving.substitute(origins).plus(Affine((), value(still, point)))


def _looked_up(box: Box, dimension: int, shape: Sequence[int]) -> Box:
    """The source box of a gather: all of the dimension that is looked up."""
    origin = (*box.origin[:dimension], Affine(), *box.origin[dimension + 1 :])
    extents = (*box.shape[:dimension], shape[dimension], *box.shape[dimension + 1 :])
    steps = (*box.step[:dimension], 1, *box.step[dimension + 1 :])
    return Box(box.tensor, origin, extents, steps)
