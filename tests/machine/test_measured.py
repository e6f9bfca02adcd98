"""Tables of published measurements: errors, what is held back, and the file."""

from pathlib import Path

import pytest

from kcompiler.machine.measured import Measured, Parameter, Row, read_measured, write_measured


def row(published: float, predicted: float, *, fitted: bool = False) -> Row:
    return Row("a net", "chip", published, "[A]", predicted, fitted)


TABLE = Measured(
    (Parameter("matrix.rate", "chip", 0.25, "a part"),),
    (row(1, 9, fitted=True), row(1, 1.1), row(2, 1), row(4, 5), row(3, 3, fitted=True)),
)


def test_errors_are_relative_to_what_was_published() -> None:
    assert [r.error for r in TABLE.rows] == pytest.approx([8, 0.1, -0.5, 0.25, 0])
    assert TABLE.errors(fitted=False) == pytest.approx([0.1, 0.5, 0.25])


def test_only_held_rows_say_how_good_predictions_are() -> None:
    assert TABLE.summary() == (
        "3 held rows: median absolute error 25%, worst -50% (a net on chip); "
        "1 parameters fitted to the other 2, whose median is 400%"
    )


def test_a_part_of_a_table_has_a_summary_too() -> None:
    assert Measured((), (row(1, 9, fitted=True),)).summary().startswith("no held rows")
    assert Measured((), ()).summary().startswith("no held rows")
    assert Measured((), (row(1, 1.1),)).summary() == (
        "1 held rows: median absolute error 10%, worst +10% (a net on chip)"
    )


def test_the_file(tmp_path: Path) -> None:
    write_measured(TABLE, tmp_path / "table.json")
    assert read_measured(tmp_path / "table.json") == TABLE
