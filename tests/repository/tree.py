"""The files of this repository, as its tests see them."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINKS = ("kcompiler/passes", "kcompiler/targets")
NOT_OURS = {"__pycache__", "build", "dist", "htmlcov"}


@cache
def files() -> tuple[str, ...]:
    """Every file that is tracked or would be, relative to the root; the two links are left out."""
    names = sorted(_from_git() or _from_disk())
    return tuple(n for n in names if n not in LINKS and (ROOT / n).is_file())


def modules() -> tuple[str, ...]:
    """Every Python file."""
    return tuple(name for name in files() if name.endswith(".py"))


def read(name: str) -> str:
    """The text of a file."""
    return (ROOT / name).read_text(encoding="utf-8")


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of every file that is text."""
    for name in files():
        try:
            yield name, read(name)
        except UnicodeDecodeError:
            continue


def _from_git() -> list[str]:
    """What git knows, or nothing where there is no git or no repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return run.stdout.split("\0")[:-1]


def _from_disk() -> Iterator[str]:
    """The same from the folders alone: for an unpacked archive."""
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [d for d in inner if not _ignored(d)]
        yield from (
            (Path(folder) / name).relative_to(ROOT).as_posix()
            for name in names
            if not name.endswith((".pyc", ".kpkg"))
        )


def _ignored(folder: str) -> bool:
    return (
        (folder.startswith(".") and folder != ".ci")
        or folder in NOT_OURS
        or folder.endswith(".egg-info")
    )
