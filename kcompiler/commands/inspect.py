"""`kcompile inspect PKG`: what is in a package."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options


@click.command("inspect")
@click.argument("package", type=click.Path())
@options.JSON
def command(package: str, as_json: bool) -> None:
    """Show a package: interface, memory, kernels with time and bytes, facts."""
    from kcompiler.report.contents import contents, kernel_table
    from kcompiler.report.summary import summary

    model = options.read_package(package)
    if as_json:
        options.print_json(contents(model))
    else:
        options.print_table(summary(model.report()), "", kernel_table(model))
