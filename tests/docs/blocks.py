"""Pages whose fenced blocks are run: `sh` and `python`, each with the `text` block after it.

A `text` block is what the block before it prints, standard error included. In it `...` stands for
any text within a line, and alone on a line for any number of lines. One that begins with "error:"
belongs to a command that fails. The python blocks of a page are one program.
"""

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcompiler.cli import main

FENCE = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A block to run and the text that it should print; None: nobody says."""

    language: str
    code: str
    line: int  # of its first line in the page
    expected: str | None = None
    place: tuple[int, int] = (0, 0)  # of the expected text in the page


def examples(page: str) -> Iterator[Example]:
    """The blocks of a page in order."""
    found = list(FENCE.finditer(page))
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block[1] == "text":
            continue
        line = page.count("\n", 0, block.start(2)) + 1
        follows = after is not None and after[1] == "text"
        if after is not None and follows and not page[block.end() : after.start()].strip():
            yield Example(block[1], block[2], line, after[2], after.span(2))
        else:
            yield Example(block[1], block[2], line)


def difference(expected: str, printed: str) -> str:
    """What is wrong with a printed text; empty where it is as expected."""
    if re.fullmatch(_pattern(_lines(expected)), "".join(f"{x}\n" for x in _lines(printed))):
        return ""
    return f"expected:\n{expected}\nprinted:\n{printed}"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _pattern(lines: list[str]) -> str:
    return "".join(r"(?:.*\n)*?" if line.strip() == "..." else f"{_line(line)}\n" for line in lines)


def _line(line: str) -> str:
    return ".*?".join(map(re.escape, line.split("...")))


def updated(expected: str, printed: str) -> str:
    """The expected text with the numbers of what was printed; what `...` hides stays hidden."""
    rest = iter(_lines(printed))
    lines = []
    for old in _lines(expected):
        if old.strip() == "...":
            lines.append(old)
            continue
        new = next((n for n in rest if _label(n) == _label(old)), None)
        if new is None:
            raise ValueError(f"nothing like {old!r} is printed any more: change the page by hand")
        lines.append(old if re.fullmatch(_line(old), new) else new)
    text = "".join(f"{line}\n" for line in lines)
    if difference(text, printed):
        raise ValueError(f"change the page by hand; printed was:\n{printed}")
    return text


def _label(line: str) -> str:
    """The first cell of a line, without its numbers."""
    return re.sub(r"\d[\d.,]*", "#", re.split(r"\s{2,}|\.\.\.", line.lstrip())[0])


@dataclass
class Session:
    """Runs examples in the current folder, one after the other."""

    page: str
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def skips(self, example: Example) -> bool:
        """What is not to be run: setting up, which .ci/run does."""
        return example.code.startswith(("pytest", "python3", "pip"))

    def run(self, example: Example) -> str:
        """What an example prints; an AssertionError where it fails and should not."""
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            if example.language == "python":
                self._python(example)
                return out.getvalue()
            codes = [_command(line) for line in _commands(example.code)]
        fails = (example.expected or "").startswith("error:")
        assert any(codes) == fails, (
            f"{self.page}:{example.line}: exit codes {codes}\n{out.getvalue()}"
        )
        return out.getvalue()

    def _python(self, example: Example) -> None:
        padded = "\n" * (example.line - 1) + example.code
        exec(compile(padded, self.page, "exec"), self.names)  # noqa: S102 - the page is ours


def _commands(code: str) -> list[str]:
    return [x for x in code.replace("\\\n", " ").splitlines() if x and not x.startswith("#")]


def _command(line: str) -> int:
    program, *arguments = shlex.split(line)
    if program != "kcompile":
        raise ValueError(f"pages run kcompile only, not {program!r}")
    return main(arguments)


def outdated(path: Path, *, update: bool, session: Session | None = None) -> list[str]:
    """Run a page; what it prints otherwise than it says, or, to `update` it, nothing."""
    page = path.read_text(encoding="utf-8")
    session = Session(path.name) if session is None else session
    wrong, shift, text = [], 0, page
    for example in examples(page):
        if session.skips(example):
            continue
        printed = session.run(example)
        if example.expected is None or not (found := difference(example.expected, printed)):
            continue
        wrong.append(f"{path.name}:{example.line}: {found}")
        if update:
            start, end = (shift + at for at in example.place)
            new = updated(example.expected, printed)
            text = text[:start] + new + text[end:]
            shift += len(new) - (end - start)
    if update and wrong:
        path.write_text(text, encoding="utf-8")
        return []
    return wrong
