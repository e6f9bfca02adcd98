"""What all tests share: Hypothesis profiles, golden files, and folders of models."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

HERE = Path(__file__).parent
ROOT = HERE.parent

settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@dataclass(frozen=True)
class Golden:
    """Compare text with files of a folder; `golden("isa/toy.txt", text)`.

    The one switch `--update-golden` writes the files instead; read the difference afterwards.
    """

    folder: Path
    update: bool

    def __call__(self, name: str, text: str) -> None:
        path = self.folder / name
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        if not path.exists():
            pytest.fail(f"golden file {name} does not exist; write it with: pytest --update-golden")
        expected = path.read_bytes().decode()
        assert text == expected, f"{name} differs; if that is right, run: pytest --update-golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/")


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Golden:
    """The files of tests/golden/."""
    return Golden(HERE / "golden", update=bool(pytestconfig.getoption("--update-golden")))


@pytest.fixture
def free_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crossing to the NPU is always worth it, so that small models are cut as large ones are."""
    monkeypatch.setattr("kcompiler.compiler.not_worth_crossing", lambda *_: None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of larger models and data beside the checkout; nothing but tests may use it."""
    folder = ROOT.parent / "shared"
    if not (folder / "models").is_dir():
        pytest.skip("no folder ../shared with models beside the checkout")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder examples/: a small trained network and its inputs, always there."""
    return ROOT / "examples"
