"""The work bench of the kit: a target, smaller siblings of its chip, and graphs brought to run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from kcompiler.compilation import Compilation, NpuSegment
from kcompiler.errors import CapacityError
from kcompiler.graph.node import Array, Graph
from kcompiler.graph.operators import Fused
from kcompiler.machine.chip import Chip
from kcompiler.machine.facts import Fact
from kcompiler.machine.instruction import Isa
from kcompiler.machine.target import FLOATS, Target

if TYPE_CHECKING:
    from kcompiler.build import Part
    from kcompiler.conformance.cases import Case

_SMALL_SCRATCHPADS = (12 << 10, 48 << 10, 192 << 10, 1 << 20)
_FEW_CORES = 3


@dataclass(frozen=True)
class Bench:
    """What the categories work with."""

    target: Target

    @cached_property
    def small(self) -> Target:
        """The target with three cores at most and the smallest scratchpad that does.

        Tiles are so small there that loops, halos, split sums and double buffers occur in small
        tensors.
        """
        for size in _SMALL_SCRATCHPADS:
            if size < self.target.chip.memory(self.target.chip.scratchpad).size.value:
                found = with_chip(self.target, scratchpad=size, cores=_FEW_CORES)
                if self._holds(found):
                    return found
        return self.target

    @property
    def siblings(self) -> Mapping[str, Target]:
        """The chip as it is, and a small one where that can be had."""
        small = self.small
        return {"": self.target} | ({} if small is self.target else {"small chip": small})

    def precision(self, floats: Collection[str]) -> str:
        """What to store float tensors as: one of these types, else f32 or what the target has."""
        for name in (*sorted(floats), "f32"):
            if name in self.target.precisions and name in FLOATS:
                return name
        return self.target.float_type

    def programs(self) -> Iterator[tuple[str, Target, Assembled]]:
        """The witnesses' programs on every sibling, with a name; refused ones are left out."""
        yield from self._programs

    def values(self, made: Assembled) -> dict[str, Array]:
        """The inputs of a witness's program."""
        from kcompiler.conformance.witnesses import witnesses

        known = {name: value for case in witnesses() for name, value in case.values.items()}
        return {b.name: known[b.name] for b in made.segment.program.inputs}

    @cached_property
    def _programs(self) -> tuple[tuple[str, Target, Assembled], ...]:
        from kcompiler.conformance.witnesses import witnesses

        found = []
        for where, target in self.siblings.items():
            for case in witnesses():
                made = self._fitting(case, target)
                if made is not None and made.compilation is not None:
                    found.append((f"{case.name} [{where}]" if where else case.name, target, made))
        return tuple(found)

    def _fitting(self, case: Case, target: Target) -> Assembled | None:
        """None where a small chip is too small, which is no fault of the target's."""
        try:
            return assemble(case.graph, target, self.precision(case.floats()))
        except CapacityError:
            if target is self.target:
                raise
            return None

    def instructions(self) -> Iterator[Isa]:
        """The instructions of these programs."""
        for _, target, made in self.programs():
            yield from target.isa.decode_program(made.segment.program.code)

    def _holds(self, target: Target) -> bool:
        """Whether programs fit; what else may go wrong shows where it is looked at."""
        from kcompiler.conformance.witnesses import probes

        for case in probes():
            try:
                assemble(case.graph, target, self.precision(case.floats()))
            except CapacityError:
                return False
            except Exception:  # noqa: BLE001, S112 - not a matter of size: the suite reports it
                continue
        return True


@dataclass(frozen=True)
class Assembled:
    """A graph's program; outputs that the target refuses are left out, with the reasons."""

    graph: Graph
    compilation: Compilation | None  # None when nothing is left
    refusals: Mapping[str, str]  # output -> reason

    @property
    def segment(self) -> NpuSegment:
        """The program and its kernels."""
        found = None if self.compilation is None else self.compilation.segments[0]
        if not isinstance(found, NpuSegment):
            raise TypeError("the target refuses all of it: there is no program")
        return found

    @property
    def kernels(self) -> tuple[Fused, ...]:
        """The kernels of the program."""
        graph = self.segment.graph
        nodes = () if graph is None else graph.nodes
        return tuple(n for n in nodes if isinstance(n, Fused))


def assemble(graph: Graph, target: Target, precision: str) -> Assembled:
    """The program of a graph on one chip, without a host beside it."""
    from kcompiler.build import build_program
    from kcompiler.compiler import graph_pipeline, tools_for
    from kcompiler.pipeline import run

    kernels: Graph = run(graph_pipeline(precision, target.refusal), graph)
    refusals = refused(kernels, target)
    outputs = tuple((name, value) for name, value in kernels.outputs if name not in refusals)
    if not outputs:
        return Assembled(graph, None, refusals)
    kept = replace(kernels, outputs=outputs)
    used = {id(n) for _, value in outputs for n in Graph("", (), (("", value),)).nodes}
    kept = replace(kept, inputs=tuple(i for i in kernels.inputs if id(i) in used))
    program = build_program(kept, target, tools_for(target))
    names = {name for name, _ in outputs}
    compilation = Compilation(
        model=graph.name,
        target=target.name,
        precision=precision,
        inputs=tuple((i.name, i.type) for i in kept.inputs),
        outputs=tuple((name, value.type) for name, value in graph.outputs if name in names),
        segments=(NpuSegment(program, kept),),
        graph=graph,
    )
    return Assembled(graph, compilation, refusals)


def refused(kernels: Graph, target: Target) -> dict[str, str]:
    """Output -> why the target does not take the first kernel that it refuses below it."""
    found: dict[str, str] = {}
    for name, value in kernels.outputs:
        for node in Graph("", (), ((name, value),)).nodes:
            reason = target.refusal(node) if isinstance(node, Fused) else None
            if reason is not None:
                found[name] = reason
                break
    return found


def parts_of(segment: NpuSegment, target: Target) -> tuple[Part, ...]:
    """The tiled kernels of a program."""
    from kcompiler.build import parts_of as tiled
    from kcompiler.compiler import tools_for

    return () if segment.graph is None else tiled(segment.graph, tools_for(target).tile)


def with_chip(
    target: Target,
    *,
    scratchpad: int | None = None,
    cores: int | None = None,
    bandwidth: float = 1.0,
) -> Target:
    """The target with other numbers: no more cores than it has; `bandwidth` scales every memory."""
    chip = resized(target.chip, scratchpad=scratchpad, cores=cores, bandwidth=bandwidth)
    return replace(target, chip=chip)


def resized(
    chip: Chip, *, scratchpad: int | None = None, cores: int | None = None, bandwidth: float = 1.0
) -> Chip:
    """A chip with other numbers."""
    why = "a choice of the conformance kit"
    memories = tuple(
        replace(
            m,
            size=Fact(scratchpad, "A", why) if m.name == chip.scratchpad and scratchpad else m.size,
            bandwidth=Fact(m.bandwidth.value * bandwidth, "A", why),
        )
        for m in chip.memories
    )
    count = chip.cores if cores is None else Fact(min(cores, chip.cores.value), "A", why)
    dies = chip.dies if cores is None else None
    return replace(chip, cores=count, dies=dies, memories=memories)
