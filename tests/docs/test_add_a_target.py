"""docs/add-a-target.md: its files make a package outside of this repository, installed and used.

A python block that begins with `# file:` is that file. The commands run in processes of their own,
as a vendor's do; those of the conformance kit, which take a minute, in the slow test only.
"""

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import lines
from tests.cli.outside import can_build, environment, link, pip_install, run
from tests.conftest import ROOT
from tests.docs.blocks import Example, Session, outdated

PAGE = ROOT / "docs" / "add-a-target.md"
MARK = "# file: "
KIT = "kcompile check-target"


@dataclass
class Vendor(Session):
    """Writes the page's files and runs its commands, in a folder of its own.

    `thorough`: with pip, in an environment of its own, and with the conformance kit.
    """

    folder: Path = Path()
    thorough: bool = False
    python: Path | None = None

    def skips(self, example: Example) -> bool:
        return example.code.startswith(KIT) and not self.thorough

    def run(self, example: Example) -> str:
        if example.language == "python":
            name, code = file_of(example)
            (self.folder / name).write_text(code, encoding="utf-8")
            return ""
        return "".join(self._command(*shlex.split(line)) for line in example.code.splitlines())

    def _command(self, program: str, *arguments: str) -> str:
        if program == "pip":
            self._install(*arguments)
            return ""
        assert program == "kcompile", program
        command = ["-m", "kcompiler.cli", *arguments]
        return run(command, self.folder, self.folder / "site", python=self.python).stdout

    def _install(self, *arguments: str) -> None:
        if self.thorough and can_build():
            self.python = environment(self.folder / "venv")
            pip_install(self.python, *arguments[1:], cwd=self.folder)
        else:
            link(self.folder / arguments[-1], self.folder / "site")


def file_of(example: Example) -> tuple[str, str]:
    """The name and the text of a file in the page."""
    first, _, code = example.code.partition("\n")
    assert first.startswith(MARK), f"line {example.line} names no file"
    return first.removeprefix(MARK), code


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_page(thorough: bool, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    update = bool(pytestconfig.getoption("--update-golden"))
    session = Vendor(PAGE.name, folder=tmp_path, thorough=thorough)
    wrong = outdated(PAGE, update=update, session=session)
    assert not wrong, "\n\n".join(wrong)


def test_budgets() -> None:
    """What a vendor has to write stays small, and the count is not that of nothing."""
    assert 40 < lines.description_alone() <= 60
    assert 100 < lines.own_instructions() <= 150
    assert set(lines.of_the_page()) == {"chip.py", "isa.py", "lowering.py", "__init__.py"}
    assert lines.table()["targets/rebel"] > 200
    assert lines.lines(["a\n\n  \n# b\n"]) == 2
