"""The golden fixture itself."""

from pathlib import Path

import pytest

from tests.conftest import Golden


def test_golden(tmp_path: Path) -> None:
    check, update = Golden(tmp_path, update=False), Golden(tmp_path, update=True)
    with pytest.raises(pytest.fail.Exception, match="--update-golden"):
        check("a/b.txt", "1\n")
    update("a/b.txt", "1\n")
    check("a/b.txt", "1\n")
    with pytest.raises(AssertionError, match="--update-golden"):
        check("a/b.txt", "2\n")
