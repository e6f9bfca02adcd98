"""Published measurements of a chip beside what is predicted for them: how far estimates can be off.

A target may ship such a table. Some of its rows have served to fit parameters of the chip; the
others were held back, and only these say how good the predictions are.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """A published time and the predicted one, in seconds."""

    what: str
    target: str
    published: float
    source: str
    predicted: float
    fitted: bool

    @property
    def error(self) -> float:
        """By how much of the published time the prediction is too long; negative: too short."""
        return self.predicted / self.published - 1


@dataclass(frozen=True)
class Parameter:
    """A number that was fitted: the path of a chip's fact, the target, what it stands for."""

    fact: str
    target: str
    value: float
    meaning: str


@dataclass(frozen=True)
class Measured:
    """The table of a target."""

    parameters: tuple[Parameter, ...]
    rows: tuple[Row, ...]

    def json(self) -> dict[str, Any]:
        """The table as an object, with the error of each row."""
        rows = [{**asdict(row), "error": row.error} for row in self.rows]
        return {"parameters": [asdict(p) for p in self.parameters], "rows": rows}

    def errors(self, *, fitted: bool) -> list[float]:
        """The absolute errors of the rows that were fitted to, or of those held back."""
        return [abs(row.error) for row in self.rows if row.fitted == fitted]

    def summary(self) -> str:
        """Median and worst error of the rows held back, in a sentence; a part may have none."""
        held = self.errors(fitted=False)
        if not held:
            return "no held rows: nothing here says how good the predictions are"
        worst = max((r for r in self.rows if not r.fitted), key=lambda r: abs(r.error))
        text = (
            f"{len(held)} held rows: median absolute error {median(held):.0%}, worst "
            f"{worst.error:+.0%} ({worst.what} on {worst.target})"
        )
        fitted = self.errors(fitted=True)
        if not fitted:
            return text
        return (
            f"{text}; {len(self.parameters)} parameters fitted to the other {len(fitted)}, "
            f"whose median is {median(fitted):.0%}"
        )


def read_measured(path: Path) -> Measured:
    """The table in a file that `write_measured` has made."""
    found = json.loads(path.read_text(encoding="utf-8"))
    parameters = tuple(Parameter(**each) for each in found["parameters"])
    return Measured(parameters, tuple(Row(**each) for each in found["rows"]))


def write_measured(table: Measured, path: Path) -> None:
    """Write a table."""
    path.write_text(json.dumps(asdict(table), indent=1) + "\n", encoding="utf-8")
