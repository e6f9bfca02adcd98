"""How often each byte of a kernel's output is written: once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.auditor.area import Area, meet
from kcompiler.machine.auditor.finding import Broken
from kcompiler.machine.auditor.observe import Access, Step
from kcompiler.machine.program import Binding

_MANY = 255  # times: counted no further


def coverage(
    number: int, output: Binding, stores: Sequence[tuple[Step, Access]]
) -> Iterator[Broken]:
    """Stores of kernel `number`, each inside its output, that leave out or repeat bytes."""
    if not output.nbytes:
        return
    once = [(s, a) for s, a in stores if a.area.plain and a.total == a.area.nbytes]
    for step, access in stores:
        if (step, access) not in once:
            why = f"writes bytes of {output.name} more than once itself"
            span = access.area.start, access.area.stop
            yield Broken("writes", why, number, step, output.memory, span)
    unit = gcd(output.nbytes, *(a.area.unit(output.address) for _, a in stores))
    count = np.zeros(output.nbytes // unit, np.uint8)
    for _, access in stores:
        cells = access.area.of(count, output.address, unit)
        np.minimum(cells, _MANY - 1, out=cells)
        cells += 1
    yield from _repeated(number, output, stores, _first_run(count > 1, output.address, unit))
    hole = _first_run(count == 0, output.address, unit)
    if hole is not None:
        missing = int((count == 0).sum()) * unit
        why = f"{missing:,} of {output.nbytes:,} bytes of {output.name} are never written"
        yield Broken("writes", why, number, None, output.memory, hole)


def _repeated(
    number: int,
    output: Binding,
    stores: Sequence[tuple[Step, Access]],
    span: tuple[int, int] | None,
) -> Iterator[Broken]:
    if span is None:
        return
    first = Area(span[0], 1)
    both = [step for step, access in stores if meet(access.area, first) is not None]
    if len(both) > 1 and both[0] is not both[-1]:
        why = f"writes bytes of {output.name} that instruction {both[0].place} has written"
        yield Broken("writes", why, number, both[-1], output.memory, span)
    elif len(both) > 1:
        why = f"writes bytes of {output.name} from several cores"
        yield Broken("writes", why, number, both[0], output.memory, span)


def _first_run(cells: Array, base: int, unit: int) -> tuple[int, int] | None:
    """The first range of cells that are set, in bytes."""
    first = int(np.argmax(cells)) if len(cells) else 0
    if not len(cells) or not cells[first]:
        return None
    after = cells[first:]
    length = int(np.argmin(after)) or len(after)
    return base + first * unit, base + (first + length) * unit
