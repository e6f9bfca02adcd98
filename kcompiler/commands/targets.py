"""`kcompile targets [T]`: the NPUs, and the facts of one."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options


@click.command("targets")
@click.argument("target", required=False)
def command(target: str | None) -> None:
    """List the targets, or the facts of one with tags and sources."""
    from kcompiler.registry import find_target, targets
    from kcompiler.report.chip import fact_table, target_table

    if target is None:
        options.print_table(target_table([find_target(name) for name in targets()]))
    else:
        options.print_table(fact_table(find_target(target)))
