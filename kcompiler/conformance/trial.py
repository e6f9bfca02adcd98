"""Cases on a chip: compiled, run on the simulator, and held against what the graph means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kcompiler.conformance.bench import Assembled, Bench, assemble, parts_of
from kcompiler.conformance.cases.case import Case, together
from kcompiler.conformance.score import Finding, Status, judged
from kcompiler.errors import CapacityError
from kcompiler.graph.bounded import Bounded
from kcompiler.graph.node import Array
from kcompiler.graph.types import is_float
from kcompiler.machine.target import Target

_AT_ONCE = 16
_LEAST_REASON = 10  # characters
FIX = "compare the instruction named here with the kernel's text: kcompile ... --emit kernel"
REASON = "give the constraint a docstring that says what the chip lacks, in a sentence"


@dataclass(frozen=True)
class Trials:
    """Cases on one chip. They are compiled many at a time, and alone where that goes wrong."""

    bench: Bench
    target: Target
    where: str  # which chip, for names

    def run(self, cases: Sequence[Case]) -> Iterator[Finding]:
        """A finding a case."""
        groups: dict[str, list[Case]] = {}
        for case in cases:
            groups.setdefault(self.bench.precision(case.floats()), []).append(case)
        for precision, group in groups.items():
            for first in range(0, len(group), _AT_ONCE):
                yield from self._together(group[first : first + _AT_ONCE], precision)

    def _together(self, cases: Sequence[Case], precision: str) -> Iterator[Finding]:
        try:
            found = self._findings(cases, precision)
        except Exception as error:  # noqa: BLE001 - whatever a target raises is a finding
            if len(cases) == 1:
                room = isinstance(error, CapacityError) and bool(self.where)
                status: Status = "refused" if room else "failed"  # small chips may be too small
                yield Finding(self._name(cases[0]), status, _raised(error), FIX)
                return
            found = None
        if len(cases) > 1 and (found is None or any(f.status == "failed" for f in found)):
            for case in cases:
                yield from self._together([case], precision)
        else:
            yield from found or ()

    def _findings(self, cases: Sequence[Case], precision: str) -> list[Finding]:
        made = assemble(together(cases), self.target, precision)
        results, failure = run_checked(made, self.target, cases)
        return [
            self._refusal(case, made.refusals[case.name])
            if case.name in made.refusals
            else judged(
                self._name(case), failure or _difference(case, results[case.name], precision), FIX
            )
            for case in cases
        ]

    def _refusal(self, case: Case, reason: str) -> Finding:
        if len(reason.strip()) < _LEAST_REASON:
            text = f"refused without a reason: {reason!r}"
            return Finding(self._name(case), "failed", text, REASON)
        return Finding(self._name(case), "refused", reason)

    def _name(self, case: Case) -> str:
        return f"{case.name} [{self.where}]" if self.where else case.name


def run_checked(
    made: Assembled, target: Target, cases: Sequence[Case]
) -> tuple[dict[str, Array], str | None]:
    """The outputs, and what is wrong with the first kernel whose result is outside its bound."""
    from kcompiler.runtime import Executor
    from kcompiler.verify.kernels import KernelCheck

    if made.compilation is None:
        return {}, None
    values = {name: value for case in cases for name, value in case.values.items()}
    check = KernelCheck(made.compilation, lambda segment: parts_of(segment, target))
    feeds = {name: values[name] for name, _ in made.compilation.inputs}
    executor = Executor(made.compilation, target, checked=True)
    results = executor.run(feeds, check.before, check.after)
    failure = check.failure
    if failure is None:
        return results, None
    where = f", element {list(failure.element)}" if failure.element else ""
    return results, f"kernel {failure.kernel}{where}: {failure.text}"


def _difference(case: Case, found: Array, precision: str) -> str | None:
    """How a result differs from the graph's meaning, which it has where nothing was narrowed."""
    expected = case.expected()
    if case.floats() - {precision} and precision != "f32":
        return None  # stored in another type: the kernels' own bounds count
    if "f64" in case.floats():
        return None
    return outside(expected, found)


def outside(expected: Bounded, found: Array) -> str | None:
    """The first element outside of its bound, in words."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return (
            f"the result is {found.dtype}{list(found.shape)}, "
            f"not {expected.dtype}{list(expected.shape)}"
        )
    bad = ~expected.contains(found)
    if not bad.any():
        return None
    at = tuple(map(int, np.unravel_index(int(bad.argmax()), bad.shape)))
    bound = f" ± {expected.error[at]:.3g}" if is_float(expected.dtype) else ""
    return (
        f"element {list(at)} is {found[at]}, expected {expected.value[at]}{bound} "
        f"({int(bad.sum())} of {bad.size} elements differ)"
    )


def _raised(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' '.join(line.strip() for line in lines)[:600]}"
