"""`kcompile new-target`: what it writes works at once, and nothing that exists is touched."""

import json
from pathlib import Path

import pytest

from kcompiler.cli import main
from kcompiler.conformance.categories import ORDER
from kcompiler.scaffold import FILES, new_target
from tests.cli.outside import can_build, environment, link, pip_install, run
from tests.conftest import ROOT


def test_what_it_writes_passes_its_own_tests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "some where" / "otter"
    title = 'Otter "Sea" 1 – ∞'
    assert main(["new-target", "sea-otter1", str(folder), "--title", title]) == 0
    shown = capsys.readouterr().out
    assert "kcompile MODEL --target sea-otter1" in shown
    assert all(str(folder / p.replace("$package", "kcompiler_sea_otter1")) in shown for p in FILES)
    link(folder, tmp_path / "site")
    done = run(["-m", "pytest", "-q", "-p", "no:cacheprovider"], folder, tmp_path / "site")
    assert "7 passed" in done.stdout
    listed = run(["-m", "kcompiler.cli", "targets"], tmp_path, tmp_path / "site").stdout
    assert "sea-otter1" in listed
    assert title in listed
    facts = run(["-m", "kcompiler.cli", "targets", "sea-otter1"], tmp_path, tmp_path / "site")
    assert "a placeholder" in facts.stdout


@pytest.mark.slow
def test_what_it_writes_conforms_as_it_is(tmp_path: Path) -> None:
    """Before anything of it is replaced, every category of the kit is at 100 %."""
    new_target("otter", tmp_path / "otter")
    link(tmp_path / "otter", tmp_path / "site")
    command = ["-m", "kcompiler.cli", "check-target", "otter", "--json"]
    score = json.loads(run(command, tmp_path, tmp_path / "site").stdout)
    assert score["ok"]
    assert [card["category"] for card in score["categories"]] == list(ORDER)
    assert {card["score"] for card in score["categories"]} == {1.0}


@pytest.mark.skipif(not can_build(), reason="needs pip and setuptools 70.1 or later")
def test_pip_installs_it(tmp_path: Path) -> None:
    new_target("otter", tmp_path / "otter")
    python = environment(tmp_path / "venv")
    pip_install(python, "--no-deps", "--no-build-isolation", "./otter", cwd=tmp_path)
    model = ROOT / "examples" / "mnistnet.onnx"
    arguments = ["-m", "kcompiler.cli", str(model), "--target", "otter", "--dim", "s77=1"]
    done = run(arguments, tmp_path, python=python)
    assert "mnistnet.onnx on otter in f16" in done.stdout
    assert (tmp_path / "mnistnet.kpkg").exists()


ERRORS = {
    ("rebel", "new"): "error: there is already a target 'rebel'\n"
    "  try: another name, or uninstall the package that registers it\n",
    ("Otter", "new"): "error: 'Otter' cannot be a target's name\n"
    "  because: a name is 1 to 40 of a-z, 0-9, - and _, begins with a letter and ends with a "
    "letter or digit\n"
    "  try: the chip's short name, such as mychip: users write it after --target\n",
    ("otter", "full"): "error: the folder is not empty\n"
    "  at: full\n"
    "  because: it holds a, b, c, ..., and nothing is ever overwritten\n"
    "  try: a DIR that does not exist\n",
    ("otter", "full/a"): "error: there is a file of this name\n  at: full/a\n  try: another DIR\n",
    ("otter", "full/a/b"): "error: the folder cannot be made\n"
    "  at: full/a/b\n"
    "  because: Not a directory\n",
    ("otter", "new", "--title", "two\nlines"): "error: 'two\\nlines' cannot be a title\n"
    "  because: it stands in a docstring and a heading: one printable line\n",
}


@pytest.mark.parametrize("arguments", ERRORS, ids=" ".join)
def test_errors(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    for name in "abcd":
        Path("full", name).write_text(name)
    assert main(["new-target", *arguments]) == 2
    assert capsys.readouterr().err == ERRORS[arguments]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "c", "d", "full"]
    assert all(Path("full", name).read_text() == name for name in "abcd")


@pytest.mark.parametrize("name", ["", "-a", "a-", "1a", "a b", "a.b", "../a", "é", "a" * 41, "a\n"])
def test_names_that_are_none(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-target", "--", name, str(tmp_path / "new")]) == 2
    assert "cannot be a target's name" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    written = new_target("a", tmp_path)
    assert {p.relative_to(tmp_path).as_posix() for p in written} == {
        p.replace("$package", "kcompiler_a") for p in FILES
    }
    assert "$" not in "".join(p.read_text() for p in written)
