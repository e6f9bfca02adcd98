"""Whatever a chip looks like: what compiles for it computes the right numbers, and nothing races.

Graphs of integers are compared bit for bit with numpy's meaning of each kernel, and the simulator
runs in checked mode. A chip may be too small for a graph, and then says so.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from kcompiler.errors import CapacityError
from kcompiler.graph import build
from kcompiler.graph.node import Constant, Input, Op
from kcompiler.graph.operators import Add, Cast, Conv, Relu, Softmax
from kcompiler.graph.types import F16, F32, I32, I64, TensorType
from kcompiler.machine.chip import Chip
from kcompiler.machine.generic.target import generic_target
from kcompiler.machine.hazards import check_hazards
from kcompiler.machine.simulator.time import simulate_time
from tests.machine.generic_chips import chip, known
from tests.targets.rebel_programs import check_kernels, compiled, numbers

I8 = np.dtype(np.int8)
RATES = ((), ("f16",), ("i8",), ("f16", "f32", "i8", "u8"))
SOME = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@st.composite
def chips(draw: st.DrawFn) -> Chip:
    """Any chip, with numbers that no engineer would choose."""
    made = chip(
        cores=draw(st.integers(1, 17)),
        pad=draw(st.integers(1 << 9, 1 << 15)),
        shared=draw(st.none() | st.integers(1 << 8, 1 << 16)),
        rates=dict.fromkeys(draw(st.sampled_from(RATES)), draw(st.sampled_from([0.25, 1.0, 3.0]))),
        array=draw(st.sampled_from([1, 3, 16, 128])),
        lanes=draw(st.integers(1, 40)),
        alignment=draw(st.sampled_from([1, 2, 24, 64])),
        overlap=draw(st.booleans()),
    )
    dma = replace(made.dma, startup=known(draw(st.integers(0, 500))))
    return replace(made, dma=dma, dies=known(draw(st.integers(1, made.cores.value))))


def integers() -> tuple[Op, list[Input]]:
    """A padded convolution, a sum, a product whose sum is long, rows by their numbers."""
    x, rows = Input("x", TensorType(I8, (1, 5, 9, 11))), Input("rows", TensorType(I64, (6,)))
    w = Constant(numbers(I8, (7, 5, 3, 3), 1))
    y: Op = Conv(x, w, (2, 1), (1, 1), (1, 2), (1, 1), 1, I32)
    y = Relu(Add(y, Constant(numbers(I32, (7, 1, 1), 2))))
    y = build.reshape(Cast(y, I8), (7, 60))
    y = build.matmul(y, Constant(numbers(I8, (60, 13), 3)), I32)
    return build.gather(y, rows, 0), [x, rows]


def floats(dtype: np.dtype[Any]) -> tuple[Op, list[Input]]:
    """A product and a softmax."""
    x = Input("x", TensorType(dtype, (3, 17, 24)))
    w = Constant(numbers(dtype, (24, 19), 1))
    return Softmax(build.matmul(x, w, dtype), 2), [x]


@given(chips(), st.sampled_from(["integers", "f16", "f32"]), st.integers(0, 3))
@SOME
def test_any_chip(each: Chip, kind: str, seed: int) -> None:
    y, inputs = integers() if kind == "integers" else floats(F16 if kind == "f16" else F32)
    target = generic_target(each)
    try:
        made = compiled({"y": y}, inputs, target)
    except CapacityError:
        event("too small")
        assume(each.memory("pad").size.value >= 8 << 10)
        raise
    values = {x.name: numbers(x.dtype, x.shape, seed) for x in inputs}
    if "rows" in values:
        values["rows"] = np.array([6, -7, 0, 3, -1, 2])
    check_kernels(made, values, exact=kind == "integers")
    assert check_hazards(made.program, target) == []
    timing = simulate_time(made.program, target)
    assert 0 < timing.cycles < 1e9
    event("on the array" if any(i.engine == "matrix" for i in made.code) else "on vectors")
