"""Programs compute what their kernels say: bit for bit for integers, nearly where sums round.

Graphs are random; scratchpads are so small that several tiles, split sums and double buffers occur.
The simulator runs the emitted bytes in checked mode, and nothing is left unordered.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kcompiler.errors import CapacityError
from kcompiler.graph import build
from kcompiler.graph.node import Array, Constant, Input, Op
from kcompiler.graph.operators import (
    Add,
    Cast,
    Conv,
    LayerNorm,
    Max,
    Relu,
    Softmax,
    Transpose,
    Window,
)
from kcompiler.graph.types import BF16, F16, F32, I32, I64, TensorType
from kcompiler.kernel.interpreter import run_kernel
from kcompiler.kernel.nest import Access, Nest, Operand
from kcompiler.kernel.statements import Box, Compute, Copy, For, statements
from kcompiler.kernel.text import parse_kernel
from kcompiler.machine.generic.lowering import Lowering
from kcompiler.machine.generic.target import GenericTarget
from kcompiler.machine.hazards import check_hazards
from kcompiler.machine.simulator.function import SimulationError
from kcompiler.machine.simulator.memories import MachineFault
from kcompiler.machine.simulator.time import simulate_time
from tests.kernel.kernels import GATHER, MATMUL
from tests.targets.rebel_programs import (
    Compiled,
    alone,
    check_kernels,
    compiled,
    numbers,
    outputs_of,
    small,
)

I8, U8 = np.dtype(np.int8), np.dtype(np.uint8)
INTEGERS, FLOATS = (I8, U8), (F16, BF16, F32)
SOME = settings(max_examples=15, suppress_health_check=list(HealthCheck))
extents = st.integers(1, 9)


class Draw:
    """Makes operands: inputs of the graph, or constants in it."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.inputs: list[Input] = []
        self.values: dict[str, Array] = {}  # of inputs that are not just any numbers

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def tensor(self, dtype: np.dtype[Any], *shape: int) -> Op:
        if self.inputs and self.draw(st.booleans()):
            return Constant(numbers(dtype, shape, len(self.inputs)))
        return self.input(dtype, *shape)

    def input(self, dtype: np.dtype[Any], *shape: int) -> Input:
        self.inputs.append(Input(f"x{len(self.inputs)}", TensorType(dtype, shape)))
        return self.inputs[-1]


def summed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of a contraction's result."""
    return I32 if dtype in INTEGERS else dtype


