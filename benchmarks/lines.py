"""How many lines a target takes: `python -m benchmarks.lines`.

Counted are all lines that are not blank, docstrings and comments included, of what is written for
the target: its chip, instructions, lowering and limits, without tests, README and pyproject.toml.
The two others are what their repositories need for a backend; they are quoted, not counted here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "add-a-target.md"
FILE = re.compile(r"^```python\n# file: (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = {"ONNC, its smallest backend": 427, "TVM, its example NPU": 1331}


def lines(texts: Iterable[str]) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


def of_the_page() -> dict[str, str]:
    """The files of the tutorial's target, as the page leaves them."""
    return {Path(name).name: text for name, text in FILE.findall(PAGE.read_text(encoding="utf-8"))}


def description_alone() -> int:
    """The tutorial's chip on the generic core: its description, and the module that names it."""
    written = files("kcompiler.scaffold").joinpath("files", "init.py.txt")
    return lines([of_the_page()["chip.py"], written.read_text(encoding="utf-8")])


def own_instructions() -> int:
    """The tutorial's target with an instruction set and a lowering of its own."""
    return lines(of_the_page().values())


def of_the_tree() -> dict[str, int]:
    """The targets of this repository, all and file by file."""
    found: dict[str, int] = {}
    for folder in sorted(p.parent for p in (ROOT / "targets").glob("*/__init__.py")):
        sources = sorted(folder.rglob("*.py"))
        each = {f"/{path.name}": lines([path.read_text(encoding="utf-8")]) for path in sources}
        found[f"targets/{folder.name}"] = sum(each.values())
        found |= {f"targets/{folder.name}{name}": count for name, count in each.items()}
    return found


def table() -> dict[str, int]:
    """What -> lines."""
    return {
        "otter of docs/add-a-target.md, its description alone": description_alone(),
        "otter with its own instructions and lowering": own_instructions(),
        **of_the_tree(),
        **QUOTED,
    }


def main() -> None:
    """Print the table."""
    rows = table()
    width = max(map(len, rows))
    for what, count in rows.items():
        print(f"{what:{width}}  {count:5,}")


if __name__ == "__main__":
    main()
