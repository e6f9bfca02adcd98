"""The modelled Warboy: what is published closes, what is assumed says so, and what it refuses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from kcompiler.graph.node import Constant, Input, Op
from kcompiler.graph.operators import arithmetic, composite, contraction, movement, reduction
from kcompiler.graph.types import F32, I32, I64, TensorType
from kcompiler.machine.chip import Chip
from kcompiler.machine.facts import UNCERTAIN, Fact, facts
from kcompiler.registry import find_target, targets
from kcompiler.targets.warboy import TARGET
from kcompiler.targets.warboy.chip import CHIP, FUSED
from kcompiler.targets.warboy.engines import DotEngine
from kcompiler.targets.warboy.legality import CONSTRAINTS
from tests.conftest import ROOT

README = ROOT / "targets" / "warboy" / "README.md"
BEGIN, END = "<!-- facts: rewritten by pytest --update-golden -->\n", "<!-- end -->\n"
I8 = np.dtype(np.int8)
assert isinstance(CHIP.matrix, DotEngine)
DOT = CHIP.matrix


def peak(chip: Chip) -> float:
    cells = chip.matrix.rows.value * chip.matrix.columns.value * chip.cores.value
    return 2 * cells * chip.clock.value


def test_the_published_peak_closes() -> None:
    """64 TOPS for the chip: 65.5 without rounding, as the vendor's own numbers multiply."""
    assert peak(FUSED) == 2 * peak(CHIP) == 65.536e12


def test_the_published_memories_close() -> None:
    """256 KiB in each slice, 32 MiB in all; 66 GB/s whichever way the elements are used."""
    for chip, slices in ((CHIP, 64), (FUSED, 128)):
        shared = chip.memory("sram").size.value // slices
        assert shared + chip.memory("buffers").size.value == 256 << 10
        assert chip.memory("dram").bandwidth.value * chip.clock.value == pytest.approx(66e9)
    assert 128 * 256 << 10 == 32 << 20


def test_the_two_differ_in_slices_alone() -> None:
    one, two = facts(CHIP), facts(FUSED)
    different = {path for path, fact in one.items() if two[path].value != fact.value}
    sram = {"memories.sram.size", "memories.sram.bandwidth"}
    assert different == {"cores", "matrix.sustained"} | sram


def test_both_can_be_named() -> None:
    assert {"warboy", "warboy-2pe"} <= set(targets())
    assert find_target("warboy-2pe").chip is FUSED


def test_what_is_not_public_says_so() -> None:
    uncertain = {path for path, fact in facts(CHIP).items() if fact.tag in UNCERTAIN}
    assert uncertain == {
        "vector.lanes", "vector.special", "memories.buffers.size", "memories.buffers.bandwidth",
        "memories.sram.size", "memories.sram.latency", "memories.dram.latency", "sync_cycles",
        "host.latency", "host.macs", "host.memory", "host.dispatch",
        "matrix.sustained", "host.bandwidth",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("positions", "terms", "outputs", "cycles"),
    [
        (1, 32, 4, 16),  # one block of 128 bytes of weights at 8 bytes a cycle
        (100, 32, 4, 200),  # 32 bytes of data a position at 16 bytes a cycle
        (100, 32, 8, 200),  # as long: two blocks of outputs for the same data
        (100, 32, 16, 400),  # four blocks
        (100, 33, 8, 400),  # a term beyond 32 is another block
        (196, 1152, 8, 196 * 36 * 2),  # 3 x 3 of 128 channels at 14 x 14, eight outputs
        (196, 9, 1, 196),  # one channel of a depthwise convolution: a cycle for each result
        (1, 1280, 16, 2560),  # a fully connected layer waits for its weights
        (100, 32, 516, 100 * 129),  # 129 blocks: data stream three times, which is still hidden
    ],
)
def test_cycles_by_hand(positions: int, terms: int, outputs: int, cycles: int) -> None:
    assert DOT.product_cycles(positions, terms, outputs) == cycles


def test_a_large_product_is_as_fast_as_the_peak() -> None:
    macs = 10_000 * 4608 * 64
    assert DOT.product_cycles(10_000, 4608, 64) * 128 == macs


