"""`kcompile explain MODEL --target T`: where each node runs, why, and what it takes."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options


@click.command("explain")
@options.model_options
@options.JSON
def command(  # noqa: PLR0917 - click passes them by name
    model: str,
    target: str,
    precision: str | None,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    values: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compile a model and say for each of its nodes where it runs, why, and what it takes."""
    from kcompiler.frontend.listing import list_nodes
    from kcompiler.report.console import phase
    from kcompiler.report.nodes import explain, node_table

    with phase(f"compiling {model}"):
        compiled = options.compiled(model, target, precision, dims, shapes, values=values)
    rows = explain(compiled, list_nodes(model))
    if as_json:
        options.print_json([row.json() for row in rows])
    else:
        options.print_table(node_table(rows))
