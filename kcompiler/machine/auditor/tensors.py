"""Tensors in shared memories: who may touch them, and that they are there when they are read.

Kernel by kernel in program order. Inputs and constants are there from the start; a kernel puts its
output over whatever lay there before, and may read its operands where nothing lies over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kcompiler.machine.auditor.area import Area, meet
from kcompiler.machine.auditor.coverage import coverage
from kcompiler.machine.auditor.finding import Broken, Property
from kcompiler.machine.auditor.observe import Access, Step
from kcompiler.machine.program import Binding, KernelInfo, Program

Place: TypeAlias = tuple[str, int, int]
"""Memory, address, bytes: what a tensor is known by where its name may be another."""


@dataclass
class Content:
    """A tensor that was written: by kernel `maker`, or -1 for what is given.

    `lost` are the ranges that other tensors have taken since, and whose.
    """

    binding: Binding
    maker: int
    constant: bool = False
    lost: list[tuple[int, int, str]] = field(default_factory=list)


def _place(binding: Binding) -> Place:
    return binding.memory, binding.address, binding.nbytes


def _span(binding: Binding) -> tuple[int, int]:
    return binding.address, binding.address + binding.nbytes


class Tensors:
    """What the shared memories hold while a program's kernels run."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._live: dict[str, list[Content]] = {}
        self._given: dict[Place, Content] = {}
        self._made: dict[tuple[str, Place], Content] = {}
        self._latest: dict[Place, Content] = {}

    def check(self, blocks: Sequence[Sequence[Step]]) -> Iterator[Broken]:
        """All that is wrong; `blocks` are the steps of each kernel."""
        yield from self._start()
        for number, (kernel, steps) in enumerate(zip(self.program.kernels, blocks, strict=True)):
            yield from self._kernel(number, kernel, steps)
        yield from self._outputs()

    def _start(self) -> Iterator[Broken]:
        """Inputs and constants, none over another."""
        constants = {_place(b) for b in self.program.constants}
        for binding in (*self.program.inputs, *self.program.constants):
            place = _place(binding)
            if place in self._given or not binding.nbytes:
                continue
            made, taken = self._put(binding, -1, constant=place in constants)
            self._given[place] = made
            for other in taken:
                why = f"{binding.name} and {other.binding.name} are both needed from the start"
                yield Broken("buffers", why, memory=binding.memory, span=_common(binding, other))

    def _put(
        self, binding: Binding, maker: int, *, constant: bool = False
    ) -> tuple[Content, list[Content]]:
        """Lay a tensor over others: it, and those that it takes bytes from."""
        made = Content(binding, maker, constant)
        low, high = _span(binding)
        live = self._live.setdefault(binding.memory, [])
        taken = [c for c in live if _span(c.binding)[0] < high and low < _span(c.binding)[1]]
        for other in taken:
            other.lost.append((low, high, binding.name))
        gone = {id(c) for c in taken if low <= _span(c.binding)[0] and _span(c.binding)[1] <= high}
        self._live[binding.memory] = [*(c for c in live if id(c) not in gone), made]
        return made, taken

    def _content(self, binding: Binding) -> Content | None:
        place = _place(binding)
        return self._made.get((binding.name, place)) or self._given.get(place)

    def _kernel(self, number: int, kernel: KernelInfo, steps: Sequence[Step]) -> Iterator[Broken]:
        stores: list[tuple[Step, Access]] = []
        unread = {_place(b): b for b in kernel.inputs if b.nbytes}
        for step in steps:
            for access in (a for a in step.accesses if not a.per_core):
                if not access.written:
                    used = next((b for b in kernel.inputs if _within(access, b)), None)
                    unread.pop(_place(used) if used else ("", 0, 0), None)
                    yield from self._read(number, step, access, used)
                elif _within(access, kernel.output):
                    if not stores:
                        yield from self._take(number, kernel.output, step)
                    stores.append((step, access))
                else:
                    why = f"writes outside of {kernel.output.name}, the kernel's output"
                    yield _at("writes", why, number, step, access)
        for binding in unread.values():
            why = f"its operand {binding.name} is never read"
            yield Broken("reads", why, number, None, binding.memory, _span(binding))
        yield from coverage(number, kernel.output, stores)

    def _take(self, number: int, output: Binding, step: Step) -> Iterator[Broken]:
        """A kernel's output takes its place."""
        made, taken = self._put(output, number)
        self._made[output.name, _place(output)] = self._latest[_place(output)] = made
        for other in (c for c in taken if c.constant):
            why = f"writes {output.name} over the constant {other.binding.name}"
            yield Broken("buffers", why, number, step, output.memory, _common(output, other))

    def _read(
        self, number: int, step: Step, access: Access, used: Binding | None
    ) -> Iterator[Broken]:
        if used is None:
            why = "reads what is no part of one of the kernel's operands"
            yield _at("reads", why, number, step, access)
            return
        content = self._content(used)
        if content is None:
            why = f"reads {used.name}, which nothing has written"
            yield _at("reads", why, number, step, access)
            return
        for low, high, name in content.lost:
            if meet(access.area, Area(low, high - low)) is not None:
                why = f"reads {used.name}, over which {name} lies by now"
                span = max(low, access.area.start), min(high, access.area.stop)
                yield Broken("buffers", why, number, step, access.memory, span)
                return

    def _outputs(self) -> Iterator[Broken]:
        """What is fetched at the end is there."""
        for binding in (b for b in self.program.outputs if b.nbytes):
            place = _place(binding)
            content = self._latest.get(place) or self._given.get(place)
            if content is None:
                why = f"no kernel writes the output {binding.name}"
                yield Broken("writes", why, memory=binding.memory, span=_span(binding))
            elif content.lost:
                low, high, name = content.lost[0]
                why = f"the output {binding.name} is gone at the end: {name} lies over it"
                span = max(low, place[1]), min(high, place[1] + place[2])
                yield Broken("buffers", why, memory=binding.memory, span=span)


def _within(access: Access, binding: Binding) -> bool:
    low, high = _span(binding)
    return access.memory == binding.memory and low <= access.area.start and access.area.stop <= high


def _common(binding: Binding, other: Content) -> tuple[int, int]:
    one, two = _span(binding), _span(other.binding)
    return max(one[0], two[0]), min(one[1], two[1])


def _at(prop: Property, why: str, number: int, step: Step, access: Access) -> Broken:
    return Broken(prop, why, number, step, access.memory, (access.area.start, access.area.stop))
