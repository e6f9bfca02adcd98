"""`kcompile explain MODEL --target T`: where each node runs, why, and what it takes."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options


@click.command("explain")
@options.model_options
@options.JSON
def command(wish: options.Wish, as_json: bool) -> None:
    """Compile a model and say for each of its nodes where it runs, why, and what it takes."""
    from kcompiler.frontend.listing import list_nodes
    from kcompiler.report.console import phase
    from kcompiler.report.nodes import explain, node_table

    with phase(f"compiling {wish.model}"):
        compiled = wish.compiled()
    rows = explain(compiled, list_nodes(wish.model))
    if as_json:
        options.print_json([row.json() for row in rows])
    else:
        options.print_table(node_table(rows))
