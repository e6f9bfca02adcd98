"""The generated pages are those that the source gives now."""

from pathlib import Path

import pytest

from docs import generate
from tests.conftest import ROOT

PAGES = generate.pages()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_fresh(name: str) -> None:
    found = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert found == PAGES[name], "out of date: python docs/generate.py"


def test_a_stale_page_is_found_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path)
    monkeypatch.setattr(generate, "pages", lambda: {"a.md": "new\n", "b.md": "same\n"})
    (tmp_path / "a.md").write_text("old\n", encoding="utf-8")
    (tmp_path / "b.md").write_text("same\n", encoding="utf-8")
    assert generate.main(["--check"]) == 1
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == "old\n"
    assert generate.main([]) == 0
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == "new\n"
    assert generate.main(["--check"]) == 0
