"""A chip's facts with their tags and sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from kcompiler.artifact.identity import chip_facts
from kcompiler.machine.facts import TAGS, facts

if TYPE_CHECKING:
    from kcompiler.machine.target import Target


def fact_table(target: Target) -> Table:
    """Every number of a target's chip."""
    chip = target.chip
    caption = "; ".join(f"{tag}: {meaning}" for tag, meaning in TAGS.items())
    table = Table(
        title=Text(f"{chip.title}, {chip.calibrated}", "bold"),
        caption=Text(caption),
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("fact", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("tag", no_wrap=True)
    table.add_column("source")
    for path, fact in facts(chip).items():
        value = fact.value if isinstance(fact.value, str) else f"{fact.value:,.6g}"
        if isinstance(fact.value, int):
            value = f"{fact.value:,}"
        table.add_row(path, value, fact.tag, Text(fact.source))
    return table


def target_summary(target: Target) -> dict[str, Any]:
    """A target in a list of them, as an object."""
    return {
        "target": target.name,
        "chip": target.chip.title,
        "precisions": list(target.precisions),
        "calibrated": target.chip.calibrated,
    }


def target_json(target: Target) -> dict[str, Any]:
    """A target with every number of its chip, as an object."""
    return {**target_summary(target), "facts": chip_facts(target.chip)}


def target_table(targets: list[Target]) -> Table:
    """All targets."""
    table = Table(box=None, pad_edge=False)
    for heading in ("target", "chip", "precisions"):
        table.add_column(heading)
    for target in targets:
        table.add_row(target.name, Text(target.chip.title), ", ".join(target.precisions))
    return table
