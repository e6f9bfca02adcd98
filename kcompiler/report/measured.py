"""Published measurements beside predictions, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from kcompiler.machine.measured import Measured

_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("measurement", "left"),
    ("target", "left"),
    ("published ms", "right"),
    ("predicted ms", "right"),
    ("error", "right"),
    ("row", "left"),
    ("source", "right"),
)


def measured_table(measured: Measured) -> Table:
    """Every row; below, sources, what was fitted, and the error of the rows held back."""
    sources = list(dict.fromkeys(row.source for row in measured.rows))
    below = [f"{number}: {source}" for number, source in enumerate(sources, 1)]
    below += [f"fitted: {p.fact} = {p.value:.4g}: {p.meaning}" for p in measured.parameters]
    caption = Text("\n".join([*below, measured.summary()]))
    table = Table(caption=caption, caption_justify="left", box=None, pad_edge=False)
    for heading, side in _COLUMNS:
        table.add_column(heading, justify=side, no_wrap=True)
    for row in measured.rows:
        times = [f"{1e3 * seconds:.4g}" for seconds in (row.published, row.predicted)]
        kind = "fitted" if row.fitted else "held"
        source = str(1 + sources.index(row.source))
        table.add_row(row.what, row.target, *times, f"{row.error:+.0%}", kind, source)
    return table
