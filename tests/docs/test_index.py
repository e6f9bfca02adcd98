"""A reader finds every page, and every place that a page names."""

import re

from tests.conftest import ROOT

LINK = re.compile(r"\]\(([^)#\s]+)\)")
WHERE = re.compile(r"^\| .+? \| (.+) \|$", re.MULTILINE)


def test_the_index_has_every_page_once() -> None:
    pages = {p.name for p in (ROOT / "docs").glob("*.md")} - {"README.md"}
    index = [x for x in LINK.findall((ROOT / "docs/README.md").read_text()) if "/" not in x]
    assert sorted(index) == sorted(pages)


def test_every_place_of_the_readme_is_there() -> None:
    rows = WHERE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    named = [x for row in rows for x in re.findall(r"`([\w.-]+(?:/[\w.-]*)+)`", row)]
    assert named
    assert [x for x in named if not (ROOT / x).exists()] == []
