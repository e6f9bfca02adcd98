"""All categories, or some, of one target."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module

from kcompiler.conformance.bench import Bench
from kcompiler.conformance.categories import ORDER
from kcompiler.conformance.score import Card, Finding, Progress, Score
from kcompiler.errors import UsageError
from kcompiler.machine.target import Target

_COLLECT = (50_000, 20, 100)
_FIX = "a category must not stop: read the error; --debug shows where it comes from"


def silent(_: str) -> None:
    """Progress that nobody wants to hear of."""


def check_target(target: Target, only: Sequence[str] = (), say: Progress = silent) -> Score:
    """The score card of a target; `only` names categories, none means all.

    Raises `UsageError` for a category that does not exist.
    """
    chosen = [name for name in ORDER if name in (only or ORDER)]
    unknown = next((name for name in only if name not in ORDER), None)
    if unknown is not None:
        near = get_close_matches(unknown, ORDER, n=1)
        fix = f"did you mean {near[0]}?" if near else "take one of these"
        why = f"known: {', '.join(ORDER)}"
        raise UsageError(f"the kit has no category {unknown!r}", why=why, fix=fix)
    bench = Bench(target)
    cards = []
    with _rarely_collected():
        for number, name in enumerate(chosen, start=1):
            say(f"[{number}/{len(chosen)}] {name}")
            cards.append(_card(name, bench))
    return Score(target.name, tuple(cards))


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """The kit keeps what it compiles; searching that for rubbish would take a fifth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _card(name: str, bench: Bench) -> Card:
    category = import_module(f"kcompiler.conformance.categories.{name}")
    start = _cpu_seconds()
    found = tuple(guarded(category.findings(bench)))
    return Card(name, category.TITLE, found, _cpu_seconds() - start)


def _cpu_seconds() -> float:
    """Of this process and of those that it started."""
    return sum(os.times()[:4])


def guarded(findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; an error of the target's that nothing expected ends them as a failure."""
    try:
        yield from findings
    except Exception as error:  # noqa: BLE001 - whatever a target raises is a finding
        text = f"{type(error).__name__}: {error}"
        yield Finding("the category runs to its end", "failed", text, _FIX)
