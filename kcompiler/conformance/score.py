"""What the conformance kit found: findings by case, cards by category, the score of a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["passed", "failed", "refused", "absent"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one case.

    `refused`: the target does not take it and says why, which is its right. `absent`: the case does
    not exist for this target, and `text` says what is missing. Neither counts for or against it.
    `text` says what went wrong and where; `fix` what to do about it.
    """

    case: str
    status: Status
    text: str = ""
    fix: str = ""

    def json(self) -> dict[str, str]:
        """As JSON."""
        return {"case": self.case, "status": self.status, "text": self.text, "fix": self.fix}


def passed(case: str) -> Finding:
    """The case holds."""
    return Finding(case, "passed")


def judged(case: str, problem: str | None, fix: str) -> Finding:
    """Passed without a problem, failed with one."""
    return passed(case) if problem is None else Finding(case, "failed", problem, fix)


@dataclass(frozen=True)
class Card:
    """One category's findings; `seconds` of CPU time."""

    category: str
    title: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def counts(self) -> Mapping[str, int]:
        """How many findings there are of each status."""
        return Counter(f.status for f in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What went wrong, in the order of the cases."""
        return tuple(f for f in self.findings if f.status == "failed")

    @property
    def score(self) -> float:
        """The share of the cases with a verdict that passed; a category without any has none."""
        judged_ = self.counts["passed"] + self.counts["failed"]
        return self.counts["passed"] / judged_ if judged_ else 0.0

    @property
    def ok(self) -> bool:
        """Whether at least one case passed and none failed."""
        return self.counts["passed"] > 0 and not self.counts["failed"]

    def json(self) -> dict[str, Any]:
        """As JSON: cases that passed are counted, the others listed."""
        return {
            "category": self.category,
            "title": self.title,
            "score": self.score,
            "ok": self.ok,
            **{name: self.counts[name] for name in ("passed", "failed", "refused", "absent")},
            "seconds": round(self.seconds, 3),
            "findings": [f.json() for f in self.findings if f.status != "passed"],
        }


@dataclass(frozen=True)
class Score:
    """The score card of a target."""

    target: str
    cards: tuple[Card, ...]

    @property
    def ok(self) -> bool:
        """Whether every category is at 100 %."""
        return all(card.ok for card in self.cards)

    def json(self) -> dict[str, Any]:
        """As JSON."""
        cards = [card.json() for card in self.cards]
        return {"target": self.target, "ok": self.ok, "categories": cards}


Progress = Callable[[str], None]
"""Told what is being done, in words."""
