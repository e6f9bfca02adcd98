"""What moves between the NPU and its host, what that takes, and when it is not worth it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kcompiler.compilation import NpuSegment
from kcompiler.graph.node import Constant, Input
from kcompiler.graph.operators import Cast, Fused
from kcompiler.graph.types import dtype_name, is_float
from kcompiler.machine.cost import mac_rate

if TYPE_CHECKING:
    from kcompiler.compilation import Compilation
    from kcompiler.graph.node import Op
    from kcompiler.machine.chip import Chip, HostLink
    from kcompiler.machine.program import Binding

Side = Literal["npu", "host"]

BESIDE = {
    (True, True): "Between two parts on the host",
    (False, True): "Before a part on the host",
    (True, False): "After a part on the host",
    (False, False): "",
}
"""How reasons about crossing begin: whether kernels follow such a part, and lead to one."""


@dataclass(frozen=True)
class Crossing:
    """A value that moves over the link; `border` for inputs and outputs of the model.

    It keeps its element type and its layout, row-major on both sides.
    """

    name: str
    nbytes: int
    to: Side
    border: bool


def crossings(compilation: Compilation) -> tuple[Crossing, ...]:
    """All values that cross in one run, in order; each crosses in either direction once."""
    return tuple(_crossings(compilation))


def _crossings(compilation: Compilation) -> Iterator[Crossing]:
    given = {name for name, _ in compilation.inputs}
    wanted = {name for name, _ in compilation.outputs}
    there: dict[str, Binding] = {}  # values in the NPU's memory
    here = set(given)  # values in the host's
    for segment in compilation.segments:
        if isinstance(segment, NpuSegment):
            for binding in segment.program.inputs:
                if binding.name not in there:
                    there[binding.name] = binding
                    border = binding.name in given
                    yield Crossing(binding.name, binding.nbytes, "npu", border)
            there |= {b.name: b for b in segment.program.outputs}
            continue
        for name in segment.inputs:
            if name not in here and name in there:
                here.add(name)
                yield Crossing(name, there[name].nbytes, "host", name in wanted)
        here |= set(segment.outputs)
    for name, _ in compilation.outputs:
        if name not in here and name in there:
            yield Crossing(name, there[name].nbytes, "host", border=True)


def link_seconds(nbytes: Sequence[int], link: HostLink | None) -> float:
    """The time of some transfers, one after the other."""
    if link is None:
        return 0.0
    return sum(link.latency.value + size / link.bandwidth.value for size in nbytes)


def host_seconds(kernels: Iterable[Op], link: HostLink) -> float:
    """An estimate of what kernels take on the host: it computes or it moves data."""
    total = 0.0
    for kernel in kernels:
        moved = kernel.type.nbytes + sum(o.type.nbytes for o in kernel.operands)
        busy = max(kernel.macs() / link.macs.value, moved / link.memory.value)
        total += busy + _steps(kernel) * link.dispatch.value
    return total


def _steps(kernel: Op) -> int:
    """Operators that the host runs for a kernel; casts between float types are the NPU's own."""
    if not isinstance(kernel, Fused):
        return 1
    work = [n for n in kernel.body.nodes if not isinstance(n, Input | Constant)]
    if all(isinstance(n, Cast) and is_float(n.dtype) and is_float(n.x.dtype) for n in work):
        return 0
    return sum(not isinstance(n, Cast) for n in work) or 1


def npu_seconds(kernels: Iterable[Op], chip: Chip) -> float:
    """The roofline bound of kernels, each after the one before it."""
    total = 0.0
    cells = chip.cores.value * chip.matrix.rows.value * chip.matrix.columns.value
    for kernel in kernels:
        moved = kernel.type.nbytes + sum(o.type.nbytes for o in kernel.operands)
        rate = cells * mac_rate(chip.matrix, dtype_name(kernel.dtype))
        cycles = max(kernel.macs() / rate, moved / chip.memory(chip.dram).bandwidth.value)
        total += (cycles + chip.memory(chip.dram).latency.value) / chip.clock.value
    return total


def not_worth_crossing(
    chip: Chip, kernels: Sequence[Op], moved: Sequence[int], spared: Sequence[int]
) -> str | None:
    """Why kernels beside a part on the host stay there; None where the NPU is the better place.

    `moved` are the bytes of the values that cross only while the NPU has the kernels, `spared` of
    those that cross only while the host has them. The link counts as it is published.
    """
    if chip.host is None:
        return None
    host = chip.host.as_published()
    link, saved = (link_seconds(sizes, host) for sizes in (moved, spared))
    there, here = link + npu_seconds(kernels, chip), saved + host_seconds(kernels, host)
    if there <= here:
        return None
    values = "1 value" if len(moved) == 1 else f"{len(moved)} values"
    return (
        f"{values} of {sum(moved):,} bytes would cross the link in {_micro(link)}, and the host "
        f"computes it in {_micro(here)} (estimated)."
    )


def _micro(seconds: float) -> str:
    return f"{math.ceil(seconds * 1e6):,} µs"
