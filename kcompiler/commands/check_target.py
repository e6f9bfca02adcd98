"""`kcompile check-target T`: the conformance kit."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options


@click.command("check-target")
@click.argument("target")
@click.option(
    "--only", "-o", metavar="C", multiple=True, help="Only this category; may be given again."
)
@click.option("--golden", metavar="F", help="Write a golden listing of its instructions instead.")
@options.JSON
def command(target: str, only: tuple[str, ...], golden: str | None, as_json: bool) -> int:
    """Check a target against what kcompiler expects of it, and print a score card.

    Exit code 0 when every category is at 100 %, 1 when something failed.
    """
    from kcompiler.conformance import check_target
    from kcompiler.registry import find_target
    from kcompiler.report.score import score_tables

    if golden is not None:
        return _write_golden(target, golden)
    score = check_target(find_target(target), only, _said)
    if as_json:
        options.print_json(score.json())
    else:
        options.print_table(*score_tables(score))
    return 0 if score.ok else 1


def _write_golden(target: str, path: str) -> int:
    """The encoding as it is now, for later versions to be held against."""
    from pathlib import Path

    from kcompiler.conformance.bench import Bench
    from kcompiler.conformance.categories.encoding import golden_listing
    from kcompiler.errors import UsageError
    from kcompiler.registry import find_target

    text = golden_listing(Bench(find_target(target)))
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError("the listing cannot be written", path, error.strerror or "") from None
    return 0


def _said(text: str) -> None:
    """Progress: one line a category, for whoever waits."""
    from kcompiler.report.console import say

    say(text)
