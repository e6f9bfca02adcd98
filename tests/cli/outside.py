"""Packages outside of this repository: installing them where a test can throw them away."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import ROOT

OURS = sysconfig.get_path("purelib")


def can_build() -> bool:
    """Whether pip can build a package without a network: setuptools is here and needs no wheel."""
    try:
        new = tuple(map(int, version("setuptools").split(".")[:2])) >= (70, 1)
    except (PackageNotFoundError, ValueError):
        return False
    return new and find_spec("pip") is not None


def environment(folder: Path) -> Path:
    """The Python of a new virtual environment without anything in it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def pip_install(python: Path, *arguments: str, cwd: Path) -> None:
    """What `pip install` does in another environment, with our pip and our setuptools."""
    quiet = ["--quiet", "--disable-pip-version-check", "--python", str(python)]
    run(["-m", "pip", *quiet, "install", *arguments], cwd)


def link(folder: Path, site: Path) -> None:
    """What an editable install leaves behind: the entry points, and the way to the source."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    about, points = project["project"], project["project"]["entry-points"]
    info = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n",
        encoding="utf-8",
    )
    lines = [f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in p.items()) for g, p in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    for package in project["tool"]["setuptools"]["packages"]:
        (site / package).symlink_to(folder / package, target_is_directory=True)


def run(
    arguments: Sequence[str], cwd: Path, *paths: Path, python: Path | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a Python, with these paths in front and all of ours; it must end with this exit code."""
    done = subprocess.run(
        [python or sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT, OURS)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done