def conv(d: Draw, dtype: np.dtype[Any]) -> Op:
    """Odd sizes, strides, pads, dilations, groups; then a bias and a relu."""
    groups = d.draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = groups * d.number(1, 5), groups * d.number(1, 6)
    kernel = (d.number(1, 3), d.number(1, 3))
    size = (d.number(3, 11), d.number(3, 11))
    dilations = tuple(d.number(1, 1 + (k < 3)) for k in kernel)
    strides = (d.number(1, 2), d.number(1, 3))
    low, high = (tuple(d.number(0, k - 1) for k in kernel) for _ in range(2))
    reach = [(k - 1) * x + 1 for k, x in zip(kernel, dilations, strict=True)]
    assume(all(n + a + b >= r for n, a, b, r in zip(size, low, high, reach, strict=True)))
    x = d.input(dtype, d.number(1, 2), channels, *size)
    w = d.tensor(dtype, filters, channels // groups, *kernel)
    y = Conv(x, w, strides, low, high, dilations, groups, summed(dtype))
    return Relu(Add(y, d.tensor(summed(dtype), filters, 1, 1)))


def matmul(d: Draw, dtype: np.dtype[Any]) -> Op:
    """Batches, long sums, a transposed factor, a bias."""
    m, k, n, batch = d.number(1, 20), d.number(1, 150), d.number(1, 20), d.number(1, 2)
    x = d.input(dtype, batch, m, k)
    y = Transpose(d.tensor(dtype, n, k), (1, 0))
    product = build.matmul(x, y, summed(dtype))
    return Add(product, d.tensor(summed(dtype), n))


def softmax(d: Draw, dtype: np.dtype[Any]) -> Op:
    """Over any axis."""
    x = d.input(dtype, d.number(1, 9), d.number(1, 60), d.number(1, 9))
    return Softmax(x, d.number(0, 2))


def norm(d: Draw, dtype: np.dtype[Any]) -> Op:
    n = d.number(2, 70)
    scale, bias = d.tensor(dtype, n), d.tensor(dtype, n)
    return LayerNorm(d.input(dtype, d.number(1, 20), n), scale, bias, (1,), 1e-5)


def concat(d: Draw, dtype: np.dtype[Any]) -> Op:
    shape, axis = [d.number(1, 8), d.number(1, 8), d.number(1, 8)], d.number(0, 2)
    parts = [(*shape[:axis], d.number(1, 8), *shape[axis + 1 :]) for _ in range(d.number(2, 3))]
    return build.concat([Relu(d.input(dtype, *part)) for part in parts], axis)


def gather(d: Draw, dtype: np.dtype[Any]) -> Op:
    """Indices from both ends, of both types."""
    shape, axis = [d.number(1, 12), d.number(1, 12), d.number(1, 5)], d.number(0, 1)
    extent, count = shape[axis], d.number(1, 12)
    index = st.lists(st.integers(-extent, extent - 1), min_size=count, max_size=count)
    indices = d.input(d.draw(st.sampled_from([I32, I64])), count)
    d.values[indices.name] = np.array(d.draw(index), indices.dtype)
    return build.gather(d.input(dtype, *shape), indices, axis)


def pool(d: Draw, dtype: np.dtype[Any]) -> Op:
    window = (d.number(1, 3), d.number(1, 3))
    pads = tuple(d.number(0, k - 1) for k in window)
    x = d.input(dtype, 1, d.number(1, 9), d.number(3, 12), d.number(3, 12))
    strides = (d.number(1, 3), d.number(1, 2))
    function: Literal["max", "sum"] = d.draw(
        st.just("max") if dtype in INTEGERS else st.sampled_from(["max", "sum"])
    )
    return Window(x, function, window, strides, pads, pads, (1, 1))


def moved(d: Draw, dtype: np.dtype[Any]) -> Op:
    """Transposed, cut backwards, broadcast, added."""
    a, b, c = d.number(1, 9), d.number(1, 9), d.number(1, 9)
    x = Transpose(d.input(dtype, a, b, c), d.draw(st.permutations((0, 1, 2)).map(tuple)))
    axis = d.number(0, 2)
    step = d.draw(st.sampled_from([1, 2, -1, -2]))
    length = (x.shape[axis] + abs(step) - 1) // abs(step)
    x_cut = build.slice_axis(x, axis, 0 if step > 0 else x.shape[axis] - 1, length, step)
    row = d.tensor(dtype, x_cut.shape[2])
    return Max(Add(x_cut, row), row)


def chain(d: Draw, dtype: np.dtype[Any]) -> Op:
    """Several kernels one after the other, so that they share memories and wait for one another."""
    y = conv(d, dtype)
    y = Relu(y) if dtype not in INTEGERS else Cast(y, dtype)
    z = Window(y, "max", (2, 2), (1, 1), (0, 0), (1, 1), (1, 1))
    w = d.tensor(dtype, d.number(1, 6), y.shape[1], 1, 1)
    final = Conv(z, w, (1, 1), (0, 0), (0, 0), (1, 1), 1, summed(dtype))
    return build.reshape(final, (final.shape[0], final.type.size // final.shape[0]))


KINDS: dict[str, Callable[[Draw, np.dtype[Any]], Op]] = {
    f.__name__: f for f in (conv, matmul, softmax, norm, concat, gather, pool, moved, chain)
}
ROUNDED = {"softmax", "norm"}
targets = st.builds(
    small, st.sampled_from([1, 2, 4, 6]), st.sampled_from([1 << 10, 3 << 10, 16 << 10])
)


def build_program(y: Op, inputs: list[Input], target: GenericTarget) -> Compiled:
    try:
        return compiled({"y": y}, inputs, target)
    except CapacityError:
        assume(False)
        raise


def values(inputs: list[Input], seed: int) -> dict[str, Array]:
    return {x.name: numbers(x.dtype, x.shape, seed + i) for i, x in enumerate(inputs)}


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ROUNDED])
@given(data=st.data())
@SOME
def test_integers_are_equal(kind: str, data: st.DataObject) -> None:
    agree(kind, INTEGERS, data)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@SOME
def test_floats_are_near(kind: str, data: st.DataObject) -> None:
    agree(kind, FLOATS, data)


def agree(kind: str, dtypes: tuple[np.dtype[Any], ...], data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(dtypes))
    d = Draw(data.draw)
    y = KINDS[kind](d, dtype)
    each = build_program(y, d.inputs, data.draw(targets))
    exact = dtype in INTEGERS or kind in {"concat", "gather", "moved"}
    given_ = values(d.inputs, data.draw(st.integers(0, 3))) | d.values
    check_kernels(each, given_, exact=exact)
    assert check_hazards(each.program, each.target) == []


def deep() -> tuple[Op, list[Input]]:
    """A long sum, which a small scratchpad splits."""
    x = Input("x0", TensorType(I8, (24, 900)))
    w = Constant(numbers(I8, (900, 24), 1))
    return build.matmul(x, w, I32), [x]


def test_tiles_splits_and_double_buffers_occur() -> None:
    """Not vacuous: kernels of these scratchpads are really cut."""
    y, inputs = deep()
    each = compiled({"y": y}, inputs, small(2, 3 << 10))
    body = [s for p in each.parts for s in statements(p.kernel.body)]
    kinds = {s.kind for s in body if isinstance(s, For) and s.extent > 1}
    assert kinds >= {"core", "double"}
    assert any(isinstance(s, Compute) and s.carry for s in body)
    assert len(each.code) > 100
    result = check_kernels(each, values(inputs, 0), exact=True)["y"]
    x, w = values(inputs, 0)["x0"].astype(np.int64), y.operands[1]
    assert isinstance(w, Constant)
    assert (result == x @ w.value.astype(np.int64)).all()


def halo() -> tuple[Op, list[Input]]:
    """A padded convolution of several tiles, with a bias."""
    x = Input("x0", TensorType(I8, (1, 8, 13, 13)))
    w = Constant(numbers(I8, (8, 8, 3, 3), 1))
    pads = (1, 1)
    y = Conv(x, w, (1, 1), pads, pads, (1, 1), 1, I32)
    return Relu(Add(y, Constant(numbers(I32, (8, 1, 1), 2)))), [x]


def no_carry(self: Lowering, compute: Compute) -> Any:
    return COMPUTE(self, replace(compute, carry=None))


def other_stride(self: Lowering, access: Access, nest: Nest) -> Any:
    at, strides = PLACE(self, access, nest)
    names = [a.name for a in nest.axes if strides[a.name]]
    if len(names) > 1:
        strides[names[0]], strides[names[1]] = strides[names[1]], strides[names[0]]
    return at, strides


def short(self: Lowering, operand: Operand, box: Box, copy: Copy) -> Any:
    start, dims = DIMS(self, operand, box, copy)
    return start, tuple(replace(d, extent=max(1, d.extent - 1)) for d in dims)


def shifted(self: Lowering, operand: Operand, box: Box, copy: Copy) -> Any:
    start, dims = DIMS(self, operand, box, copy)
    last = replace(dims[-1], origin=dims[-1].origin + 1)
    return start, (*dims[:-1], last if copy.fill == 0 and len(dims) > 3 else dims[-1])


def one_buffer(self: Lowering, buffer: str) -> int:
    return self.addresses[buffer][-1]


COMPUTE, PLACE, DIMS = Lowering.compute, Lowering.place, Lowering._dims
FAULTS: dict[str, tuple[str, Callable[..., Any], Callable[[], Any]]] = {
    "accumulate flag lost": ("compute", no_carry, deep),
    "strides swapped": ("place", other_stride, deep),
    "clip off by one": ("_dims", short, halo),
    "halo off by one": ("_dims", shifted, halo),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not vacuous: a lowering with one mistake computes something else, or faults."""
    method, wrong, graph = FAULTS[fault]
    y, inputs = graph()
    target = small(2, 3 << 10)
    check_kernels(compiled({"y": y}, inputs, target), values(inputs, 0), exact=True)
    monkeypatch.setattr(Lowering, method, wrong)
    with pytest.raises((AssertionError, SimulationError, MachineFault)):
        check_kernels(compiled({"y": y}, inputs, target), values(inputs, 0), exact=True)


def test_a_double_buffer_that_does_not_alternate_is_ordered_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waits follow from addresses: fewer buffers cost time, never truth."""
    y, inputs = deep()
    target = small(2, 3 << 10)
    fast = compiled({"y": y}, inputs, target)
    monkeypatch.setattr(Lowering, "address", one_buffer)
    slow = compiled({"y": y}, inputs, target)
    check_kernels(slow, values(inputs, 0), exact=True)
    assert check_hazards(slow.program, target) == []
    cycles = [simulate_time(p.program, target).cycles for p in (fast, slow)]
    assert cycles[0] < cycles[1]


@pytest.mark.parametrize("text", [MATMUL, GATHER], ids=["matmul", "gather"])
def test_kernels_as_text(text: str) -> None:
    """Kernels that the tiler does not make: boxes that run backwards, copies of any order."""
    kernel = parse_kernel(text.replace(" in sram", " in l1"))
    given_: dict[str, Array] = {
        o.name: numbers(o.dtype, o.shape, i)
        for i, o in enumerate(kernel.operands)
        if o.role != "output"
    }
    for name, array in given_.items():
        if array.dtype == I64:
            given_[name] = np.array([4, -5, 2])
    target = small(6)
    found = outputs_of(alone(kernel, given_, target), given_, target)
    np.testing.assert_allclose(found, run_kernel(kernel, given_), rtol=1e-5, atol=1e-5)
