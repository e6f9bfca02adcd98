"""A random model through the compiler, beside the oracles."""

from __future__ import annotations

import random
import re
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import kcompiler
from kcompiler.errors import KcompilerError
from kcompiler.frontend import load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array
from kcompiler.host import HostModel
from tests.fuzz import oracles
from tests.fuzz.maker import BF16, F16, FLOATS, Case
from tests.fuzz.opened import opened
from tests.fuzz.oracles import EPS, Expected, Values

MODEST = 1e3  # values up to which a float16 computation must stay finite
SMALLEST = 2.0**-14  # of values that keep their digits in float16
NARROW = {"f16": F16, "bf16": BF16}
# How often a case goes each way: the first two are what the others are compared with.
ODDS = {"interpreter": 1.0, "f32": 1.0, "f16": 0.7, "bf16": 0.3, "package": 0.3, "buckets": 0.3}


@dataclass(frozen=True)
class Fault:
    """What the compiler did wrong on one way of `ODDS`."""

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
    """What a case showed: the ways that were gone, and where buckets were refused."""

    faults: tuple[Fault, ...]
    refused: tuple[str, ...]
    disputed: bool
    ways: tuple[str, ...]


class Judge:
    """One case: the outputs that are expected, and each way of computing them.

    The model decides which ways are gone, unless they are named.
    """

    def __init__(self, case: Case, ways: Sequence[str] = ()) -> None:
        oracles.validate(case.model)
        self.case = case
        self.chance = random.Random(zlib.crc32(case.model.SerializeToString()))  # noqa: S311
        self.wanted = ways or [w for w, odds in ODDS.items() if self.chance.random() < odds]
        self.expected: Expected = oracles.expected(case)

    def verdict(self) -> Verdict:
        """Go the ways."""
        faults, refused, gone = [], [], []
        ways: dict[str, Callable[[], object]] = {
            "interpreter": self._interpreter,
            "f32": lambda: self._compiled("f32"),
            "f16": lambda: self._compiled("f16"),
            "bf16": lambda: self._compiled("bf16"),
            "package": self._packed,
            "buckets": self._buckets,
        }
        for stage in self.wanted:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    found = ways[stage]()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
                if stage == "buckets" and isinstance(error, KcompilerError):
                    refused.append(f"{stage}: {error.what}")
                    continue  # not every dimension can be padded, or be another one
                faults.append(Fault(stage, type(error).__name__, text_of(error)))
            else:
                gone.append(stage)
                if isinstance(found, str):
                    faults.append(Fault(stage, "wrong value", found))
        return Verdict(tuple(faults), tuple(refused), bool(self.expected.disputed), tuple(gone))

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
        if precision == "f32":
            return self._difference(found)
        return self._coarse(found, EPS[NARROW[precision]])

    def _packed(self) -> str | None:
        """A package, read back, computes the same bits."""
        compiled = kcompiler.compile(self.case.model)
        data = compiled.to_bytes()
        if data != kcompiler.compile(self.case.model).to_bytes():
            return "compiled twice, the bytes differ"
        feeds = {n: self.case.feeds[n] for n, _ in compiled.compilation.inputs}
        found, again = compiled.run(feeds), kcompiler.load(data).run(feeds)
        for name, value in found.items():
            if not _identical(value, again[name]):
                return f"{name} differs after loading: {again[name]} for {value}"
        return None

    def _buckets(self) -> str | None:
        """One extent left open, in a bucket that is larger: what is padding leaves no trace."""
        chosen = opened(self.case, self.chance)
        if chosen is None:
            return None
        model, extent = chosen
        most = extent + self.chance.choice([0, 1, 2])
        compiled = kcompiler.compile(model, precision="f32", dims={"open": f"1..{most}:{most}"})
        feeds = {n: self.case.feeds[n] for n, _ in compiled.compilation.inputs}
        return self._difference(compiled.run(feeds))

    def _difference(self, found: Mapping[str, Any]) -> str | None:
        """How the outputs differ from the expected ones."""
        for name, wanted in self.expected.values.items():
            if name in self.expected.disputed:
                continue
            value = np.asarray(found[name])
            if not self._of_its_type(name, value):
                if self.expected.sole and self._doubtful:
                    continue
                return f"{name} is {value.dtype}{value.shape}, not {wanted.dtype}{wanted.shape}"
            if oracles.same(value, wanted, self._factor(wanted)):
                continue
            if self._undefined:
                return None
            if self.expected.sole and self._doubtful:
                continue
            moved = self._moved
            if moved is None or oracles.same(value, wanted, self._factor(wanted), moved[name]):
                continue
            return f"{name} differs: {_excerpt(value, wanted)}"
        return None

    def _of_its_type(self, name: str, value: Array) -> bool:
        """Whether a result has the type that is expected; its shape may depend on the values."""
        wanted = self.expected.values[name]
        if value.dtype != wanted.dtype or value.ndim != wanted.ndim:
            return False
        return value.shape == wanted.shape or name not in self._types

    @cached_property
    def _types(self) -> Mapping[str, object]:
        return oracles.inferred(self.case.model)

    def _coarse(self, found: Mapping[str, Any], eps: float) -> str | None:
        """How outputs differ by more than the roundings of a narrow type explain."""
        if not self._modest:
            return None
        for name, wanted in self.expected.values.items():
            value = np.asarray(found[name])
            if not self._of_its_type(name, value):
                if self.expected.sole and self._doubtful:
                    continue
                return f"{name} is {value.dtype}{value.shape}, not {wanted.dtype}{wanted.shape}"
            if value.dtype not in FLOATS or name in self.expected.disputed:
                continue
            factor = max(eps / EPS[wanted.dtype], self._factor(wanted))
            if oracles.same(value, wanted, factor):
                continue
            if self.expected.sole and self._doubtful:
                continue
            moved = self._moved_by(eps)
            if moved is None or oracles.same(value, wanted, factor, moved[name]):
                continue
            return f"{name} is too far off: {_excerpt(value, wanted)}"
        return None

    def _moved_by(self, eps: float) -> Values | None:
        if self._values is None:
            return None
        moved = oracles.sensitivity(self.case, self._values, eps)
        explodes = moved is None or any(np.any(m > MODEST) for m in moved.values())
        return None if explodes else moved

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
    def _doubtful(self) -> bool:
        return self._values is None or oracles.doubtful(self.case, self._values)

    @cached_property
    def _undefined(self) -> str:
        return "" if self._values is None else oracles.undefined(self.case, self._values)

    @cached_property
    def _modest(self) -> bool:
        if self._values is None or self._undefined:
            return False
        sizes = [np.abs(v.astype(np.float64)) for v in self._values.values() if v.dtype != object]
        return all(
            np.isfinite(v).all() and v.max(initial=0) <= MODEST and _least(v) >= SMALLEST
            for v in sizes
        )


def _least(sizes: Array) -> float:
    """The smallest but zero."""
    return float(sizes[sizes > 0].min(initial=1))


def _identical(x: Any, y: Any) -> bool:
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and x.dtype != object:
        return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    return str(x) == str(y)


def text_of(error: BaseException) -> str:
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
    if value.shape != wanted.shape:
        return f"{value.dtype}{value.shape}, not {wanted.shape}"
    with np.errstate(all="ignore"):
        differ = ~((value == wanted) | ((value != value) & (wanted != wanted)))  # noqa: PLR0124
    pairs = zip(value[differ].ravel()[:4], wanted[differ].ravel()[:4], strict=True)
    shown = ", ".join(f"{x} for {y}" for x, y in pairs)
    return f"{int(differ.sum())} of {value.size} {value.dtype}: {shown}"


def judge(case: Case, ways: Sequence[str] = tuple(ODDS)) -> Verdict:
    """The verdict; `Discarded` for a case that is not valid or that no oracle runs."""
    return Judge(case, ways).verdict()


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
            try:
                part = oracles.part(case, values, start, start + length)
                found = judge(part, (stage,)).faults
            except Discarded:
                continue
            if any(f.stage == stage and f.kind == kind for f in found):
                return part
    return case
