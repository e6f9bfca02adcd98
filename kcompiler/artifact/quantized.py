"""The report of a quantization in a manifest: nothing but what a summary prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcompiler.package import Package

# Table -> its columns; those after a question mark may be null.
_TABLES: dict[str, dict[str, type]] = {
    "tensors": {"name": str, "scale": float, "zero": int, "observer": str},
    "layers": {"name": str, "operator": str, "?sqnr_db": float, "cosine": float},
    "outputs": {
        "name": str,
        "?sqnr_db": float,
        "cosine": float,
        "count": int,
        "?agreement": int,
        "?correct": int,
        "?correct_float": int,
    },
    "sensitivity": {
        "layer": int,
        "name": str,
        "?alone_db": float,
        "share": float,
        "kept": bool,
        "why": str,
    },
}
_NUMBERS: dict[str, type] = {
    "samples": int,
    "walked": int,
    "more": bool,
    "given": bool,
    "weights": str,
    "kind": str,
}
_AT = ("facts", "quantization")


def read_facts(package: Package) -> dict[str, Any]:
    """The facts of a manifest; raises `PackageError` for a report with other fields or types."""
    facts = package.require("facts", kind=dict)
    if "quantization" not in facts:
        return facts
    report: dict[str, Any] = {
        name: package.require(*_AT, name, kind=kind) for name, kind in _NUMBERS.items()
    }
    for table, columns in _TABLES.items():
        count = len(package.require(*_AT, table, kind=list))
        report[table] = [_row(package, table, i, columns) for i in range(count)]
    return {**facts, "quantization": report}


def _row(package: Package, table: str, number: int, columns: dict[str, type]) -> dict[str, Any]:
    given = package.require(*_AT, table, number, kind=dict)
    row: dict[str, Any] = {}
    for column, kind in columns.items():
        name = column.removeprefix("?")
        absent = column.startswith("?") and name in given and given[name] is None
        row[name] = None if absent else package.require(*_AT, table, number, name, kind=kind)
    return row
