"""Kernels to instructions: loops over tiles unroll, loops over cores become grids.

A method for each statement; a target whose hardware wants another one overrides that method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import copysign, prod
from typing import Any

import numpy as np

from kcompiler.graph.types import dtype_name
from kcompiler.kernel.expr import Acc, Apply, Const, Expr, Load
from kcompiler.kernel.nest import Access, Affine, Nest, Operand, row_major
from kcompiler.kernel.statements import Alloc, Box, Compute, Copy, For, Kernel, Statement
from kcompiler.machine.chip import Chip
from kcompiler.machine.cost import multiplies
from kcompiler.machine.generic.base import memory_word
from kcompiler.machine.generic.instructions import Instructions, choices
from kcompiler.machine.generic.transfers import Dim
from kcompiler.machine.generic.vector import Micro
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import Binding
from kcompiler.machine.simulator.boxes import UNSIGNED
from kcompiler.machine.simulator.elementwise import immediate_bits
from kcompiler.scalar import convert


@dataclass
class Lowering:
    """One kernel's way to instructions: where its tensors lie, the loops around a statement."""

    chip: Chip
    instructions: Instructions
    kernel: Kernel
    bindings: Mapping[str, Binding]
    addresses: Mapping[str, tuple[int, ...]]
    values: dict[str, int] = field(default_factory=dict)  # sequential loop variable -> iteration
    buffers: dict[str, Alloc] = field(default_factory=dict)
    turn: dict[str, int] = field(default_factory=dict)  # buffer -> how often it was allocated

    @cached_property
    def grid(self) -> tuple[tuple[str, int], ...]:
        """The core loops: (variable, extent)."""
        return self.kernel.core_grid

    @cached_property
    def cores(self) -> int:
        """Cores that take part."""
        return prod(n for _, n in self.grid)

    def block(self, body: tuple[Statement, ...]) -> Iterator[Isa]:
        """The instructions of a block, in order."""
        for statement in body:
            match statement:
                case For(kind="core"):
                    yield from self.block(statement.body)
                case For():
                    for i in range(statement.extent):
                        self.values[statement.var] = i
                        yield from self.block(statement.body)
                    del self.values[statement.var]
                case Alloc():
                    self.buffers[statement.name] = statement
                    self.turn[statement.name] = self.turn.get(statement.name, -1) + 1
                case Copy():
                    yield from self.copy(statement)
                case Compute():
                    yield from self.compute(statement)

    def address(self, buffer: str) -> int:
        """Where a buffer lies in this iteration; a double buffer alternates."""
        places = self.addresses[buffer]
        return places[self.turn[buffer] % len(places)]

    def copy(self, copy: Copy) -> Sequence[Isa]:
        """A transfer of a box: into the scratchpad, out of it, or gathered into it."""
        loading = copy.dst.tensor in self.buffers
        box, buffer = (copy.src, copy.dst) if loading else (copy.dst, copy.src)
        if self.buffers[buffer.tensor].shape != buffer.shape or any(
            o != Affine() for o in buffer.origin
        ):
            raise ValueError(
                f"{self.kernel.name}: a transfer moves whole buffers, {buffer.tensor} is cut"
            )
        operand = self.kernel.operand(box.tensor)
        shared = self.bindings[box.tensor]
        start, dims = self._dims(operand, box, copy)
        base = shared.address + operand.offset * operand.dtype.itemsize + start
        keep = () if copy.indirect is None else (copy.indirect[0],)
        base, dims, kept = compact(base, dims, keep)
        use = self.instructions
        common: dict[str, Any] = {
            "local": self.address(buffer.tensor),
            "memory": memory_word(shared.memory, self.chip, choices(use.load, "memory")),
            "base": base,
            "itemsize": operand.dtype.itemsize,
            "dims": dims,
            "grid": tuple(n for _, n in self.grid),
        }
        if not loading:
            return (use.store(**common),)
        if copy.indirect is None:
            return (use.load(**common, fill=fill_bits(copy.fill, operand.dtype)),)
        name = copy.indirect[1]
        gather = use.gather(
            **common,
            axis=kept[0],
            indices=self.address(name),
            index_type=dtype_name(self.buffers[name].dtype),
        )
        return (gather,)

    def _dims(self, operand: Operand, box: Box, copy: Copy) -> tuple[int, tuple[Dim, ...]]:
        """(bytes to add to the base, dimensions); a box that runs backwards turns its tensor."""
        start, dims = 0, []
        for d, origin in enumerate(box.origin):
            gathered = copy.indirect is not None and copy.indirect[0] == d
            extent, stride = operand.shape[d], operand.strides[d] * operand.dtype.itemsize
            sign = -1 if box.step[d] < 0 else 1
            first = origin.at(self.values)
            if sign < 0:
                start += (extent - 1) * stride
                first = extent - 1 - first
            dims.append(
                self.instructions.dim(
                    extent=extent,
                    stride=sign * stride,
                    origin=first,
                    step=abs(box.step[d]),
                    box=copy.dst.shape[d] if gathered else box.shape[d],
                    core_steps=tuple(sign * origin.coefficient(var) for var, _ in self.grid),
                )
            )
        return start, tuple(dims)

    def compute(self, compute: Compute) -> Sequence[Isa]:
        """A nest on the array or on the vector unit, whichever takes fewer cycles when both can."""
        later = compute.carry is not None and self.values[compute.carry] > 0
        vector = self.vector(compute.nest, later)
        if not compute.nest.is_contraction or not self.array_takes(compute.nest):
            return vector
        array = self.contraction(compute.nest, later)
        return array if self.cycles(array) <= self.cycles(vector) else vector

    def cycles(self, work: Sequence[Isa]) -> int:
        """What instructions take, one after the other."""
        return sum(each.cycles(self.chip) for each in work)

    def array_takes(self, nest: Nest) -> bool:
        """Whether the array multiplies these types, and its instruction can say so."""
        contract = self.instructions.contract
        if contract is None:
            return False
        types = [self.buffers[read.operand].dtype for read in nest.reads]
        sayable = choices(contract, "type_a")
        return multiplies(self.chip.matrix, *types) and set(map(dtype_name, types)) <= set(sayable)

    def place(self, access: Access, nest: Nest) -> tuple[int, dict[str, int]]:
        """(byte address, byte stride of each axis) of an access to a buffer."""
        if access.fill is not None:
            raise ValueError(f"{self.kernel.name}: engines do not pad, {access.operand} has a fill")
        buffer = self.buffers[access.operand]
        at = self.address(access.operand)
        strides = dict.fromkeys((axis.name for axis in nest.axes), 0)
        for form, step in zip(access.index, row_major(buffer.shape), strict=True):
            at += form.offset * step * buffer.dtype.itemsize
            for name, c in form.terms:
                strides[name] += c * step * buffer.dtype.itemsize
        return at, strides

    def type_of(self, access: Access) -> str:
        """The element type of the buffer that an access is to, as instructions name it."""
        return dtype_name(self.buffers[access.operand].dtype)

    def contraction(self, nest: Nest, accumulate: bool) -> Sequence[Isa]:
        """A contraction on the array."""
        (a, sa), (b, sb) = (self.place(read, nest) for read in nest.reads)
        acc, so = self.place(nest.write, nest)
        loop, contract = self.instructions.loop, self.instructions.contract
        assert contract is not None  # noqa: S101 - `array_takes` said so
        loops = tuple(
            loop(extent=x.extent, a=sa[x.name], b=sb[x.name], acc=so[x.name])
            for x in nest.axes
            if x.extent > 1
        )
        types = [self.type_of(read) for read in nest.reads]
        work = contract(
            cores=self.cores,
            a=a,
            b=b,
            acc=acc,
            type_a=types[0],
            type_b=types[1],
            loops=loops,
            accumulate=int(accumulate),
        )
        return (work,)

    def vector(self, nest: Nest, accumulate: bool) -> Sequence[Isa]:
        """Any nest on the vector unit."""
        places = [self.place(read, nest) for read in nest.reads]
        out, so = self.place(nest.write, nest)
        order = [x for x in (*nest.parallel, *nest.reduced) if x.extent > 1]
        loop, source = self.instructions.vector_loop, self.instructions.source
        loops = tuple(
            loop(extent=x.extent, out=so[x.name], reads=tuple(s[x.name] for _, s in places))
            for x in order
        )
        sources = tuple(
            source(address=at, dtype=self.type_of(r))
            for (at, _), r in zip(places, nest.reads, strict=True)
        )
        work = self.instructions.nest(
            cores=self.cores,
            sources=sources,
            loops=loops,
            reduced=sum(x.reduced for x in order),
            body=micro(nest.body),
            combine=nest.combine,
            result=micro(nest.result),
            out=out,
            out_type=self.type_of(nest.write),
            accumulate=int(accumulate),
        )
        return (work,)


