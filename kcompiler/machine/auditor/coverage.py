"""How often each byte of a kernel's output is written: once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.auditor.area import Area, meet
from kcompiler.machine.auditor.cells import MOST_CELLS, Cells
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
    whole = Area(output.address, output.nbytes)
    cells = Cells([whole, *(a.area for _, a in stores)])
    if cells.count > MOST_CELLS:
        why = f"{cells.count:,} parts of {output.name} are too many to tell that each is written"
        yield Broken("writes", why, number, None, output.memory, (whole.start, whole.stop))
        return
    count = np.zeros(cells.count, np.uint8)
    for _, access in stores:
        touched = cells.of(count, access.area)
        np.minimum(touched, _MANY - 1, out=touched)
        touched += 1
    yield from _repeated(number, output, stores, _first_run(cells, count > 1))
    hole = _first_run(cells, count == 0)
    if hole is not None:
        missing = cells.nbytes(count == 0)
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


def _first_run(cells: Cells, marked: Array) -> tuple[int, int] | None:
    """The first range of cells that are marked, in bytes."""
    first = int(np.argmax(marked))
    if not marked[first]:
        return None
    after = marked[first:]
    length = int(np.argmin(after)) or len(after)
    return cells.edge(first), cells.edge(first + length)
