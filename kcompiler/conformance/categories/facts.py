"""What the chip description says: every number with its tag and source, names that exist."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from kcompiler.conformance.bench import Bench
from kcompiler.conformance.score import Finding, judged
from kcompiler.errors import UsageError
from kcompiler.machine.chip import Chip
from kcompiler.machine.facts import TAGS, Fact, facts
from kcompiler.machine.validate import MAY_BE_ZERO, check_chip

TITLE = "every number of the chip has a tag and a source"
_LEAST_SOURCE = 8  # characters
_FIX = "write Fact(value, tag, source): kcompiler.machine.facts has the tags"


def findings(bench: Bench) -> Iterator[Finding]:
    """Each fact, each number that is none, and what the chip refers to."""
    chip = bench.target.chip
    for path, fact in facts(chip).items():
        yield judged(path, _unsound(path, fact), _FIX)
    bare = list(_bare(chip, "chip"))
    problem = f"{bare[0]} is a bare number" if bare else None
    yield judged("no number without a source", problem, _FIX)
    yield judged("the description makes sense", _nonsense(chip), "see kcompiler/machine/chip.py")
    silent = None if chip.calibrated.strip() else "it says neither by what nor 'not calibrated'"
    yield judged("calibration is spoken of", silent, "set Chip.calibrated")
    named = None if chip.title.strip() else "the chip has no title"
    yield judged("the chip has a title", named, "set Chip.title")


def _unsound(path: str, fact: Fact[Any]) -> str | None:
    if fact.tag not in TAGS:
        return f"unknown tag {fact.tag!r}"
    if len(fact.source.strip()) < _LEAST_SOURCE:
        return f"its source is {fact.source!r}, which nobody can look up"
    if isinstance(fact.value, str):
        return None
    if not math.isfinite(fact.value) or fact.value < 0:
        return f"its value is {fact.value}"
    optional = path.rsplit(".", 1)[-1] in MAY_BE_ZERO
    return "its value is 0" if fact.value == 0 and not optional else None


def _bare(tree: Any, path: str) -> Iterator[str]:
    """Numbers outside of facts."""
    if isinstance(tree, Fact | bool | str) or tree is None:
        return
    if isinstance(tree, int | float):
        yield path
    elif isinstance(tree, tuple):
        for i, item in enumerate(tree):
            yield from _bare(item, f"{path}[{i}]")
    elif is_dataclass(tree):
        for field in fields(tree):
            yield from _bare(getattr(tree, field.name), f"{path}.{field.name}")


def _nonsense(chip: Chip) -> str | None:
    try:
        check_chip(chip)
    except UsageError as error:
        return error.why
    return None
