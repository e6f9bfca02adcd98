"""A chip description alone is a target: models compile, verify, and use what the chip has."""

import pytest

import kcompiler
from kcompiler.machine.chip import Chip
from kcompiler.machine.generic import lowering
from kcompiler.machine.generic.target import generic_target
from kcompiler.machine.simulator.memories import MachineFault
from tests.conftest import ROOT
from tests.laws.test_generic_chips import integers
from tests.machine.generic_chips import chip
from tests.targets.rebel_programs import check_kernels, compiled, numbers

MODEL = ROOT / "examples" / "mnistnet.onnx"

CHIPS: dict[str, Chip] = {
    "two cores": chip(),
    "one core, nothing shared": chip(cores=1, shared=None),
    "many cores, small scratchpads": chip(cores=13, pad=8 << 10),
    "an array of integers only": chip(rates={"i8": 1.0}),
    "no rate at all": chip(rates={}),
    "a large scratchpad": chip(pad=64 << 20),
}


@pytest.mark.parametrize("name", CHIPS)
def test_a_model_compiles_and_verifies(name: str) -> None:
    target = generic_target(CHIPS[name])
    compiled = kcompiler.compile(MODEL, target=target, dims={"s77": 2})
    assert compiled.verify().ok
    (segment,) = compiled.programs
    engines = {each.engine for each in target.isa.decode_program(segment.program.code)}
    floats = {"f16", "bf16", "f32"}
    rated = {rate.name for rate in target.chip.matrix.rates}
    assert ("matrix" in engines) == bool(floats & rated)
    assert {"load", "store", "vector"} <= engines


def test_precisions_follow_from_the_rates() -> None:
    """The fastest float first, f32 always, integers where the array multiplies them."""
    found = {name: generic_target(each).precisions for name, each in CHIPS.items()}
    assert found["two cores"] == ("f16", "f32", "int8", "mixed")
    assert found["an array of integers only"] == ("f32", "int8", "mixed")
    assert found["no rate at all"] == ("f32",)
    fast = generic_target(chip(rates={"f32": 1.0, "bf16": 4.0, "f16": 2.0}))
    assert fast.precisions == ("bf16", "f16", "f32")


def test_a_planted_wrong_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not vacuous: what says that all is in dram reads there what nothing has written."""
    y, inputs = integers()
    target = generic_target(chip(pad=6 << 10))
    values = {x.name: numbers(x.dtype, x.shape, 0) for x in inputs}
    values["rows"] %= 7
    check_kernels(compiled({"y": y}, inputs, target), values, exact=True)
    monkeypatch.setattr(lowering, "memory_word", lambda *_: "dram")
    with pytest.raises(MachineFault, match="that nothing has written"):
        check_kernels(compiled({"y": y}, inputs, target), values, exact=True)
