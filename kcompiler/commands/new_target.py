"""`kcompile new-target NAME DIR`: a package for a chip of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command("new-target")
@click.argument("name")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--title", metavar="TEXT", default="", help="The chip's full name.")
def command(name: str, directory: Path, title: str) -> None:
    """Write an installable package for a new target into DIR.

    It compiles and simulates at once on the generic core, with placeholders for the chip's numbers.
    """
    from kcompiler.scaffold import new_target

    for path in new_target(name, directory, title):
        click.echo(path)
    click.echo(f"\nNext: pip install --no-deps -e {shlex.quote(str(directory))}")
    click.echo(f"then: kcompile targets {name}, kcompile MODEL --target {name}")
    click.echo(f"      kcompile check-target {name}")
