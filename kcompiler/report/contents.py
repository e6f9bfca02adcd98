"""What is in a package: its interface, memories, kernels and facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from kcompiler.artifact.identity import chip_facts
from kcompiler.graph.types import OpenType, dtype_name
from kcompiler.report.units import count, nbytes, printable, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kcompiler.api import CompiledModel
    from kcompiler.graph.types import TensorType


def contents(model: CompiledModel) -> dict[str, Any]:
    """A package as one JSON object: the report of its model, its interface, kernels and facts."""
    parts = ("verify", "compile", "package")
    report = {k: v for k, v in model.report().json().items() if k not in parts}
    return {
        **report,
        "inputs": [_tensor(*pair) for pair in model.compilation.inputs],
        "outputs": [_tensor(*pair) for pair in model.compilation.outputs],
        "kernels": list(_kernels(model)),
        "chip": chip_facts(model.target.chip),
    }


def kernel_table(model: CompiledModel) -> Table:
    """Every kernel with its time and bytes."""
    table = Table(box=None, pad_edge=False)
    table.add_column("kernel", no_wrap=True)
    for heading in ("instructions", "MACs", "time", "DRAM bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("ONNX nodes", overflow="fold")
    for kernel in _kernels(model):
        table.add_row(
            Text(printable(kernel["name"])),
            f"{kernel['instructions']:,}",
            count(kernel["macs"]),
            seconds(kernel["seconds"]),
            nbytes(kernel["dram_bytes"]),
            Text(printable(", ".join(kernel["origins"]))),
        )
    return table


def _tensor(name: str, kind: TensorType | OpenType) -> dict[str, Any]:
    if isinstance(kind, OpenType):
        return {"name": name, "type": kind.name}
    return {"name": name, "dtype": dtype_name(kind.dtype), "shape": list(kind.shape)}


def _kernels(model: CompiledModel) -> Iterator[dict[str, Any]]:
    timings = [t for t in model.timings if t is not None]
    for index, (segment, timing) in enumerate(zip(model.programs, timings, strict=True)):
        prefix = f"{index}/" if len(timings) > 1 else ""
        for info, spent in zip(segment.program.kernels, timing.kernels, strict=True):
            yield {
                "name": prefix + info.name,
                "origins": list(info.origins),
                "instructions": info.count,
                "macs": info.macs,
                "seconds": (spent.end - spent.start) / timing.clock,
                "dram_bytes": spent.bytes.get(timing.dram, 0),
            }
