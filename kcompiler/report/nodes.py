"""Where each ONNX node runs, why, and what it takes: `kcompile explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from kcompiler.compilation import NpuSegment
from kcompiler.report.data import hosts
from kcompiler.report.units import count, nbytes, printable, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kcompiler.api import CompiledModel
    from kcompiler.frontend.listing import Listed

COMPUTE = ("matrix", "vector")
"""Engines that compute, the one to name first; the others move data."""
GONE = "computed while compiling, or only renames positions"


@dataclass(frozen=True)
class Row:
    """An ONNX node. Kernels that several nodes share are counted at the first of them."""

    node: str
    operator: str
    engine: str  # an engine of the NPU, "host", or "" when no work is left
    kernel: str
    why: str
    macs: int | None = None
    seconds: float | None = None
    bytes: int | None = None

    def json(self) -> dict[str, Any]:
        """The row as an object."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Kernel:
    name: str
    origins: tuple[str, ...]
    engine: str
    limit: str  # the engine that is busy longest
    macs: int
    seconds: float
    bytes: int


def explain(model: CompiledModel, nodes: Sequence[Listed]) -> list[Row]:
    """A row for each node of a model, for converted inputs, and for nodes inside others."""
    kernels = _kernels(model)
    first = {name: k for k in reversed(kernels) for name in reversed(k.origins)}
    reasons = {
        name: (operator, why)
        for segment in hosts(model.compilation)
        for name, operator, why in segment.operators
    }
    known = [node.name for node in nodes]
    inner = sorted({*first, *reasons} - set(known))
    counted: set[str] = set()
    inputs = {name for name, _ in model.compilation.inputs}
    operators = {n.name: n.operator for n in nodes}
    operators |= {
        name: "input" if name in inputs else reasons.get(name, ("",))[0] for name in inner
    }
    order = [*(n for n in inner if n in inputs), *known, *(n for n in inner if n not in inputs)]
    return [_row(n, operators[n], first, reasons, counted) for n in dict.fromkeys(order)]


def _row(
    name: str,
    operator: str,
    kernels: dict[str, _Kernel],
    reasons: dict[str, tuple[str, str]],
    counted: set[str],
) -> Row:
    if name in reasons:
        return Row(name, operator, "host", "", reasons[name][1])
    kernel = kernels.get(name)
    if kernel is None:
        return Row(name, operator, "", "", GONE)
    if kernel.name in counted:
        return Row(name, operator, kernel.engine, kernel.name, "fused")
    counted.add(kernel.name)
    numbers = kernel.macs, kernel.seconds, kernel.bytes
    why = "" if kernel.limit == kernel.engine else f"{kernel.limit} takes longest"
    return Row(name, operator, kernel.engine, kernel.name, why, *numbers)


def _kernels(model: CompiledModel) -> list[_Kernel]:
    found = []
    several = len(model.programs) > 1
    pairs = zip(model.compilation.segments, model.timings, strict=True)
    for index, (segment, timing) in enumerate(pairs):
        if not isinstance(segment, NpuSegment) or timing is None:
            continue
        for info, spent in zip(segment.program.kernels, timing.kernels, strict=True):
            lasts = (spent.end - spent.start) / timing.clock
            moved = spent.bytes.get(timing.dram, 0)
            name = f"{index}/{info.name}" if several else info.name
            limit = max(spent.busy, key=lambda e: spent.busy[e], default="")
            engine = next((e for e in COMPUTE if e in spent.busy), limit)
            found.append(_Kernel(name, info.origins, engine, limit, info.macs, lasts, moved))
    return found


def node_table(rows: Sequence[Row]) -> Table:
    """The rows as a table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "operator", "engine", "kernel"):
        table.add_column(heading, overflow="fold")
    for heading in ("MACs", "time", "DRAM bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for row in rows:
        numbers = (
            "" if row.macs is None else count(row.macs),
            "" if row.seconds is None else seconds(row.seconds),
            "" if row.bytes is None else nbytes(row.bytes),
        )
        words = (row.node, row.operator, row.engine or "none", row.kernel)
        table.add_row(*(Text(printable(w)) for w in words), *numbers, Text(printable(row.why)))
    return table
