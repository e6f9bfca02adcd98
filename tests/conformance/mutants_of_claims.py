"""Faults of costs, of chance, and of what a target declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pytest import MonkeyPatch  # noqa: PT013 - a type

from kcompiler.graph.node import Op
from kcompiler.machine.facts import Fact
from kcompiler.machine.target import Target
from kcompiler.registry import find_target
from kcompiler.targets.rebel import isa
from tests.conformance.mutants_of_places import swapped
from tests.conformance.planted import (
    Addresses,
    each,
    mutant,
    mutated,
)

# ---------------- costs


@mutant("work that costs nothing", "monotonicity")
def free(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.VectorNest, "cycles", lambda *_: 0)
    return mutated()


@mutant("negative cost", "monotonicity")
def negative(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.NdmaLoad, "cycles", lambda *_: -5)
    return mutated()


@mutant("bytes that nobody moves", "monotonicity")
def no_traffic(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.NdmaStore, "traffic", lambda *_: {})
    return mutated()


@mutant("faster than the array", "monotonicity", slow=True)
def too_fast(patch: MonkeyPatch) -> Target:
    for cls in (isa.MatrixContract, isa.VectorNest, isa.NdmaLoad, isa.NdmaStore):
        patch.setattr(cls, "cycles", lambda *_: 1)
    return mutated()


@mutant("slower with more bandwidth", "monotonicity")
def contrary(patch: MonkeyPatch) -> Target:
    right = isa.NdmaLoad.cycles

    def wrong(self: Any, chip: Any) -> int:
        return right(self, chip) + int(chip.memory(chip.dram).bandwidth.value)

    patch.setattr(isa.NdmaLoad, "cycles", wrong)
    return mutated()


# ---------------- chance


def shuffled(code: list[Any], _: Addresses) -> Sequence[Any]:
    """Independent neighbours in an order that hangs on how text hashes."""
    if hash("order") % 2 and len(code) > 1 and isinstance(code[1], isa.NdmaLoad):
        return [code[1], code[0], *code[2:]]
    return code


@mutant("order of a set of words", "determinism", slow=True)
def hashed(_: MonkeyPatch) -> Target:
    return mutated(change=shuffled)


class _Counter:
    """Tells how often it was asked."""

    count = 0


def counted(code: list[Any], _: Addresses) -> Sequence[Any]:
    _Counter.count += 1
    extra = [x for x in code if isinstance(x, isa.NdmaLoad)][:1]
    return [*extra, *code] if _Counter.count % 7 == 0 else code


@mutant("state kept between compilations", "determinism")
def stateful(_: MonkeyPatch) -> Target:
    _Counter.count = 0
    return mutated(change=counted)


# ---------------- what is declared


def undocumented(_: Op) -> bool:
    return True


def raising(op: Op) -> bool:
    """An operator that has no window attribute is taken all the same."""
    return op.window is not None  # type: ignore[attr-defined]


def nothing(_: Op) -> bool:
    """Nothing runs on this chip, whatever it is."""
    return False


def curt(op: Op) -> bool:
    """No."""
    return op.type.rank < 6


def rebel_constraints(*more: Callable[[Op], bool], without: str = "") -> Target:
    kept = (c for c in find_target("rebel").constraints if c.__name__ != without)
    return mutated(constraints=(*kept, *more))


@mutant("constraint without docstring", "errors")
def no_docstring(_: MonkeyPatch) -> Target:
    return rebel_constraints(undocumented)


@mutant("constraint that raises", "errors")
def raises(_: MonkeyPatch) -> Target:
    return rebel_constraints(raising)


@mutant("refusal without a reason", "errors")
def unexplained(_: MonkeyPatch) -> Target:
    return rebel_constraints(curt)


@mutant("everything is refused", "errors")
def refusing(_: MonkeyPatch) -> Target:
    return rebel_constraints(nothing)


@mutant("the host's operators are taken", "errors")
def greedy(_: MonkeyPatch) -> Target:
    return rebel_constraints(without="not_left_to_the_host")


@mutant("an operator taken that has no kernel", "operators", "reductions", slow=True)
def hopeful(_: MonkeyPatch) -> Target:
    return rebel_constraints(without="has_a_kernel")


@mutant("number without a source", "facts")
def unsourced(_: MonkeyPatch) -> Target:
    chip = find_target("rebel").chip
    return mutated(chip=replace(chip, clock=Fact(chip.clock.value, "A", "guess")))


@mutant("models disagree with onnxruntime", "models")
def wrong_models(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(swapped("b")))