def test_the_shift_register_saves_what_windows_share() -> None:
    """Of 3 neighbours one is new, of 3 at stride 2 two; 48 bytes hold no window beyond 16."""
    assert DOT.fresh(3, 1) == pytest.approx(1 / 3)
    assert DOT.fresh(3, 2) == pytest.approx(2 / 3)
    assert DOT.fresh(2, 3) == DOT.fresh(17, 1) == 1
    assert DOT.product_cycles(100, 32, 4, fresh=0.25) == 100


def shown(fact: Fact[Any]) -> str:
    value = fact.value
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}".replace(",", " ")


def table(found: Mapping[str, Fact[Any]]) -> str:
    rows = ["| fact | value | tag | source |", "| --- | --- | --- | --- |"]
    rows += [f"| `{p}` | {shown(f)} | {f.tag} | {f.source} |" for p, f in found.items()]
    return "\n" + "\n".join(rows) + "\n\n"


def test_the_readme_lists_every_fact(pytestconfig: pytest.Config) -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    new = table(facts(CHIP))
    if pytestconfig.getoption("--update-golden"):
        README.write_text(before + BEGIN + new + END + after, encoding="utf-8")
        return
    assert old == new, "the facts have changed; if that is right: pytest --update-golden"


def test_the_readme_explains_every_source() -> None:
    text = README.read_text(encoding="utf-8")
    keys = {word for f in facts(FUSED).values() for word in f.source.split() if word[:1] == "["}
    for key in sorted(k.strip(":;,)") for k in keys):
        assert f"| {key} |" in text


def tensor(*shape: int, dtype: Any = I8) -> Op:
    return Input("x", TensorType(np.dtype(dtype), shape))


def conv(groups: int = 1, dilation: int = 1, channels: int = 256, dtype: Any = I8) -> Op:
    x = tensor(1, channels, 40, 40, dtype=dtype)
    w = Constant(np.ones((channels, channels // groups, 3, 3), dtype))
    acc = I32 if np.dtype(dtype) == I8 else F32
    return contraction.Conv(x, w, (1, 1), (0, 0), (0, 0), (dilation, dilation), groups, acc)


@pytest.mark.parametrize(
    "op",
    [
        conv(),
        conv(groups=128),
        conv(groups=256),
        conv(dilation=12),
        composite.Softmax(tensor(2, 5, dtype=F32), 1),
        movement.Concat((tensor(1, 2, 4, 4), tensor(1, 2, 4, 4)), 1),
        movement.Slice(tensor(1, 2, 4, 4), (0, 0, 1, 0), (1, 2, 2, 4), (1, 1, 1, 1)),
        movement.Concat((tensor(2, 4), tensor(2, 4)), 0),
    ],
    ids=repr,
)
def test_legal(op: Op) -> None:
    assert TARGET.refusal(op) is None


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (conv(groups=512, channels=1024), "at most 128 groups"),
        (conv(dilation=13), "dilated by at most 12"),
        (conv(dtype=np.float32), "8-bit integers only"),
        (contraction.Contract(tensor(2, 3, dtype=F32), tensor(3, 4, dtype=F32), "ij,jk->ik", F32),
         "8-bit integers only"),
        (composite.Softmax(tensor(3, 5, dtype=F32), 1), "a batch of at most 2"),
        (movement.Concat((tensor(1, 2, 4, 4), tensor(1, 2, 4, 4)), 3), "channels or the height"),
        (movement.Slice(tensor(1, 2, 4, 4), (0, 0, 0, 1), (1, 2, 4, 2), (1, 1, 1, 1)),
         "channels or the height"),
        (movement.Gather(tensor(9, 4), tensor(3, dtype=I64), 0), "no attention"),
        (reduction.CumSum(tensor(4, dtype=F32), 0, False, False), "CumSum"),
        (arithmetic.Neg(tensor(*[2] * 9)), "at most 8 dimensions"),
    ],
    ids=repr,
)  # fmt: skip
def test_illegal(op: Op, reason: str) -> None:
    assert reason in (TARGET.refusal(op) or "")


def test_every_constraint_has_a_sentence() -> None:
    for constraint in CONSTRAINTS:
        assert constraint.__doc__ is not None
        assert constraint.__doc__.endswith(".")
