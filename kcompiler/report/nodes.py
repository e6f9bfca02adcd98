"""Where each ONNX node runs, why, and what it takes: `kcompile explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.table import Table
from rich.text import Text

from kcompiler.compilation import CONVERSIONS, NpuSegment
from kcompiler.graph.node import Constant, Input
from kcompiler.graph.operators import Cast, Fused
from kcompiler.kernel.views import MOVEMENTS
from kcompiler.report.data import hosts
from kcompiler.report.units import count, nbytes, printable, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kcompiler.api import CompiledModel
    from kcompiler.frontend.listing import Listed
    from kcompiler.graph.node import Op

Share: TypeAlias = tuple[bool, bool]
"""Whether a kernel multiplies for a node, and computes anything: moving and casting is no work."""
COMPUTE = ("matrix", "vector")
"""Engines that compute, the one to name first; the others move data."""
_PRODUCTS = ("MatMul", "Gemm", "Conv", "Einsum", "Attention", "LSTM", "GRU", "RNN")
_MOVES = {
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Identity", "Slice"),
    *("QuantizeLinear", "DequantizeLinear", "Cast"),
}
INPUT = "input"
GONE = "computed while compiling, or only renames positions"


@dataclass(frozen=True)
class Row:
    """An ONNX node and the kernel that does its work; each is counted at one node."""

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
    shares: Mapping[str, Share]

    def rank(self, node: str, operator: str) -> int:
        """How much of a node it does."""
        multiplies, computes = self.shares.get(node, (False, False))
        own = _own(operator)
        return 2 * (own == 2 and multiplies) + (own > 0 and computes)


def explain(model: CompiledModel, nodes: Sequence[Listed]) -> list[Row]:
    """A row for each node of a model, for converted inputs, and for nodes inside others."""
    kernels = _kernels(model)
    reasons = {
        name: (operator, why)
        for segment in hosts(model.compilation)
        for name, operator, why in segment.operators
    }
    known = [node.name for node in nodes]
    inner = sorted({*(name for k in kernels for name in k.origins), *reasons} - set(known))
    inputs = {name for name, _ in model.compilation.inputs}
    operators = {n.name: n.operator for n in nodes}
    operators |= {name: INPUT if name in inputs else reasons.get(name, ("",))[0] for name in inner}
    order = [*(n for n in inner if n in inputs), *known, *(n for n in inner if n not in inputs)]
    order = list(dict.fromkeys(order))
    homes = _homes(kernels, operators)
    heads = _heads(order, operators, homes)
    return [_row(n, operators[n], homes, reasons, heads) for n in order]


def _homes(kernels: Sequence[_Kernel], operators: Mapping[str, str]) -> dict[str, _Kernel]:
    """The kernel of each node: the first that multiplies for a product, or computes for others.

    Later ones have its name too: they read its result in another form.
    """
    found: dict[str, _Kernel] = {}
    for kernel in kernels:
        for name in kernel.origins:
            operator = operators[name]
            if name not in found or kernel.rank(name, operator) > found[name].rank(name, operator):
                found[name] = kernel
    return found


def _heads(
    order: Sequence[str], operators: Mapping[str, str], homes: Mapping[str, _Kernel]
) -> set[str]:
    """For each kernel the node to count it at: the first of those that are most of it."""
    best: dict[str, str] = {}
    for name in order:
        kernel = homes.get(name)
        if kernel is not None:
            other = best.setdefault(kernel.name, name)
            if kernel.rank(name, operators[name]) > kernel.rank(other, operators[other]):
                best[kernel.name] = name
    return set(best.values())


def _own(operator: str) -> int:
    """2 for an ONNX operator that multiplies, 1 for one that computes, 0 for one that moves."""
    if any(word in operator for word in _PRODUCTS):
        return 2
    return operator not in _MOVES


def _row(
    name: str,
    operator: str,
    kernels: dict[str, _Kernel],
    reasons: dict[str, tuple[str, str]],
    heads: set[str],
) -> Row:
    kernel = kernels.get(name)
    on_host, why_host = reasons.get(name, ("", ""))
    converted = (
        on_host in CONVERSIONS
        and operator not in (*CONVERSIONS, INPUT)
        and kernel is not None
        and kernel.rank(name, operator) > 0
    )
    if name in reasons and not converted:
        return Row(name, operator, "host", "", why_host)
    if kernel is None:
        return Row(name, operator, "", "", GONE)
    also = f"{on_host} of it on the host" if converted else ""
    if name not in heads:
        return Row(name, operator, kernel.engine, kernel.name, _joined("fused", also))
    numbers = kernel.macs, kernel.seconds, kernel.bytes
    why = "" if kernel.limit == kernel.engine else f"{kernel.limit} takes longest"
    return Row(name, operator, kernel.engine, kernel.name, _joined(why, also), *numbers)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _kernels(model: CompiledModel) -> list[_Kernel]:
    found = []
    several = len(model.programs) > 1
    pairs = zip(model.compilation.segments, model.timings, strict=True)
    for index, (segment, timing) in enumerate(pairs):
        if not isinstance(segment, NpuSegment) or timing is None:
            continue
        bodies = _bodies(segment)
        infos = segment.program.kernels
        for info, spent, body in zip(infos, timing.kernels, bodies, strict=True):
            lasts = (spent.end - spent.start) / timing.clock
            moved = spent.bytes.get(timing.dram, 0)
            name = f"{index}/{info.name}" if several else info.name
            limit = max(spent.busy, key=lambda e: spent.busy[e], default="")
            engine = next((e for e in COMPUTE if e in spent.busy), limit)
            numbers = info.macs, lasts, moved
            found.append(_Kernel(name, info.origins, engine, limit, *numbers, _shares(body)))
    return found


def _bodies(segment: NpuSegment) -> Sequence[Sequence[Op]]:
    """The operators of each kernel; none of them where only the program is there."""
    if segment.graph is None:
        return [()] * len(segment.program.kernels)
    return [n.body.nodes for n in segment.graph.nodes if isinstance(n, Fused)]


def _shares(body: Sequence[Op]) -> dict[str, Share]:
    """What a kernel does of each node."""
    found: dict[str, Share] = {}
    for op in body:
        work = not isinstance(op, (Input, Constant, Cast, *MOVEMENTS))
        for name in op.origin:
            multiplies, computes = found.get(name, (False, False))
            found[name] = multiplies or op.macs() > 0, computes or work
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
