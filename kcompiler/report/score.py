"""The score card of a target, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from kcompiler.report.units import printable

if TYPE_CHECKING:
    from kcompiler.conformance.score import Card, Finding, Score

_EXAMPLE = " (Here "  # what a refusal ends with: `Target.refusal`
SHOWN = 8
"""Failures of a category that are shown; JSON has all."""


def score_tables(score: Score) -> Iterator[Table]:
    """The card, then what failed, what is missing and what was refused."""
    yield _card(score)
    if any(card.failures for card in score.cards):
        yield _list(score, "failed", "what failed")
    if any(card.counts["absent"] for card in score.cards):
        yield _list(score, "absent", "what this target does not have")
    if any(card.counts["refused"] for card in score.cards):
        yield _refusals(score)


def _card(score: Score) -> Table:
    verdict = "conforms" if score.ok else "does not conform"
    table = _table(f"{printable(score.target)} {verdict}")
    table.add_column("category", no_wrap=True)
    for heading in ("score", "passed", "failed", "refused", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what it says")
    for card in score.cards:
        counts = (str(card.counts[name]) for name in ("passed", "failed", "refused"))
        table.add_row(card.category, _percent(card), *counts, f"{card.seconds:.1f}", card.title)
    return table


def _percent(card: Card) -> str:
    """Rounded down: only what is whole is 100 %."""
    if not card.counts["passed"] and not card.counts["failed"]:
        return "nothing"
    tenths = int(card.score * 1000)
    return f"{tenths // 10}.{tenths % 10} %" if tenths < 1000 else "100 %"


def _list(score: Score, status: str, title: str) -> Table:
    table = _table(title)
    table.add_column("category", no_wrap=True)
    table.add_column("case", overflow="fold")
    for card in score.cards:
        found = [f for f in card.findings if f.status == status]
        for finding in found[:SHOWN]:
            table.add_row(card.category, _explained(finding))
        if len(found) > SHOWN:
            table.add_row(card.category, f"… {len(found) - SHOWN} more; --json lists all")
    return table


def _explained(finding: Finding) -> Text:
    lines = [printable(finding.case), *map(printable, finding.text.split("\n"))]
    lines += [f"try: {finding.fix}"] if finding.fix else []
    return Text("\n  ".join(lines))


def _refusals(score: Score) -> Table:
    """Reasons, each once, with how many cases it concerns; their examples are left out."""
    reasons: dict[str, int] = {}
    for card in score.cards:
        for finding in card.findings:
            if finding.status == "refused":
                reason = finding.text.partition(_EXAMPLE)[0]
                reasons[reason] = reasons.get(reason, 0) + 1
    table = _table("what it refuses, which counts neither way")
    table.add_column("cases", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        table.add_row(str(count), Text(printable(reason)))
    return table


def _table(title: str) -> Table:
    return Table(title=Text(title, "bold"), title_justify="left", box=None, pad_edge=False)
