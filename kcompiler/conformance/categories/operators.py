"""Each operator of the small set on the chip and on a small one, against the graph's meaning."""

from __future__ import annotations

from collections.abc import Iterator

from kcompiler.conformance.bench import Bench
from kcompiler.conformance.cases import Sizes, all_cases
from kcompiler.conformance.score import Finding
from kcompiler.conformance.trial import Trials

TITLE = "operators compute what the graph says"


def findings(bench: Bench) -> Iterator[Finding]:
    """Integers bit for bit, floats inside their error bounds."""
    cases = tuple(all_cases(Sizes.of(bench.target.chip)))
    for where, target in bench.siblings.items():
        yield from Trials(bench, target, where).run(cases)
