"""`kcompile check-target T`: the conformance kit."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options


@click.command("check-target")
@click.argument("target")
@click.option(
    "--only", "-o", metavar="C", multiple=True, help="Only this category; may be given again."
)
@options.JSON
def command(target: str, only: tuple[str, ...], as_json: bool) -> int:
    """Check a target against what kcompiler expects of it, and print a score card.

    Exit code 0 when every category is at 100 %, 1 when something failed.
    """
    from kcompiler.conformance import check_target
    from kcompiler.registry import find_target
    from kcompiler.report.score import score_tables

    score = check_target(find_target(target), only, _said)
    if as_json:
        options.print_json(score.json())
    else:
        options.print_table(*score_tables(score))
    return 0 if score.ok else 1


def _said(text: str) -> None:
    """Progress: one line a category, for whoever waits."""
    click.echo(text, err=True)
