"""ONNX's own conformance suite on kcompiler: what is correct, and what runs where.

    python -m benchmarks.onnx_suite                  all cases; prints the summary
    python -m benchmarks.onnx_suite --write          and writes docs/onnx-suite.md
    python -m benchmarks.onnx_suite --filter conv -v some cases, each with what it did

Every case runs in a worker process, so that a crash or a hang costs one case.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.onnx_cases import Case, cases, difference
from benchmarks.onnx_outcome import HOST, KNOWN, NPU, PARTLY, Outcome

if TYPE_CHECKING:
    from kcompiler.compilation import Compilation

DEVICE = "NPU:rebel"
SECONDS = 60.0  # a case may take

SILENT = "no reason is given: this is a bug"


def run_case(case: Case, device: str = DEVICE) -> Outcome:
    """Compile and run a case for each of its data sets; the first that fails decides."""
    from kcompiler.backend import prepare

    where: str = ""
    reasons: tuple[str, ...] = ()
    status, detail = "pass", ""
    try:
        model, sets = case.load()
        prepared = prepare(model, device)
        for inputs, expected in sets:
            where, reasons = placement(prepared.compiled(inputs).compilation)
            detail = difference(expected, [*prepared.run(inputs)], case.rtol, case.atol)
            if detail:
                status = "wrong"
                break
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's result
        status, detail = "error", f"{type(error).__name__}: {error}"[:500]
    return Outcome(case.name, case.group, case.operator, status, detail, where, reasons)


def placement(compilation: Compilation) -> tuple[str, tuple[str, ...]]:
    """Where a compilation runs, and the reasons of what is on the host."""
    from kcompiler.compilation import HostSegment

    hosted = [s for s in compilation.segments if isinstance(s, HostSegment)]
    told = (why for s in hosted for name, _, why in s.operators if name not in s.beside)
    reasons = {general(why): None for why in told}
    if any(not s.operators and _computes(s.model) for s in hosted):
        reasons[SILENT] = None
    kernels = any(s.program.kernels for s in compilation.segments if not isinstance(s, HostSegment))
    if reasons:
        return (PARTLY if kernels else HOST), tuple(reasons)
    return (NPU if kernels else KNOWN), ()


def _computes(model: bytes) -> bool:
    from onnx import load_from_string

    return any(node.op_type != "Identity" for node in load_from_string(model).graph.node)


def general(reason: str) -> str:
    """A reason without the names and numbers of one model."""
    text = re.sub(r"'[^']*'", "an input", re.sub(r" \(Here [^()]*\)$", "", reason))
    return re.sub(r"\(?[a-z]*\d*\[[\d,]*\]\)?", "…", text).split("\n")[0].rstrip(".")


@dataclass
class _Worker:
    process: Any
    case: int = -1
    deadline: float = 0.0


@dataclass
class Suite:
    """A run of cases in processes; `outcomes` are in the order of the cases."""

    todo: Sequence[Case]
    jobs: int = 2
    seconds: float = SECONDS
    found: dict[int, Outcome] = field(default_factory=dict)

    def run(self) -> list[Outcome]:
        """All outcomes."""
        self._left = list(range(len(self.todo)))[::-1]
        self._workers: dict[Any, _Worker] = {}
        for _ in range(min(self.jobs, len(self.todo))):
            self._start()
        while self._workers:
            for pipe in wait(list(self._workers), timeout=1.0):
                self._answer(pipe)
            self._stop_late()
        return [self.found[i] for i in range(len(self.todo))]

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, self.todo), daemon=True)
        process.start()
        there.close()
        self._workers[here] = _Worker(process)
        self._give(here)

    def _give(self, pipe: Any) -> None:
        worker = self._workers[pipe]
        if not self._left:
            pipe.send(None)
            worker.process.join()
            del self._workers[pipe]
            return
        worker.case = self._left.pop()
        slow = 5 if self.todo[worker.case].group == "light" else 1  # these are real networks
        worker.deadline = time.monotonic() + slow * self.seconds
        pipe.send(worker.case)

    def _answer(self, pipe: Any) -> None:
        try:
            outcome = pipe.recv()
        except (EOFError, OSError):
            self._lose(pipe, "crash")
            return
        self.found[self._workers[pipe].case] = outcome
        self._give(pipe)

    def _stop_late(self) -> None:
        now = time.monotonic()
        for pipe in [p for p, w in self._workers.items() if now > w.deadline]:
            self._lose(pipe, "timeout")

    def _lose(self, pipe: Any, status: str) -> None:
        worker = self._workers.pop(pipe)
        worker.process.kill()
        worker.process.join()
        case = self.todo[worker.case]
        code = f"exit code {worker.process.exitcode}"
        self.found[worker.case] = Outcome(case.name, case.group, case.operator, status, code)
        if self._left:
            self._start()


def _work(pipe: Connection, todo: Sequence[Case]) -> None:
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable()
    while (index := pipe.recv()) is not None:
        pipe.send(run_case(todo[index]))


def summary(outcomes: Sequence[Outcome]) -> str:
    """A line for each status and place."""
    status = Counter(o.status for o in outcomes)
    core = [o for o in outcomes if o.group == "core"]
    where = Counter(o.where for o in core)
    lines = [f"{status['pass']} of {len(outcomes)} correct: {dict(sorted(status.items()))}"]
    if core:
        share = 100 * (where[NPU] + where[KNOWN]) / len(core)
        places = ", ".join(f"{name or 'nowhere'} {where[name]}" for name in sorted(where))
        lines.append(f"of {len(core)} core cases, {share:.1f} % without work on the host: {places}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases; the result is 1 when another one fails than is known to."""
    from benchmarks.onnx_page import FAILURES, page

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--filter", default="", help="a regular expression for names of cases")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the outcomes, one a line")
    parser.add_argument("--write", action="store_true", help="write docs/onnx-suite.md")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args(arguments)
    todo = [c for c in cases() if re.search(options.filter, c.name)]
    outcomes = Suite(todo, options.jobs).run()
    if options.json:
        options.json.write_text("".join(json.dumps(asdict(o)) + "\n" for o in outcomes))
    for o in outcomes:
        if options.verbose or o.status != "pass":
            print(o.name, o.status, o.where, "; ".join(o.reasons), " ".join(o.detail.split())[:300])
    if options.write:
        target = Path(__file__).parent.parent / "docs" / "onnx-suite.md"
        target.write_text(page(outcomes), encoding="utf-8")
    print(summary(outcomes))
    return int(any(o.status != "pass" and o.name not in FAILURES for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
