"""A package for a new target: an installable folder that compiles and simulates as it is written.

`files/` holds what is written; `$name` and its like are filled in.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from kcompiler.errors import UsageError
from kcompiler.registry import targets

NAME = re.compile(r"[a-z](?:[a-z0-9_-]*[a-z0-9])?")
LONGEST = 40

FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "$package/__init__.py": "init.py.txt",
    "$package/chip.py": "chip.py.txt",
    "tests/test_target.py": "test_target.py.txt",
}
"""Path in the new package -> its template."""


def new_target(name: str, folder: Path, title: str = "") -> tuple[Path, ...]:
    """Write the package of a target into a folder that is new or empty; the files written.

    Raises `UsageError` for a name that cannot be one or is taken, and rather than touch anything
    that exists.
    """
    _check_name(name)
    shown = _checked_title(title or name)
    _make_empty(folder)
    words = {
        "name": name,
        "package": package_of(name),
        "distribution": f"kcompiler-{name}",
        "title": shown,
        "quoted_title": json.dumps(shown, ensure_ascii=False),
        "summary": json.dumps(f"{shown} as a target of kcompiler", ensure_ascii=False),
    }
    texts = files(__name__).joinpath("files")
    written = []
    for where, source in FILES.items():
        path = folder / Template(where).substitute(words)
        text = Template(texts.joinpath(source).read_text(encoding="utf-8")).substitute(words)
        _write(path, text)
        written.append(path)
    return tuple(written)


def package_of(name: str) -> str:
    """The Python package of a target's name; the prefix keeps it from hiding another module."""
    return f"kcompiler_{name.replace('-', '_')}"


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        why = f"a name is 1 to {LONGEST} of a-z, 0-9, - and _, begins with a letter and ends with"
        raise UsageError(
            f"{name!r} cannot be a target's name",
            why=f"{why} a letter or digit",
            fix="the chip's short name, such as mychip: users write it after --target",
        )
    taken = {package_of(known): known for known in targets()}
    if package_of(name) in taken:
        what = f"there is already a target {taken[package_of(name)]!r}"
        raise UsageError(what, fix="another name, or uninstall the package that registers it")


def _checked_title(title: str) -> str:
    if not title.isprintable() or not title.strip() or '"""' in title or "\\" in title:
        why = "it stands in a docstring and a heading: one printable line"
        raise UsageError(f"{title!r} cannot be a title", why=why)
    return title.strip()


def _make_empty(folder: Path) -> None:
    """The folder, new or empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in folder.iterdir())
    except FileExistsError:
        raise UsageError("there is a file of this name", str(folder), fix="another DIR") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("the folder cannot be made", str(folder), why) from None
    if found:
        shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        why = f"it holds {shown}, and nothing is ever overwritten"
        raise UsageError("the folder is not empty", str(folder), why, "a DIR that does not exist")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("the file cannot be written", str(path), why) from None
