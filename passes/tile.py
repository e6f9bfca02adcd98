"""Cut regions into tiles that fit a core's scratchpad, at the least cost."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Literal

from kcompiler.errors import UsageError
from kcompiler.kernel.nest import Region
from kcompiler.kernel.statements import Kernel
from kcompiler.machine.chip import Chip
from kcompiler.pipeline import Pass
from kcompiler.tiling.emit import emit
from kcompiler.tiling.find import find_plan
from kcompiler.tiling.plan import Plan
from kcompiler.tiling.search import Search


class Tile(Pass):
    """Region -> the kernel with the cheapest of all aligned tilings for a chip.

    A kernel's buffers take at most `scratchpad_share` of a core's scratchpad, so that the next
    kernel may load its first tiles meanwhile. `objective` is ``cycles`` (then bytes) or ``bytes``
    (then cycles). `swap`: the matrix engine may hold either factor of a product. Raises
    CapacityError when even the smallest tiles do not fit. Equal regions are tiled once.
    """

    chip: Chip | None = None
    scratchpad_share: float = 0.5
    objective: Literal["cycles", "bytes"] = "cycles"
    swap: bool = True

    def run(self, ir: Region) -> Kernel:
        return tiled(ir, self._search())[1]

    def plan(self, region: Region) -> Plan:
        """How a region is tiled, and what that costs."""
        return tiled(region, self._search())[0]

    def kernel(self, region: Region, name: str) -> Kernel:
        """The tiled kernel under a name."""
        return replace(self.run(region), name=name)

    def _search(self) -> Search:
        if self.chip is None:
            raise UsageError("the pass tile needs a chip", fix="Tile(chip=...)")
        memory = self.chip.memory(self.chip.scratchpad)
        capacity = int(memory.size.value * self.scratchpad_share)
        return Search(self.chip, capacity, self.objective, self.swap)


@lru_cache(maxsize=4096)
def tiled(region: Region, search: Search) -> tuple[Plan, Kernel]:
    """The best plan of a region and its kernel, without a name."""
    plan = find_plan(region, search)
    return plan, emit(plan, region, search.chip.scratchpad)
