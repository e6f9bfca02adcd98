"""The text of the repository: it names no machine, explains itself and stays short."""

import ast
import re
from pathlib import Path

import pytest

from tests.repository.tree import ROOT, modules, read, texts

# Files may grow beyond this only with a reason; a reason that is no longer needed is an error too.
LIMIT = 400
LONG: dict[str, str] = {}

# Written so that no pattern matches itself.
MACHINE = re.compile(r"(?<![\w.~*}>-])/(?:work|root|home/\w+|Users/\w+)/")
MAKING = re.compile(
    r"co[-]authored[-]by|\bas an A[I]\b|\bA[I] assistan[t]"
    r"|coding age[n]t|\bsub-?age[n]t|cla[u]de|chat[g]pt",
    re.IGNORECASE,
)
POSTPONED = re.compile(r"\bTB[D]\b|\bTO[D]O\b|\bFIX[M]E\b|\bXX[X]\b")


def test_no_path_of_a_machine() -> None:
    here = {f"{folder}/" for folder in (ROOT.parent, Path.home()) if folder != Path("/")}
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE.search(line) or any(folder in line for folder in here)
    ]
    assert found == []


@pytest.mark.parametrize("folder", ["root", "home/me", "Users/me", "work"])
def test_a_path_of_a_machine_is_seen(folder: str) -> None:
    assert MACHINE.search(f"see /{folder}/x")
    assert not MACHINE.search(f"see docs/{folder}/x")


def test_the_project_speaks_of_itself_alone() -> None:
    assert [name for name, text in texts() if MAKING.search(text)] == []


def test_nothing_is_postponed_in_passing() -> None:
    assert [name for name, text in texts() if POSTPONED.search(text)] == []


@pytest.mark.parametrize("name", modules())
def test_every_module_has_a_docstring(name: str) -> None:
    assert ast.get_docstring(ast.parse(read(name)))


def test_long_files_have_a_reason() -> None:
    lengths = {name: len(read(name).splitlines()) for name in modules()}
    long = {name: n for name, n in lengths.items() if n > LIMIT}
    surprise = {name: n for name, n in long.items() if name not in LONG}
    assert surprise == {}, f"over {LIMIT} lines: split them, or give a reason in LONG"
    assert LONG.keys() <= long.keys(), "files that are short by now: take them out of LONG"
