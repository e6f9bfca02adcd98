"""The generated table of operators."""

from __future__ import annotations

from kcompiler.graph import operators as ops
from kcompiler.graph.table import operator_kinds, operator_table
from tests.conftest import Golden


def test_golden(golden: Golden) -> None:
    golden("graph/operators.md", operator_table())


def test_the_table_has_all_operators_of_the_package() -> None:
    assert {kind.__name__ for kind in operator_kinds()} == {
        name for name in ops.__all__ if name not in {"Binary", "Elementwise", "Unary"}
    }
    lines = operator_table().splitlines()
    assert len(lines) == len(operator_kinds()) + 2
    assert all(line.count(" | ") == 3 for line in lines)
