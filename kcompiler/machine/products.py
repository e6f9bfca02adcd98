"""What an instruction that sums products says of itself, for whoever counts them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operand:
    """Elements in a core's own memory: byte address, bytes of one, byte stride of each loop."""

    address: int
    itemsize: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Products:
    """total[…] (+)= sum of left[…] * right[…], over loops of these extents, on each core.

    Loops that do not move `total` are summed over. `accumulate`: added to what is there. `result`:
    where what is made of the sums goes, when they do not stay in their place.
    """

    extents: tuple[int, ...]
    left: Operand
    right: Operand
    total: Operand
    accumulate: bool
    result: Operand | None = None
