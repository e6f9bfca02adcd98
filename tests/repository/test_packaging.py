"""A wheel, straight or by way of an sdist, holds the passes and the targets behind the links."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.repository.tree import LINKS, ROOT, files

pytestmark = pytest.mark.slow

IMPORT = """
import kcompiler, kcompiler.passes, kcompiler.targets
for module in (kcompiler, kcompiler.passes, kcompiler.targets):
    print(module.__file__)
"""
BUILD_SDIST = "from setuptools.build_meta import build_sdist; build_sdist('dist')"


def run(command: Sequence[str], cwd: Path, **env: str) -> str:
    """The standard output of a command; where it fails, everything that it said is the message."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments: str, cwd: Path) -> None:
    """Run this interpreter's pip."""
    run([sys.executable, "-m", "pip", "--quiet", *arguments], cwd)


def wheel_of(source: Path, out: Path) -> Path:
    """Build one wheel in isolation."""
    pip("wheel", "--no-deps", "--wheel-dir", str(out), str(source), cwd=out.parent)
    (wheel,) = out.glob("*.whl")
    return wheel


def check(wheel: Path, scratch: Path) -> None:
    """Everything under the package is there, as plain files, and is what gets imported."""
    wanted = {
        f"kcompiler/{name}" if name.startswith(("passes/", "targets/")) else name
        for name in files()
        if name.startswith(("kcompiler/", "passes/", "targets/"))
    }
    inside = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert inside == wanted
    site = scratch / "site"
    pip("install", "--no-deps", "--target", str(site), str(wheel), cwd=scratch)
    printed = run([sys.executable, "-P", "-c", IMPORT], scratch, PYTHONPATH=str(site))
    assert [Path(line).relative_to(site).as_posix() for line in printed.split()] == [
        "kcompiler/__init__.py",
        "kcompiler/passes/__init__.py",
        "kcompiler/targets/__init__.py",
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the tree with its links, so that building leaves nothing behind."""
    copy = tmp_path / "checkout"
    for name in files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    for name in LINKS:
        (copy / name).symlink_to(f"../{Path(name).name}", target_is_directory=True)
    return copy


def test_wheel(checkout: Path, tmp_path: Path) -> None:
    check(wheel_of(checkout, tmp_path / "wheel"), tmp_path)


def test_wheel_from_sdist(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    pip("install", "--target", str(tools), "setuptools>=77", cwd=tmp_path)
    run([sys.executable, "-c", BUILD_SDIST], checkout, PYTHONPATH=str(tools))
    (sdist,) = (checkout / "dist").glob("*.tar.gz")
    check(wheel_of(sdist, tmp_path / "wheel"), tmp_path)
