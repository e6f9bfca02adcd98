"""Whole programs of rebel: a listing, what checked mode finds, and waits that are missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Add, Conv, Relu
from kcompiler.graph.types import F16
from kcompiler.machine.assembly import format_program, parse_program
from kcompiler.machine.hazards import check_hazards
from kcompiler.machine.program import Program
from kcompiler.machine.queues import is_wait
from kcompiler.machine.simulator.function import Simulation, SimulationError
from kcompiler.targets.rebel.isa import NdmaLoad, NdmaStore, Rebel
from tests.conftest import Golden
from tests.targets.rebel_programs import Compiled, compiled, given, numbers, small

NODE = ("Conv_0", "Relu_1", "Add_2")


@cache
def network() -> Compiled:
    """Two blocks of relu(conv(x) + bias) + x on two cores."""
    x = given("x", F16, 1, 4, 8, 8)
    first = block(x, x, 1)
    y = block(first, x, 3).with_origin(("last",))
    return compiled({"y": y}, [x], small(2, 2 << 10))


def block(x: Op, residual: Op, seed: int) -> Op:
    pads = (1, 1)
    w, bias = (
        Constant(numbers(F16, (4, 4, 3, 3), seed)),
        Constant(numbers(F16, (4, 1, 1), seed + 1)),
    )
    conv = Conv(x, w, (1, 1), pads, pads, (1, 1), 1, F16).with_origin(NODE[:1])
    relu = Relu(Add(conv, bias)).with_origin(NODE[1:2])
    return Add(relu, residual).with_origin(NODE[2:])


def changed(program: Program, change: Callable[[list[Rebel]], list[Rebel]]) -> Program:
    """The program with other instructions; one kernel stands for all."""
    code = change(list(Rebel.decode_program(program.code)))
    kernel = replace(program.kernels[-1], first=0, count=len(code), origins=NODE, name="k")
    return replace(program, code=Rebel.encode_program(code), kernels=(kernel,))


def simulated(program: Program, checked: bool = True) -> Array:
    each = network()
    simulation = Simulation(program, each.target, checked)
    return simulation.run({"x": numbers(F16, (1, 4, 8, 8), 0)})["y"]


def test_listing(golden: Golden) -> None:
    """One such block, wide enough for the array: the whole program as text."""
    x, residual = given("x", F16, 1, 32, 6, 6), given("residual", F16, 1, 16, 6, 6)
    w = Constant(numbers(F16, (16, 32, 3, 3), 0))
    conv = Conv(x, w, (1, 1), (1, 1), (1, 1), (1, 1), 1, F16)
    code = compiled({"y": Add(Relu(conv), residual)}, [x, residual], small(2, 16 << 10)).code
    text = format_program(code)
    golden("rebel/small.txt", text)
    assert parse_program(Rebel, text) == code


def test_the_same_bytes_every_time() -> None:
    network.cache_clear()
    first = network().program.code
    network.cache_clear()
    assert network().program.code == first


def test_every_wait_counts() -> None:
    """Without any one of its waits the program has a hazard, which names both instructions."""
    each = network()
    assert check_hazards(each.program, each.target) == []
    waits = [i for i, item in enumerate(each.code) if is_wait(item)]
    assert len(waits) > 10
    for place in waits:
        program = changed(each.program, lambda code, at=place: code[:at] + code[at + 1 :])  # type: ignore[misc]
        found = check_hazards(program, each.target)
        assert found, f"wait {place} is not needed"
        assert "Conv_0, Relu_1, Add_2" in found[0].text


def first_of(code: list[Rebel], cls: type[Rebel]) -> int:
    return next(i for i, item in enumerate(code) if isinstance(item, cls))


def test_an_uninitialized_read_names_instruction_and_node() -> None:
    def lost(code: list[Rebel]) -> list[Rebel]:
        at = first_of(code, NdmaLoad)
        return code[:at] + code[at + 1 :]

    program = changed(network().program, lost)
    simulated(program, checked=False)  # only checked mode sees it
    with pytest.raises(SimulationError) as caught:
        simulated(program)
    where = r"\d+ \([a-z.]+\) of kernel k \(Conv_0, Relu_1, Add_2\)"
    assert re.fullmatch(
        f"instruction {where} reads l1 bytes near 0x[0-9a-f]+ that nothing has written",
        str(caught.value),
    )


@pytest.mark.parametrize("checked", [False, True])
def test_a_store_beyond_its_memory_names_instruction_and_node(checked: bool) -> None:
    def far(code: list[Rebel]) -> list[Rebel]:
        at = first_of(code, NdmaStore)
        store = code[at]
        assert isinstance(store, NdmaStore)
        return [*code[:at], replace(store, base=1 << 30), *code[at + 1 :]]

    program = changed(network().program, far)
    at = first_of(list(Rebel.decode_program(program.code)), NdmaStore)
    with pytest.raises(SimulationError) as caught:
        simulated(program, checked)
    assert str(caught.value).startswith(
        f"instruction {at} (ndma.store) of kernel k (Conv_0, Relu_1, Add_2) touches "
    )


def test_more_memory_than_there_is() -> None:
    program = replace(network().program, used={"l1": 5000})
    with pytest.raises(SimulationError) as caught:
        simulated(program)
    assert str(caught.value) == "the program uses 5000 bytes of l1, which has 2048"


def test_an_input_of_another_shape_or_type() -> None:
    each = network()
    simulation = Simulation(each.program, each.target)
    with pytest.raises(ValueError, match=r"^x is float16\(1, 4, 8, 8\), not float16\(4, 8, 8\)$"):
        simulation.run({"x": numbers(F16, (4, 8, 8), 0)})
    with pytest.raises(ValueError, match="not int8"):
        simulation.run({"x": numbers(np.dtype(np.int8), (1, 4, 8, 8), 0)})


def test_a_result_is_what_numpy_says() -> None:
    """The whole network in float64, from the definition of a convolution."""
    x = numbers(F16, (1, 4, 8, 8), 0).astype(np.float64)
    first = plain(x, x, 1)
    wanted = plain(first, x, 3)
    found = simulated(network().program).astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=5e-3, atol=5e-2)


def plain(x: Array, residual: Array, seed: int) -> Array:
    w = numbers(F16, (4, 4, 3, 3), seed).astype(np.float64)
    bias = numbers(F16, (4, 1, 1), seed + 1).astype(np.float64)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = sum(
        np.einsum("nchw,mc->nmhw", padded[:, :, i : i + 8, j : j + 8], w[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )
    result: Array = np.maximum(total + bias, 0) + residual
    return result
