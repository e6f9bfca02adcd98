"""Each kernel's error beside float32: `kcompile MODEL --layers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from kcompiler.report.units import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kcompiler.verify import LayerError


def layer_table(rows: Sequence[LayerError]) -> Table:
    """The rows as a table, in the order in which the kernels run; ratios are in dB."""
    table = Table(box=None, pad_edge=False)
    table.add_column("kernel", no_wrap=True)
    table.add_column("ONNX nodes", overflow="fold")
    table.add_column("stored", no_wrap=True)
    for heading in ("largest", "rms", "operands", "own", "result"):
        table.add_column(heading, justify="right", no_wrap=True)
    several = len({row.segment for row in rows}) > 1
    for row in rows:
        name = f"{row.segment}/{row.kernel}" if several else row.kernel
        ratios = map(_decibels, (row.operands_db, row.own_db, row.sqnr_db))
        words = (name, ", ".join(row.origins), row.stored)
        sizes = (f"{row.largest:.2g}", f"{row.rms:.2g}")
        table.add_row(*(Text(printable(w)) for w in words), *sizes, *ratios)
    return table


def _decibels(ratio: float | None) -> str:
    return "exact" if ratio is None else f"{ratio:.1f}"
