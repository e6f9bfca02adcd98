"""Views against numpy: where numpy can make one, so can we, and it is the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Input, Op
from kcompiler.graph.types import F32
from kcompiler.kernel.views import View, reshaped, view_of
from tests.kernel import bodies

MOVES = (bodies._reshape, bodies._transpose, bodies._slice, bodies._broadcast)


@st.composite
def chains(draw: DrawFn) -> Op:
    op: Op = Input("x", bodies.f32(*draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 5))):
        op = draw(st.sampled_from(MOVES))(draw, op, [])
    return op


def strided(base: Array, view: View) -> Array:
    steps = [4 * s for s in view.strides]
    return np.lib.stride_tricks.as_strided(base.reshape(-1)[view.offset :], view.shape, steps)


@given(chains())
def test_a_view_reads_what_the_operators_compute(op: Op) -> None:
    view = view_of(op)
    if view is None:
        return
    size = view.base.type.size
    base = np.arange(size, dtype=F32).reshape(view.base.shape)
    wanted = base
    for node in reversed(path(op)):
        wanted = node.evaluate(wanted)
    assert np.array_equal(strided(base, view), wanted)


@given(chains())
def test_a_view_exists_where_numpy_makes_no_copy(op: Op) -> None:
    base = np.zeros(op_base(op).shape, F32)
    wanted = base
    copied = False
    for node in reversed(path(op)):
        moved = node.evaluate(wanted)
        copied = copied or not np.shares_memory(moved, base)
        wanted = moved
    assert (view_of(op) is None) == copied


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_strides_of_a_reshape_are_those_of_numpy(shape: list[int], data: st.DataObject) -> None:
    array = np.zeros(shape).transpose(data.draw(st.permutations(range(len(shape)))))
    factors = [f for n in array.shape for f in ([2, 2] if n == 4 else [n])]
    cut = data.draw(st.integers(0, len(factors)))
    wanted = (int(np.prod(factors[:cut])), int(np.prod(factors[cut:])))
    strides = tuple(s // array.itemsize for s in array.strides)
    found = reshaped(array.shape, strides, wanted)
    copy = array.reshape(wanted)
    assert (found is None) == (not np.shares_memory(copy, array))
    if found is not None:
        kept = [k for k, n in enumerate(wanted) if n > 1]
        assert [found[k] for k in kept] == [copy.strides[k] // 8 for k in kept]


def test_stop_makes_a_tensor_its_own_base() -> None:
    x = Input("x", bodies.f32(2, 3))
    moved = ops.Transpose(x, (1, 0))
    sliced = ops.Slice(moved, (2, 0), (3, 2), (-1, 1))
    view = view_of(sliced)
    assert view is not None
    assert (view.base, view.offset, view.shape, view.strides) == (x, 2, (3, 2), (-1, 3))
    own = view_of(sliced, lambda op: op is moved)
    assert own is not None
    assert (own.base, own.offset, own.strides) == (moved, 4, (-2, 1))
    assert not own.dense


def test_a_reshape_of_a_dense_tensor_is_dense() -> None:
    view = view_of(ops.Reshape(Input("x", bodies.f32(2, 6)), (1, 3, 4)))
    assert view is not None
    assert view.dense


def path(op: Op) -> list[Op]:
    found = []
    while not isinstance(op, Input):
        found.append(op)
        op = op.operands[0]
    return found


def op_base(op: Op) -> Op:
    return path(op)[-1].operands[0] if path(op) else op
