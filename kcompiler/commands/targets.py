"""`kcompile targets [T]`: the NPUs, and the facts of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kcompiler.commands import _options as options
from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from kcompiler.machine.target import Target


@click.command("targets")
@click.argument("target", required=False)
def command(target: str | None) -> int:
    """List the targets, or the facts of one with tags and sources.

    Exit code 1 when a package registers a target that cannot be loaded; the others are listed.
    """
    from kcompiler.registry import find_target, targets
    from kcompiler.report.chip import fact_table, target_table

    if target is not None:
        options.print_table(fact_table(find_target(target)))
        return 0
    found: list[Target] = []
    broken: list[UsageError] = []
    for name in targets():
        try:
            found.append(find_target(name))
        except UsageError as error:
            broken.append(error)
    options.print_table(target_table(found))
    for each in broken:
        click.echo(each, err=True)
    return int(bool(broken))
