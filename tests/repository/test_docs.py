"""The documents agree with the folders that they describe."""

import re

import pytest

from tests.repository.tree import ROOT, files, read

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
PAGES = [name for name in files() if name.endswith(".md")]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    assert [link for link in LINK.findall(read(page)) if not (folder / link).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    records = [name for name in files() if re.match(r"docs/adr/\d{4}-", name)]
    assert records
    index = LINK.findall(read("docs/adr/README.md"))
    assert sorted(index) == sorted(name.removeprefix("docs/adr/") for name in records)


def test_every_number_of_a_decision_is_used_once() -> None:
    numbers = [name[9:13] for name in files() if re.match(r"docs/adr/\d{4}-", name)]
    assert len(numbers) == len(set(numbers))


def test_the_glossary_is_in_order() -> None:
    terms = re.findall(r"^\*\*(.+?)\*\*", read("docs/glossary.md"), re.MULTILINE)
    assert terms
    assert terms == sorted(terms, key=str.lower)
