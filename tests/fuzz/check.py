"""A random model through the compiler, beside the oracles."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import kcompiler
from kcompiler.errors import KcompilerError, UnsupportedError, UsageError
from kcompiler.frontend import load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array
from kcompiler.host import HostModel
from tests.fuzz import oracles
from tests.fuzz.maker import FLOATS, Case
from tests.fuzz.oracles import EPS, Expected, Values

MODEST = 1e3  # values up to which a float16 computation must stay finite


@dataclass(frozen=True)
class Fault:
    """What the compiler did wrong: `stage` is "interpreter", "f32" or "f16"."""

    stage: str
    kind: str  # "wrong value", or the exception's class
    text: str

    @property
    def signature(self) -> str:
        """What faults of one cause share, mostly: the text without its numbers."""
        return (
            f"{self.stage} {self.kind}: {re.sub(r'[0-9]+', '#', self.text.splitlines()[0])[:120]}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a case showed: `refused` counts stages that said that they do not support it."""

    faults: tuple[Fault, ...]
    refused: tuple[str, ...]
    disputed: bool


class Judge:
    """One case: the outputs that are expected, and each way of computing them."""

    def __init__(self, case: Case) -> None:
        oracles.validate(case.model)
        self.case = case
        self.expected: Expected = oracles.expected(case)

    def verdict(self) -> Verdict:
        """Run all ways."""
        faults, refused = [], []
        ways: dict[str, Callable[[], object]] = {
            "interpreter": self._interpreter,
            "f32": lambda: self._compiled("f32"),
            "f16": lambda: self._compiled("f16"),
        }
        for stage, way in ways.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    found = way()
            except (UnsupportedError, UsageError) as error:
                refused.append(f"{stage}: {error.what}: {error.why}")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
                faults.append(Fault(stage, type(error).__name__, _text(error)))
            else:
                if isinstance(found, str):
                    faults.append(Fault(stage, "wrong value", found))
        return Verdict(tuple(faults), tuple(refused), bool(self.expected.disputed))

    def _interpreter(self) -> str | None:
        imported = load_model(self.case.model)
        feeds = dict(self.case.feeds)
        used = {i.name: feeds[i.name] for i in imported.graph.inputs}
        found = run_graph(
            imported.graph, used, lambda host, xs: list(HostModel(host.model).run_all(xs))
        )
        if imported.tail is not None:
            known = {**feeds, **found}
            tail = imported.tail
            given = {n: known[n] for n in tail.inputs}
            results = HostModel(tail.model).run(tail.outputs, given)
            found |= dict(zip(tail.outputs, results, strict=True))
        return self._difference(found)

    def _compiled(self, precision: str) -> str | None:
        compiled = kcompiler.compile(self.case.model, precision=precision)
        wanted = [name for name, _ in compiled.compilation.inputs]
        found = compiled.run({n: self.case.feeds[n] for n in wanted})
        return self._difference(found) if precision == "f32" else self._infinite(found)

    def _difference(self, found: Mapping[str, Any]) -> str | None:
        """How the outputs differ from the expected ones."""
        for name, wanted in self.expected.values.items():
            if name in self.expected.disputed:
                continue
            value = np.asarray(found[name])
            if value.dtype != wanted.dtype or value.shape != wanted.shape:
                return f"{name} is {value.dtype}{value.shape}, not {wanted.dtype}{wanted.shape}"
            if oracles.same(value, wanted, self._factor(wanted)):
                continue
            if self._undefined:
                return None
            if self.expected.engine == "reference" and self._doubtful:
                continue
            moved = self._moved
            if moved is None or oracles.same(value, wanted, self._factor(wanted), moved[name]):
                continue
            return f"{name} differs: {_excerpt(value, wanted)}"
        return None

    def _infinite(self, found: Mapping[str, Any]) -> str | None:
        if not self._modest:
            return None
        for name, wanted in self.expected.values.items():
            value = np.asarray(found[name])
            if value.dtype not in FLOATS or wanted.dtype not in FLOATS:
                continue
            must = np.isfinite(wanted.astype(np.float64))
            if not np.isfinite(value.astype(np.float64)[must]).all() and not self._explodes:
                return f"{name} is not finite: {_excerpt(value, wanted)}"
        return None

    def _factor(self, wanted: Array) -> float:
        """Values of narrower types on the way make the result as coarse as they are."""
        if wanted.dtype not in FLOATS:
            return 1
        return max(self._eps / EPS[wanted.dtype], 1)

    @cached_property
    def _eps(self) -> float:
        if self._values is None:
            return EPS[np.dtype("f2")]
        return max((EPS[v.dtype] for v in self._values.values() if v.dtype in FLOATS), default=0)

    @cached_property
    def _values(self) -> Values | None:
        try:
            return oracles.all_values(self.case)
        except Exception:  # noqa: BLE001 - the oracles raise anything
            return None

    @cached_property
    def _moved(self) -> Values | None:
        if self._values is None:
            return None
        if any(self._values[n].shape != v.shape for n, v in self.expected.values.items()):
            return None  # the reference, which the noise is tried on, is wrong itself
        return oracles.sensitivity(self.case, self._values, self._eps)

    @cached_property
    def _explodes(self) -> bool:
        """Whether a rounding to float16 can make some output large: 1 / (1 - x), near 1."""
        if self._values is None:
            return True
        moved = oracles.sensitivity(self.case, self._values, EPS[np.dtype("f2")])
        return moved is None or any(np.any(m > MODEST) for m in moved.values())

    @cached_property
    def _doubtful(self) -> bool:
        return self._values is None or oracles.doubtful(self.case, self._values)

    @cached_property
    def _undefined(self) -> str:
        return "" if self._values is None else oracles.undefined(self.case, self._values)

    @cached_property
    def _modest(self) -> bool:
        if self._values is None or self._undefined:
            return False
        wide = (v.astype(np.float64) for v in self._values.values() if v.dtype != object)
        return all(np.isfinite(v).all() and np.abs(v).max(initial=0) <= MODEST for v in wide)


def _text(error: BaseException) -> str:
    if isinstance(error, KcompilerError):
        return f"{error.what} | {error.where} | {error.why}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = trace.tb_frame.f_code.co_filename.rpartition("kcompiler/")[2] if trace else ""
    return (
        f"{(str(error) or 'no text').splitlines()[0][:200]} ({where}:{trace and trace.tb_lineno})"
    )


def _excerpt(value: Array, wanted: Array) -> str:
    with np.errstate(all="ignore"):
        differ = ~((value == wanted) | ((value != value) & (wanted != wanted)))  # noqa: PLR0124
    pairs = zip(value[differ].ravel()[:4], wanted[differ].ravel()[:4], strict=True)
    shown = ", ".join(f"{x} for {y}" for x, y in pairs)
    return f"{int(differ.sum())} of {value.size} {value.dtype}: {shown}"


def judge(case: Case) -> Verdict:
    """The verdict; `Discarded` for a case that is not valid or that no oracle runs."""
    return Judge(case).verdict()


def reduced(case: Case, stage: str, kind: str) -> Case:
    """The fewest nodes in a row that show the same kind of fault, what they read as inputs."""
    from tests.fuzz.maker import Discarded

    try:
        values = oracles.all_values(case)
    except Exception:  # noqa: BLE001 - the oracles raise anything
        return case
    count = len(case.model.graph.node)
    for length in range(1, count):
        for start in range(count - length + 1):
            part = oracles.part(case, values, start, start + length)
            try:
                found = judge(part).faults
            except Discarded:
                continue
            if any(f.stage == stage and f.kind == kind for f in found):
                return part
    return case
