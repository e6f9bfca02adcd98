"""`kcompile disasm PKG`: the instructions of a package."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options


@click.command("disasm")
@click.argument("package", type=click.Path())
@options.JSON
def command(package: str, as_json: bool) -> None:
    """Print the assembly of a package, kernel by kernel."""
    from kcompiler.report.listing import assembly, listing

    model = options.read_package(package)
    if as_json:
        options.print_json({"programs": assembly(model)})
    else:
        click.echo(listing(model, "asm"), nl=False)
