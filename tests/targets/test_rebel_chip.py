"""The modelled Rebel100: what is published closes, and what is assumed says so."""

from typing import Any

import numpy as np
import pytest

from kcompiler.graph.node import Input, Op
from kcompiler.graph.operators import arithmetic, movement, reduction, structure
from kcompiler.graph.types import F16, F32, F64, I64, TensorType
from kcompiler.machine.facts import UNCERTAIN, Fact, facts
from kcompiler.machine.generic.constraints import CONSTRAINTS
from kcompiler.targets.rebel import TARGET
from kcompiler.targets.rebel.chip import CHIP
from tests.conftest import ROOT

README = ROOT / "targets" / "rebel" / "README.md"
BEGIN, END = "<!-- facts: rewritten by pytest --update-golden -->\n", "<!-- end -->\n"


def rate(name: str) -> float:
    return next(r.rate.value for r in CHIP.matrix.rates if r.name == name)


def peak(name: str) -> float:
    cells = CHIP.matrix.rows.value * CHIP.matrix.columns.value * CHIP.cores.value
    return 2 * cells * CHIP.clock.value * rate(name)


def test_the_published_peaks_close() -> None:
    assert peak("f16") == pytest.approx(1e15)
    assert peak("f8e4m3fn") == peak("f8e5m2") == pytest.approx(2e15)


def test_a_core_has_its_published_share() -> None:
    """16 TFLOPS FP16 and 32 FP8 per core, to the two digits given."""
    assert peak("f16") / CHIP.cores.value == pytest.approx(16e12, rel=0.03)
    assert peak("f8e4m3fn") / CHIP.cores.value == pytest.approx(32e12, rel=0.03)


def test_the_published_memories_close() -> None:
    assert CHIP.dies is not None
    per_die = CHIP.cores.value // CHIP.dies.value
    assert (CHIP.cores.value, per_die) == (64, 16)
    assert CHIP.memory("l1").size.value * per_die == 64 << 20
    assert CHIP.memory("shm").size.value == CHIP.dies.value * 64 << 20
    assert CHIP.memory("hbm").size.value == 140 << 30
    assert CHIP.memory("hbm").bandwidth.value * CHIP.clock.value == pytest.approx(4.8e12)


def test_traffic_between_dies_stays_below_the_published_link() -> None:
    assert 0.75 * CHIP.memory("shm").bandwidth.value * CHIP.clock.value <= 4e12 * 1.000001


def test_memories_have_their_roles() -> None:
    assert CHIP.memory(CHIP.scratchpad).per_core
    assert not CHIP.memory(CHIP.dram).per_core
    assert CHIP.shared is not None
    assert not CHIP.memory(CHIP.shared).per_core
    assert CHIP.calibrated == "not calibrated"


def test_nothing_that_is_not_public_passes_for_published() -> None:
    """Clock, array, vector width and all about time but HBM and PCIe are not public."""
    certain = {path for path, fact in facts(CHIP).items() if fact.tag not in UNCERTAIN}
    assert certain == {
        "cores",
        "dies",
        "host.bandwidth",
        "matrix.rates.f16.rate",
        "matrix.rates.f8e4m3fn.rate",
        "matrix.rates.f8e5m2.rate",
        "memories.l1.size",
        "memories.shm.size",
        "memories.hbm.size",
        "memories.hbm.bandwidth",
    }


def shown(fact: Fact[Any]) -> str:
    value = fact.value
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}".replace(",", " ")


def table() -> str:
    rows = ["| fact | value | tag | source |", "| --- | --- | --- | --- |"]
    rows += [f"| `{p}` | {shown(f)} | {f.tag} | {f.source} |" for p, f in facts(CHIP).items()]
    return "\n" + "\n".join(rows) + "\n\n"


def test_the_readme_lists_every_fact(pytestconfig: pytest.Config) -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    if pytestconfig.getoption("--update-golden"):
        README.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
        return
    assert old == table(), "the facts have changed; if that is right: pytest --update-golden"


def test_the_readme_explains_every_source() -> None:
    text = README.read_text(encoding="utf-8")
    keys = {word for f in facts(CHIP).values() for word in f.source.split() if word[:1] == "["}
    for key in sorted(k.strip(":;,") for k in keys):
        assert f"| {key} |" in text


def tensor(*shape: int, dtype: Any = F16) -> Op:
    return Input("x", TensorType(np.dtype(dtype), shape))


def refusal(op: Op) -> str:
    return TARGET.refusal(op) or ""


@pytest.mark.parametrize(
    "op",
    [
        arithmetic.Add(tensor(2, 3), tensor(2, 3)),
        arithmetic.Add(tensor(2, dtype=F32), tensor(2, dtype=F32)),
        arithmetic.Div(tensor(2, dtype=I64), tensor(2, dtype=I64)),
        arithmetic.Neg(tensor(1, 1, 2, 2, 2, 2, 2, 2, 2, 2)),
        movement.Gather(tensor(9, 4), tensor(3, dtype=I64), 0),
        reduction.ArgReduce(tensor(4, 5), "max", 1, False),
    ],
    ids=repr,
)
def test_legal(op: Op) -> None:
    assert TARGET.refusal(op) is None


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (arithmetic.Neg(tensor(2, dtype=F64)), "Elements must be"),
        (tensor(2, dtype=np.complex64), "Elements must be"),
        (reduction.CumSum(tensor(4), 0, False, False), "running sums"),
        (reduction.TopKValues(tensor(4), 2, 0, True), "No engine sorts"),
        (reduction.TopKIndices(tensor(4), 2, 0, True), "No engine sorts"),
        (structure.Host((), b"", (TensorType(F16, (2,)),), "odd"), "the host runs it"),
        (arithmetic.Neg(tensor(*[2] * 9)), "at most 8 dimensions"),
        (arithmetic.Neg(tensor(3, 0)), "without elements"),
        (movement.Gather(tensor(9), tensor(2, dtype=np.uint8), 0), "i32 or i64"),
        (tensor(1 << 32), "32 bits"),
    ],
    ids=repr,
)
def test_illegal(op: Op, reason: str) -> None:
    assert reason in refusal(op)


def test_a_refusal_says_which_types_break_the_rule() -> None:
    wide = arithmetic.Add(tensor(2, 3, dtype=F64), tensor(3, dtype=F64))
    assert refusal(wide).endswith("(Here f64[2,3] and f64[3] give f64[2,3].)")


def test_every_constraint_refuses_something_with_a_sentence() -> None:
    for constraint in CONSTRAINTS:
        assert constraint.__doc__ is not None
        assert constraint.__doc__.endswith(".")
