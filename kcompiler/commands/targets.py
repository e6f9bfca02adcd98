"""`kcompile targets [T]`: the NPUs, the facts of one, and how well its times are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kcompiler.commands import _options as options
from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from kcompiler.machine.measured import Measured
    from kcompiler.machine.target import Target


@click.command("targets")
@click.argument("target", required=False)
@click.option("--calibration", is_flag=True, help="Published measurements beside predictions.")
@options.JSON
def command(target: str | None, calibration: bool, as_json: bool) -> int:
    """List the targets, or the facts of one with tags and sources.

    Exit code 1 when a package registers a target that cannot be loaded; the others are listed.
    """
    from kcompiler.registry import find_target
    from kcompiler.report.chip import fact_table, target_json
    from kcompiler.report.measured import measured_table

    if calibration:
        measured = _measured(target)
        if as_json:
            options.print_json(measured.json())
        else:
            options.print_table(measured_table(measured))
        return 0
    if target is None:
        return _all(as_json)
    found = find_target(target)
    if as_json:
        options.print_json(target_json(found))
    else:
        options.print_table(fact_table(found))
    return 0


def _all(as_json: bool) -> int:
    """Every target; what cannot be loaded is told on standard error."""
    from kcompiler.registry import find_target, targets
    from kcompiler.report.chip import target_summary, target_table

    found: list[Target] = []
    broken: list[UsageError] = []
    for name in targets():
        try:
            found.append(find_target(name))
        except UsageError as error:
            broken.append(error)
    if as_json:
        options.print_json({"targets": [target_summary(each) for each in found]})
    else:
        options.print_table(target_table(found))
    from kcompiler.report.console import say

    for each in broken:
        say(each)
    return int(bool(broken))


def _measured(target: str | None) -> Measured:
    """A target's published measurements; an error where none are known."""
    from kcompiler.machine.measured import read_measured
    from kcompiler.registry import find_target

    if target is None:
        fix = "kcompile targets NAME --calibration"
        raise UsageError("--calibration needs the name of a target", fix=fix)
    found = find_target(target)
    if found.measured is None:
        why = f"no measurement of {found.chip.title} with its conditions is known"
        raise UsageError(f"{target} is not calibrated", why=why)
    return read_measured(found.measured)
