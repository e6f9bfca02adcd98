"""What instructions of the engines in a core share: they work in the scratchpad alone."""

from __future__ import annotations

from collections.abc import Mapping

from kcompiler.machine.chip import Chip
from kcompiler.machine.instruction import Isa, u


class Engine(Isa, template=True):
    """What the engines' instructions share."""

    cores: int = u(16, doc="the first this many cores take part")

    def check(self) -> None:
        if self.cores == 0:
            raise ValueError("no core takes part")

    def active_cores(self) -> int:
        """Cores that take part."""
        return self.cores

    def traffic(self, chip: Chip) -> Mapping[str, int]:
        """None: engines work in the scratchpad only."""
        return {}


def check_extent(extent: int) -> None:
    """A loop goes round at least once."""
    if extent == 0:
        raise ValueError("a loop of no iterations")