def compact(
    base: int, dims: tuple[Dim, ...], keep: tuple[int, ...]
) -> tuple[int, tuple[Dim, ...], tuple[int, ...]]:
    """The same boxes in fewer dimensions: (base, dims, new positions of the dimensions to keep).

    A dimension that is always at one index inside the tensor goes into the base; one that is taken
    whole merges with the one outside it when their strides fit.
    """
    found: list[Dim] = []
    kept: list[int] = []
    for position, dim in enumerate(dims):
        still = dim.box == 1 and not any(dim.core_steps) and 0 <= dim.origin < dim.extent
        if still and position not in keep:
            base += dim.origin * dim.stride
        elif (
            found
            and position not in keep
            and (len(found) - 1) not in kept
            and _merges(found[-1], dim)
        ):
            found[-1] = _merged(found[-1], dim)
        else:
            found.append(dim)
        if position in keep:
            kept.append(len(found) - 1)
    return base, tuple(found), tuple(kept)


def _merges(outer: Dim, inner: Dim) -> bool:
    whole = (
        inner.origin == 0
        and inner.box == inner.extent
        and inner.step == 1
        and not any(inner.core_steps)
    )
    return (
        whole
        and outer.step == 1
        and outer.stride == inner.stride * inner.extent
        and inner.extent > 0
    )


