"""Many cases in a row: how many, of what, and what was wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import numpy_helper, save_model

from tests.fuzz import files, inputs
from tests.fuzz.check import Fault
from tests.fuzz.maker import Case
from tests.fuzz.recipe import recipes, seeded_case
from tests.fuzz.tasks import ORACLE, Outcome
from tests.fuzz.worker import Lost, Worker

SECONDS = 20.0  # of CPU time for one case


@dataclass(frozen=True)
class Found:
    """A fault, the first case that showed it and where it was saved."""

    fault: Fault
    kind: str
    index: int
    operators: tuple[str, ...]
    path: Path


class Campaign:
    """Cases of some kinds, numbered from 0; the same seed gives the same cases."""

    def __init__(self, seed: int, kinds: Sequence[str], folder: Path) -> None:
        self.seed, self.kinds, self.folder = seed, kinds, folder
        self.tried: Counter[str] = Counter()
        self.discarded: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self.operators: Counter[str] = Counter()
        self.disputed = 0
        self.oracle_crashes = 0
        self.found: dict[str, Found] = {}
        self.repeated: Counter[str] = Counter()
        self.worker = Worker(SECONDS)
        self.started = time.monotonic()

    def run(
        self,
        *,
        seconds: float = float("inf"),
        cpu: float = float("inf"),
        count: int = 1 << 62,
        first: int = 0,
    ) -> None:
        """Try cases of all kinds in turn, until a time is over or all are done."""
        end = self.started + seconds
        try:
            for index in range(first, first + count):
                for kind in self.kinds:
                    if time.monotonic() > end or self.worker.spent >= cpu:
                        return
                    self._one(kind, index)
        finally:
            self.worker.close()

    def _one(self, kind: str, index: int) -> None:
        outcome = self.worker.run(kind, self.seed, index)
        if isinstance(outcome, Lost):
            outcome = self._lost(kind, outcome)
        if outcome.discarded:
            self.discarded[f"{kind}: {outcome.discarded[:70]}"] += 1
            return
        self.tried[kind] += 1
        self.operators.update(outcome.operators)
        self.refused.update(outcome.refused)
        self.ways.update(outcome.ways)
        self.disputed += outcome.disputed
        for fault in outcome.faults:
            self._note(fault, kind, index)

    def _lost(self, kind: str, lost: Lost) -> Outcome:
        if lost.step in {ORACLE, "make"}:
            self.oracle_crashes += 1
            return Outcome(discarded=f"crash of an oracle: {lost.why}")
        return Outcome(faults=(Fault(lost.step, "crash", lost.why),))

    def _note(self, fault: Fault, kind: str, index: int) -> None:
        """Save the first case of each signature, smaller where that is possible."""
        key = fault.signature
        crash = fault.kind == "crash"
        if key in self.found and fault.kind != "wrong value":
            self.repeated[key] += 1
            return
        operators: tuple[str, ...] = ()
        if fault.stage == "making":
            path = self.folder  # there is no file
        elif kind == "model":
            whole = seeded_case(self.seed, index)
            case = whole if crash else self._smaller(index, fault) or whole
            key = f"{fault.stage} {fault.kind}: {' '.join(case.operators)}"
            if fault.kind != "wrong value":
                key = fault.signature
            path = self._save_case(case, index, fault)
            operators = case.operators
        else:
            path = self._save_file(kind, index, fault)
        if key in self.found:
            self.repeated[key] += 1
            return
        self.found[key] = Found(fault, kind, index, operators, path)
        print(f"{kind} {index}: {key}\n    {fault.text}\n    {path}", flush=True)

    def _smaller(self, index: int, fault: Fault) -> Case | None:
        found = self.worker.run("reduce", self.seed, index, fault)
        return found if isinstance(found, Case) else None

    def _save_case(self, case: Case, index: int, fault: Fault) -> Path:
        """A folder in the form of ONNX's own test data."""
        folder = self.folder / f"{fault.stage}-{self.seed}-{index}".replace(" ", "-")
        data = folder / "test_data_set_0"
        data.mkdir(parents=True, exist_ok=True)
        save_model(case.model, folder / "model.onnx")
        for number, info in enumerate(case.model.graph.input):
            tensor = numpy_helper.from_array(case.feeds[info.name], info.name)
            (data / f"input_{number}.pb").write_bytes(tensor.SerializeToString())
        return folder / "model.onnx"

    def _save_file(self, kind: str, index: int, fault: Fault) -> Path:
        suffix = {"package": ".kpkg", "model file": ".onnx"}.get(kind, "")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{kind}-{self.seed}-{index}{suffix}".replace(" ", "-")
        named = inputs.as_file(self.seed, index) if kind == "input" else None
        path.write_bytes(named or files.damaged(kind, self.seed, index))
        return path

    def report(self) -> str:
        """What was done."""
        spent = time.monotonic() - self.started
        lines = [
            f"seed {self.seed}: {self.worker.spent:.0f} CPU seconds, {spent:.0f} seconds",
        ]
        lines += [f"{kind}: {self.tried[kind]} tried" for kind in self.kinds]
        lines += [
            f"discarded: {self.discarded.total()} ({self.oracle_crashes} crashes of an oracle)",
        ]
        lines += [f"    {n} {why}" for why, n in self.discarded.most_common(8)]
        lines += [f"refused: {self.refused.total()}"]
        lines += [f"    {n} {why[:90]}" for why, n in self.refused.most_common(12)]
        lines += [f"oracles disagreed: {self.disputed}"]
        lines += ["ways: " + ", ".join(f"{way} {n}" for way, n in sorted(self.ways.items()))]
        if "model" in self.kinds:
            lines += ["operators:", _columns(self.operators)]
        lines += [f"faults: {len(self.found)}"]
        for key, found in self.found.items():
            lines.append(f"    {key} ({1 + self.repeated[key]} times)\n        {found.path}")
        return "\n".join(lines)


def _columns(counts: Counter[str]) -> str:
    """Every operator that has a recipe, with its number."""
    operators = (name for name in recipes() if " " not in name)  # the others make patterns
    cells = [f"{name} {counts[name.rpartition('.')[2]]}" for name in operators]
    width = max(map(len, cells)) + 2
    per_line = max(1, 96 // width)
    rows = [cells[i : i + per_line] for i in range(0, len(cells), per_line)]
    return "\n".join("    " + "".join(c.ljust(width) for c in row).rstrip() for row in rows)
