"""`kcompile disasm PKG`: the instructions of a package."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options


@click.command("disasm")
@click.argument("package", type=click.Path())
def command(package: str) -> None:
    """Print the assembly of a package, kernel by kernel."""
    from kcompiler.report.listing import listing

    click.echo(listing(options.read_package(package), "asm"), nl=False)
