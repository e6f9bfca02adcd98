"""Plans: how a kernel is tiled, what that costs, and why it fits."""

from __future__ import annotations

from dataclasses import dataclass

from kcompiler.kernel.footprint import Footprint
from kcompiler.tiling.evaluate import Schedule


@dataclass(frozen=True, order=True)
class Cost:
    """Plans compare by `primary`, then `secondary`: cycles (tiny tiles cost extra) and bytes."""

    primary: float
    secondary: float


@dataclass(frozen=True)
class AxisPlan:
    """One axis: `cores` ways, then `trips` tiles of `tile` on each core.

    `dimension` is the one of the output that it moves along; -1 for a reduction.
    """

    axis: str
    extent: int
    cores: int
    tile: int
    trips: int
    dimension: int


@dataclass(frozen=True)
class SectionPlan:
    """One loop nest of a kernel: its footprint, its axes and the schedule of their loops."""

    footprint: Footprint
    axes: tuple[AxisPlan, ...]
    schedule: Schedule
    buffers: tuple[tuple[str, int, int], ...]  # name, bytes, copies
    used: int  # scratchpad bytes that they take together

    def axis(self, name: str) -> AxisPlan:
        """The plan of an axis."""
        return next(a for a in self.axes if a.axis == name)


@dataclass(frozen=True)
class Plan:
    """A tiling of a region: sections run one after the other on the same grid of cores.

    `cycles` is the estimated time, `traffic` the exact bytes by memory, `capacity` the scratchpad
    bytes that were allowed.
    """

    sections: tuple[SectionPlan, ...]
    cost: Cost
    cycles: float
    traffic: tuple[tuple[str, float], ...]
    capacity: int

    @property
    def used(self) -> int:
        """Most scratchpad bytes of any section."""
        return max(s.used for s in self.sections)

    @property
    def grid(self) -> tuple[tuple[int, int], ...]:
        """Cores along each dimension of the output that is split: (dimension, cores), in order."""
        axes = (a for s in self.sections for a in s.axes)
        return tuple(sorted({(a.dimension, a.cores) for a in axes if a.cores > 1}))

    def __str__(self) -> str:
        moved = ", ".join(f"{int(n):,} B {memory}" for memory, n in self.traffic)
        lines = [f"{int(self.cycles):,} cycles; {moved or 'nothing moved'}"]
        for section in self.sections:
            lines += [f"  {line}" for line in _describe(section)]
        lines.append(f"  scratchpad {self.used:,} of {self.capacity:,} B")
        return "\n".join(lines)


def _describe(section: SectionPlan) -> list[str]:
    lines = []
    for name in (*section.schedule.order, *section.footprint.reductions):
        a = section.axis(name)
        position = (*section.schedule.order, name).index(name)
        kind = "double" if position >= section.schedule.sequential else "sequential"
        lines.append(f"{name}: {a.extent} = {a.cores} cores x {a.trips} {kind} x {a.tile}")
    for name, nbytes, copies in section.buffers:
        lines.append(f"{name}: {copies} x {nbytes:,} B")
    return lines
