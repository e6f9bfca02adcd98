"""The kit finds every planted fault, and says where it is and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest

from kcompiler.conformance.bench import Bench
from kcompiler.conformance.cases import Sizes
from kcompiler.conformance.run import guarded
from kcompiler.conformance.score import Finding
from kcompiler.conformance.trial import Trials
from kcompiler.machine.target import Target
from tests.conformance import mutants
from tests.conformance.mutants import ALL, Mutant, mutated
from tests.conftest import ROOT

CASES = "kcompiler.conformance.cases"
CATEGORIES = "kcompiler.conformance.categories"
FAST = [m for m in ALL if not m.slow]
SLOW = [m for m in ALL if m.slow]


def findings(target: Target, only: str, topic: str) -> Iterator[Finding]:
    """A category's findings; of the operator suite those of one topic, which are a part of it."""
    bench = Bench(target)
    if not topic:
        yield from guarded(import_module(f"{CATEGORIES}.{only}").findings(bench))
        return
    cases = list(import_module(f"{CASES}.{topic}").cases(Sizes.of(target.chip)))
    for where, sibling in reversed(tuple(bench.siblings.items())):
        yield from guarded(Trials(bench, sibling, where).run(cases))


def killed(mutant: Mutant, patch: pytest.MonkeyPatch) -> None:
    target = mutant.build(patch)
    found = findings(target, mutant.only, mutant.topic)
    first = next((f for f in found if f.status == "failed"), None)
    assert first is not None, f"the kit does not see: {mutant.name}"
    assert first.case
    assert first.text
    assert first.fix
    assert first.case != "the category runs to its end", first.text


@pytest.mark.parametrize("mutant", FAST, ids=lambda m: m.name)
def test_killed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(mutant, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", SLOW, ids=lambda m: m.name)
def test_killed_at_length(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(mutant, monkeypatch)


def test_there_are_many_and_of_every_category() -> None:
    said = re.search(r"Planted faults, (\d+) of them", (ROOT / "CHANGELOG.md").read_text("utf-8"))
    page = re.search(r"plants (\d+) faults", (ROOT / "docs" / "conformance.md").read_text("utf-8"))
    assert said is not None
    assert page is not None
    assert len(ALL) == int(page[1]) == int(said[1])
    from kcompiler.conformance.categories import ORDER

    assert {m.only for m in ALL} == set(ORDER)
    assert len({m.name for m in ALL}) == len(ALL)
    text = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    kinds = re.search(r"(\d+) in rebel, (\d+) in warboy and (\d+) in a target", text)
    assert kinds is not None
    own = [sum(m.name.startswith(f"{base}: ") for m in ALL) for base in ("warboy", "generic")]
    assert [int(kinds[1]), int(kinds[2]), int(kinds[3])] == [len(ALL) - sum(own), *own]


WRAPPED = [
    "facts",
    "errors",
    pytest.param("hazards", marks=pytest.mark.slow),
    pytest.param("monotonicity", marks=pytest.mark.slow),
    pytest.param("determinism", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("only", WRAPPED)
def test_the_wrapper_alone_is_no_fault(only: str) -> None:
    """What wraps the mutants changes nothing by itself: they die of their faults."""
    assert [f for f in findings(mutated(), only, "") if f.status == "failed"] == []


@pytest.mark.slow
@pytest.mark.parametrize("base", [mutants.warboy, mutants.plain])
@pytest.mark.parametrize("topic", ["", "products", "quantized"])
def test_nor_is_it_around_others(base: Callable[[], Target], topic: str) -> None:
    only = "operators" if topic else "hazards"
    found = list(findings(base(), only, topic))
    assert [f for f in found if f.status == "failed"] == []
    assert sum(f.status == "passed" for f in found) > 50
