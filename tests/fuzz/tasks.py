"""What a worker can be asked to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep

from tests.fuzz import check, files, inputs
from tests.fuzz.check import Fault
from tests.fuzz.maker import Case, Discarded
from tests.fuzz.recipe import seeded_case

KINDS = ("model", "model file", "package", "input")
ORACLE = "oracle"
# Planted faults, for the tests of what watches over this.
HARMS: dict[str, Callable[[], object]] = {
    "end": lambda: os._exit(3),
    "hang": lambda: sleep(60),
    "work": lambda: all(iter(lambda: True, False)),
}


@dataclass(frozen=True)
class Outcome:
    """What a case showed; `discarded` says why there was none."""

    operators: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    refused: tuple[str, ...] = ()
    disputed: bool = False
    discarded: str = ""
    ways: tuple[str, ...] = ()


def perform(
    tell: Callable[[str], None], kind: str, seed: int, index: int, fault: Fault | None = None
) -> Outcome | Case:
    """Try the case of a kind, a seed and a number; kind "reduce": the part that shows a fault."""
    tell("make")
    if kind in HARMS:
        HARMS[kind]()
    if fault is not None:
        return smaller(seed, index, fault)
    try:
        if kind == "model":
            return _model(tell, seed, index)
        if kind == "input":
            return _input(tell, seed, index)
        data = files.damaged(kind, seed, index)
    except Discarded as why:
        return Outcome(discarded=str(why))
    except Exception as error:  # noqa: BLE001 - a fault of the search itself must not be missed
        return Outcome(faults=(Fault("making", type(error).__name__, check.text_of(error)),))
    tell(kind)
    fault = files.try_file(kind, data)
    return Outcome(faults=(fault,) if fault else ())


def _model(tell: Callable[[str], None], seed: int, index: int) -> Outcome:
    case = seeded_case(seed, index)
    tell(ORACLE)
    try:
        judge = check.Judge(case)
    except Discarded as why:
        return Outcome(case.operators, discarded=str(why))
    tell("compiler")
    found = judge.verdict()
    return Outcome(case.operators, found.faults, found.refused, found.disputed, ways=found.ways)


def _input(tell: Callable[[str], None], seed: int, index: int) -> Outcome:
    reader, content, constants = inputs.seeded(seed, index)
    tell(reader)
    fault = inputs.try_input(reader, content, constants)
    return Outcome(faults=(fault,) if fault else (), ways=(reader,))


def smaller(seed: int, index: int, fault: Fault) -> Case:
    """The part of a case that shows the fault."""
    return check.reduced(seeded_case(seed, index), fault.stage, fault.kind)
