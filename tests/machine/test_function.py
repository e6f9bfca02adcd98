"""Running a program: in order, kernel by kernel, and faults that say where they happened."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kcompiler.machine.instruction import EncodingError, Isa, u
from kcompiler.machine.program import Binding, KernelInfo, Program
from kcompiler.machine.simulator.function import Simulation, SimulationError
from kcompiler.machine.simulator.memories import Machine
from kcompiler.machine.target import Target
from tests.machine.toy import ToyTarget, toy_chip

WORD = np.dtype(np.int32)


class Tiny(Isa):
    """Adds numbers in `far`."""


class AddTo(Tiny, opcode=1, mnemonic="tiny.add", engine="vector"):
    """far[to] += far[source]."""

    to: int = u(32)
    source: int = u(32)

    def execute(self, m: Machine) -> None:
        """One number."""
        value = m.read("far", self.source, WORD, (), ())
        m.write("far", self.to, WORD, (), ())[...] += value


class Idle(Tiny, opcode=2, mnemonic="tiny.wait", engine="sync"):
    """Nothing that a simulation of functions does."""


def target() -> Target:
    return ToyTarget("tiny", toy_chip(), Tiny, (), ())


def at(name: str, address: int, shape: tuple[int, ...] = ()) -> Binding:
    return Binding(name, WORD, shape, "far", address)


def program(*code: Tiny, used: int = 16) -> Program:
    """Has x at 0, y at 4 and a constant 5 at 8; the first instruction is a kernel of its own."""
    kernels = (
        KernelInfo("k0", ("Add_0",), 0, 1, 0, (at("x", 0),), at("k0", 4)),
        KernelInfo("k1", (), 1, len(code) - 1, 0, (), at("y", 4)),
    )
    return Program(
        "tiny", Tiny.encode_program(code), (at("x", 0),), (at("y", 4),), (at("c", 8),),
        {"c": np.array(5, WORD)}, kernels, {"far": used},
    )  # fmt: skip


SUM = (AddTo(to=4, source=0), Idle(), AddTo(to=4, source=8))


def run(each: Program, **options: Any) -> dict[str, Any]:
    return Simulation(each, target(), **options).run({"x": np.array(2, WORD)})


def test_instructions_run_in_order() -> None:
    assert run(program(*SUM)) == {"y": 7}
    assert run(program(AddTo(to=4, source=0), AddTo(to=4, source=4))) == {"y": 4}


def test_kernels_can_be_watched() -> None:
    each = Simulation(program(*SUM), target())
    seen: list[Any] = []

    def note(kernel: KernelInfo) -> None:
        seen.append((kernel.name, int(each.get(kernel.output))))

    each.run({"x": np.array(2, WORD)}, note, note)
    assert seen == [("k0", 0), ("k0", 2), ("k1", 2), ("k1", 7)]


def test_tensors_are_dense() -> None:
    each = Simulation(program(*SUM, used=100), target())
    value = np.arange(6, dtype=WORD).reshape(2, 3)
    each.put(at("t", 40, (2, 3)), value)
    assert (each.machine.stores["far"].data[0, 40:64].view(WORD) == np.arange(6)).all()
    assert (each.get(at("t", 40, (2, 3))) == value).all()


def test_a_result_is_a_copy() -> None:
    each = Simulation(program(*SUM), target())
    result = each.run({"x": np.array(2, WORD)})
    each.run({"x": np.array(2, WORD)})
    assert result == {"y": 7}


@pytest.mark.parametrize(
    ("code", "where", "touched"),
    [
        (
            (AddTo(to=4, source=14), Idle()),
            "instruction 0 (tiny.add) of kernel k0 (Add_0)",
            "[0xe, 0x12)",
        ),
        (
            (AddTo(to=4, source=0), AddTo(to=16, source=0)),
            "instruction 1 (tiny.add) of kernel k1 (k1)",
            "[0x10, 0x14)",
        ),
    ],
)
def test_a_fault_says_where(code: tuple[Tiny, ...], where: str, touched: str) -> None:
    with pytest.raises(SimulationError) as caught:
        run(program(*code))
    wanted = f"{where} touches far bytes {touched}, outside its 0x10 bytes in use"
    assert str(caught.value) == wanted


def test_an_uninitialized_read_says_where() -> None:
    with pytest.raises(SimulationError) as caught:
        run(program(AddTo(to=4, source=12), Idle()), checked=True)
    assert str(caught.value) == (
        "instruction 0 (tiny.add) of kernel k0 (Add_0) "
        "reads far bytes near 0xc that nothing has written"
    )


def test_values_of_another_type_are_refused() -> None:
    each = Simulation(program(*SUM), target())
    with pytest.raises(ValueError, match=r"^x is int32\(\), not int64\(\)$"):
        each.run({"x": np.array(2, np.int64)})
    with pytest.raises(ValueError, match=r"^x is int32\(\), not int32\(1,\)$"):
        each.run({"x": np.array([2], WORD)})


def test_only_bytes_count() -> None:
    damaged = replace(program(*SUM), code=b"\xff" * 8)
    with pytest.raises(EncodingError):
        Simulation(damaged, target())


def test_too_much_memory() -> None:
    with pytest.raises(SimulationError) as caught:
        Simulation(program(*SUM, used=1 << 30), target())
    assert str(caught.value) == "the program uses 1073741824 bytes of far, which has 1048576"
