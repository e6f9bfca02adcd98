"""`kcompile audit PKG`: prove a package's programs sound, from their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kcompiler.commands import _options as options

if TYPE_CHECKING:
    from kcompiler.verify import Audit


@click.command("audit")
@click.argument("package", type=click.Path())
@options.JSON
def command(package: str, as_json: bool) -> int:
    """Prove the programs of a package sound from their bytes; exit code 1 for a finding."""
    from kcompiler.report.units import printable

    found = options.read_package(package).audit()
    if as_json:
        options.print_json(found.json())
    else:
        for line in _lines(found):
            click.echo(printable(line))
    return 0 if found.ok else 1


def _lines(found: Audit) -> list[str]:
    from kcompiler.machine.auditor import PROPERTIES
    from kcompiler.report.summary import audited

    if not found.ok:
        return [str(finding) for finding in found.findings]
    return [audited(found), *(f"  {name:8} {text}" for name, text in PROPERTIES.items())]
