"""How exact a quantized model is: its outputs, its products, and what stayed float and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from kcompiler.report.units import printable

Rows = Sequence[Mapping[str, Any]]


def quantization_tables(report: Mapping[str, Any]) -> list[Table]:
    """The tables of a report: products as they run; sensitivities, the worst first."""
    found = [product_table(report["layers"])] if report["layers"] else []
    return [*found, *([sensitivity_table(report["sensitivity"])] if report["sensitivity"] else [])]


def product_table(rows: Rows) -> Table:
    """Each product beside float32, when it and all before it compute integers."""
    table = _table("product", "operator", right=("SQNR dB", "cosine"))
    for row in rows:
        words = (row["name"], row["operator"], decibels(row["sqnr_db"]), f"{row['cosine']:.6f}")
        table.add_row(*(Text(printable(w)) for w in words))
    return table


def sensitivity_table(rows: Rows) -> Table:
    """What each product alone costs at the outputs, and what follows from it."""
    table = _table("product", "kept", right=("alone dB", "share"))
    table.add_column("why", overflow="fold")
    for row in rows:
        kept = "float" if row["kept"] else "int8"
        words = (row["name"], kept, decibels(row["alone_db"]), f"{row['share']:.1%}", row["why"])
        table.add_row(*(Text(printable(w)) for w in words))
    return table


def output_lines(rows: Rows) -> list[str]:
    """How far outputs are from float32 on the calibration data, in words."""
    return [_output(row) for row in rows]


def _output(row: Mapping[str, Any]) -> str:
    ratio = "exact" if row["sqnr_db"] is None else f"SQNR {row['sqnr_db']:.1f} dB"
    text = f"{printable(row['name'])}: {ratio} against float32"
    if row["agreement"] is not None:
        text += f", same class for {row['agreement']} of {row['count']}"
    if row["correct"] is not None:
        text += f"; {row['correct']} right, {row['correct_float']} in float32"
    return text


def decibels(ratio: float | None) -> str:
    """A ratio, or that there is no error."""
    return "exact" if ratio is None else f"{ratio:.1f}"


def _table(*left: str, right: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
