"""Chip descriptions that make no sense are refused, with all that is wrong at once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kcompiler.errors import UsageError
from kcompiler.machine.chip import Chip, MacRate
from kcompiler.machine.facts import Fact, facts
from kcompiler.machine.generic.target import generic_target
from kcompiler.targets.rebel import TARGET as REBEL
from tests.machine.generic_chips import chip, known

GOOD = chip()


def changed(path: str, value: Any, of: Any = GOOD) -> Any:
    """The description with another value for one fact."""
    if isinstance(of, Fact):
        return known(value)
    name, _, rest = path.partition(".")
    if isinstance(of, tuple):
        return tuple(changed(rest, value, x) if x.name == name else x for x in of)
    return replace(of, **{name: changed(rest, value, getattr(of, name))})


@pytest.mark.parametrize("path", facts(GOOD))
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "9", True])
def test_every_number_is_a_finite_one(path: str, value: Any) -> None:
    with pytest.raises(UsageError) as error:
        changed(path, value)
    (line,) = error.value.why.split("\n")
    assert line.startswith(f"{path} is ")


@pytest.mark.parametrize("path", facts(GOOD))
def test_zero_only_where_it_means_no_delay(path: str) -> None:
    if path.rpartition(".")[2] in {"latency", "startup", "sync_cycles"}:
        assert isinstance(changed(path, 0), Chip)
    else:
        with pytest.raises(UsageError, match=rf"{path} is 0, and must be above 0"):
            changed(path, 0)


WRONG: dict[str, Callable[[], Any]] = {
    "cores is 2.5, and must be a whole number": lambda: changed("cores", 2.5),
    "cores is 4, and must be a Fact(value, tag, source)": lambda: replace(GOOD, cores=4),  # type: ignore[arg-type]
    "the name 'two words' is not one word of letters, digits and _.+-": lambda: replace(
        GOOD, name="two words"
    ),
    "two memories are called 'ddr'": lambda: replace(
        GOOD, memories=(*GOOD.memories, GOOD.memory("ddr"))
    ),
    "matrix.rates has 'f16' twice": lambda: replace(
        GOOD, matrix=replace(GOOD.matrix, rates=(MacRate("f16", known(1)),) * 2)
    ),
    "matrix.rates has 'half', which is no element type": lambda: replace(
        GOOD, matrix=replace(GOOD.matrix, rates=(MacRate("half", known(1)),))
    ),
    "dram is 'hbm', which is none of the memories: pad, ddr, l2": lambda: replace(GOOD, dram="hbm"),
    "scratchpad is 'l2', which must exist in each core (per_core=True)\n"
    "scratchpad, dram and shared are different memories; without a third, shared is None": (
        lambda: replace(GOOD, scratchpad="l2")
    ),
    "shared is 'pad', which must be one for all cores (per_core=False)\n"
    "scratchpad, dram and shared are different memories; without a third, shared is None": (
        lambda: replace(GOOD, shared="pad")
    ),
    "a memory is called 'dram', but dram is 'ddr'": lambda: replace(
        GOOD, memories=(*GOOD.memories, replace(GOOD.memory("ddr"), name="dram"))
    ),
    "dies is 3, more than cores": lambda: replace(GOOD, dies=known(3)),
}


@pytest.mark.parametrize("why", WRONG)
def test_what_makes_no_sense(why: str) -> None:
    with pytest.raises(UsageError) as error:
        WRONG[why]()
    assert error.value.why == why


def test_all_faults_at_once() -> None:
    with pytest.raises(UsageError) as error:
        replace(GOOD, cores=known(0), clock=known(-1.0), dram="hbm")
    assert str(error.value) == (
        "error: the chip description 'own' makes no sense\n"
        "  because: clock is -1.0, and must be above 0\n"
        "    cores is 0, and must be above 0\n"
        "    dram is 'hbm', which is none of the memories: pad, ddr, l2\n"
        "  try: units are bytes, cycles, bytes a cycle and Hz: see kcompiler/machine/chip.py"
    )


def test_instructions_reach_all_of_the_chip() -> None:
    """Rebel's addresses have 24 bits in the scratchpad; the generic ones have 32."""
    pad = replace(REBEL.chip.memory("l1"), size=known((1 << 24) + 1))
    large = replace(REBEL.chip, memories=(pad, *REBEL.chip.memories[1:]))
    assert generic_target(large).chip is large
    with pytest.raises(UsageError) as error:
        replace(REBEL, chip=large)
    first, *rest = error.value.why.split("\n")
    assert first == (
        "the field local of ndma.load has 24 bits and goes up to 16777215, "
        "but the last byte of l1 is 16777216"
    )
    assert len(rest) == 8
    with pytest.raises(
        UsageError, match=r"cores of matrix\.contract has 10 bits .* all cores is 1"
    ):
        replace(REBEL, chip=replace(REBEL.chip, cores=known(1024)))
