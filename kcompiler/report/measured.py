"""Published measurements beside predictions, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from kcompiler.machine.measured import Measured


def measured_table(measured: Measured) -> Table:
    """Every row; below, the parameters that were fitted and the error of the rows held back."""
    fitted = [
        f"fitted: {p.fact} of {p.target} = {p.value:.4g}, {p.meaning}" for p in measured.parameters
    ]
    table = Table(
        caption=Text("\n".join([*fitted, measured.summary()])),
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading in ("measurement", "target", "published", "predicted", "error"):
        side = "left" if heading in {"measurement", "target"} else "right"
        table.add_column(heading, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for heading in ("row", "source"):
        table.add_column(heading)
    for row in measured.rows:
        times = [f"{1e3 * seconds:.4g} ms" for seconds in (row.published, row.predicted)]
        kind = "fitted" if row.fitted else "held"
        table.add_row(row.what, row.target, *times, f"{row.error:+.0%}", kind, Text(row.source))
    return table
