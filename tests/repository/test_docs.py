"""The documents agree with the folders that they describe."""

import re

import pytest

from tests.repository.tree import ROOT, files, read

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
PATH = re.compile(r"`(\w[\w.-]*/(?:[\w.-]+/)*(?:[\w-]+\.(?:py|md|json|toml))?)`")
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


@pytest.mark.parametrize("page", [p for p in PAGES if re.match(r"docs/adr/\d{4}-", p)])
def test_a_decision_names_files_that_exist(page: str) -> None:
    """A path is from the root, or within `kcompiler/` or `targets/`."""
    homes = (ROOT, ROOT / "kcompiler", ROOT / "targets")
    missing = [p for p in PATH.findall(read(page)) if not any((h / p).exists() for h in homes)]
    assert missing == []


def test_every_part_of_the_compiler_is_in_the_readme() -> None:
    """The table "Where is..." leads to each folder of `kcompiler/`."""
    folders = {name.split("/")[1] for name in files() if re.match(r"kcompiler/\w+/", name)}
    _, table = read("README.md").split("## Where is...")
    assert [f for f in sorted(folders) if f"`kcompiler/{f}/" not in table] == []


def test_the_glossary_is_in_order() -> None:
    terms = re.findall(r"^\*\*(.+?)\*\*", read("docs/glossary.md"), re.MULTILINE)
    assert terms
    assert terms == sorted(terms, key=str.lower)
