"""Every block of these pages runs and prints what stands below it.

Where only numbers have changed, `pytest --update-golden tests/docs` writes the new ones.
"""

import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import outdated

PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/dynamic-shapes.md",
    "docs/quantization.md",
    "docs/verification.md",
    "docs/cost-model.md",
)


@pytest.mark.parametrize("page", PAGES)
def test_page(
    page: str,
    examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    shutil.copytree(examples, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    wrong = outdated(ROOT / page, update=bool(pytestconfig.getoption("--update-golden")))
    assert not wrong, "\n\n".join(wrong)
