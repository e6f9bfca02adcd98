"""The passes and the targets are linked into the package."""

import pytest

from tests.repository.tree import ROOT


@pytest.mark.parametrize("name", ["passes", "targets"])
def test_link(name: str) -> None:
    link, folder = ROOT / "kcompiler" / name, ROOT / name
    assert link.is_dir(), (
        f"kcompiler/{name} should be a link to {name}/. Git on Windows writes links as text files "
        "unless told otherwise: switch on the developer mode, then run "
        "`git config core.symlinks true` and `git checkout -- kcompiler`."
    )
    assert link.samefile(folder)
    assert link.is_symlink()
    assert link.readlink().as_posix() == f"../{name}"
