"""`kcompile targets [T]`: the NPUs, the facts of one, and how well its times are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kcompiler.commands import _options as options
from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from kcompiler.machine.target import Target


@click.command("targets")
@click.argument("target", required=False)
@click.option("--calibration", is_flag=True, help="Published measurements beside predictions.")
def command(target: str | None, calibration: bool) -> int:
    """List the targets, or the facts of one with tags and sources.

    Exit code 1 when a package registers a target that cannot be loaded; the others are listed.
    """
    from kcompiler.registry import find_target, targets
    from kcompiler.report.chip import fact_table, target_table

    if calibration:
        options.print_table(_measured(target))
        return 0
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


def _measured(target: str | None) -> Table:
    """A target's published measurements; an error where none are known."""
    from kcompiler.machine.measured import read_measured
    from kcompiler.registry import find_target
    from kcompiler.report.measured import measured_table

    if target is None:
        fix = "kcompile targets NAME --calibration"
        raise UsageError("--calibration needs the name of a target", fix=fix)
    found = find_target(target)
    if found.measured is None:
        why = f"no measurement of {found.chip.title} with its conditions is known"
        raise UsageError(f"{target} is not calibrated", why=why)
    return measured_table(read_measured(found.measured))