def _merged(outer: Dim, inner: Dim) -> Dim:
    n = inner.extent
    return replace(
        outer,
        extent=outer.extent * n,
        stride=inner.stride,
        origin=outer.origin * n,
        box=outer.box * n,
        core_steps=tuple(s * n for s in outer.core_steps),
    )


def fill_bits(value: float, dtype: np.dtype[Any]) -> int:
    """The bits of an element that holds `value`, converted as a cast converts."""
    if value == 0 and copysign(1, value) > 0:
        return 0
    return int(convert(np.array(value), dtype).view(UNSIGNED[dtype.itemsize]))


@lru_cache(maxsize=4096)
def micro(expr: Expr) -> tuple[Micro, ...]:
    """An expression as a micro-program; equal parts are computed once."""
    steps: list[Micro] = []
    known: dict[Expr, int] = {}

    def emit(part: Expr) -> int:
        if part not in known:
            arguments = tuple(emit(a) for a in part.args)
            steps.append(_step(part, arguments))
            known[part] = len(steps) - 1
        return known[part]

    emit(expr)
    return tuple(steps)


def _step(part: Expr, arguments: tuple[int, ...]) -> Micro:
    name = dtype_name(part.dtype)
    match part:
        case Load():
            return Micro(function="load", dtype=name, args=(part.read,))
        case Const():
            return Micro(
                function="const",
                dtype=name,
                args=(),
                immediate=immediate_bits(part.value, part.dtype),
            )
        case Acc():
            return Micro(function="acc", dtype=name, args=())
        case Apply():
            return Micro(function=part.function, dtype=name, args=arguments)
    raise TypeError(f"{type(part).__name__} has no micro-operation")
