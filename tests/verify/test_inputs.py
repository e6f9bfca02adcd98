"""Inputs that nobody gave: sensible, and the same each time."""

import tracemalloc

import numpy as np
import pytest

from kcompiler.errors import UsageError
from kcompiler.graph.node import Constant, Graph, Input
from kcompiler.graph.operators import Add, Cast, Equal, Gather, Reshape
from kcompiler.graph.types import BOOL, F32, I32, I64, TensorType, parse_dtype
from kcompiler.verify import sample_inputs
from kcompiler.verify.inputs import table_extent


def graph(*inputs: Input) -> Graph:
    """A graph that hands its inputs on."""
    return Graph("g", inputs, tuple((f"y{i}", x) for i, x in enumerate(inputs)))


def looked_up() -> tuple[Graph, Input]:
    """Indices that go by a detour into a table of 11 rows, and directly into one of 1000."""
    ids = Input("ids", TensorType(I64, (4, 8)))
    small = Input("small", TensorType(F32, (11, 3)))
    large = Input("large", TensorType(F32, (1000, 3)))
    moved = Cast(Reshape(ids, (32,)), I32)
    outputs = (("a", Gather(small, moved, 0)), ("b", Gather(large, ids, 0)))
    return Graph("g", (ids, small, large), outputs), ids


def test_floats_are_standard_normal() -> None:
    x = sample_inputs(graph(Input("x", TensorType(F32, (1000, 10)))))["x"]
    assert x.dtype == F32
    assert abs(float(x.mean())) < 0.05
    assert abs(float(x.std()) - 1) < 0.05


def test_they_are_the_same_each_time_and_differ_between_inputs() -> None:
    both = graph(Input("a", TensorType(F32, (9,))), Input("b", TensorType(F32, (9,))))
    first, second = sample_inputs(both), sample_inputs(both)
    np.testing.assert_array_equal(first["a"], second["a"])
    assert (first["a"] != first["b"]).any()


def test_indices_stay_inside_the_smallest_table() -> None:
    g, ids = looked_up()
    assert table_extent(g, ids) == 11
    x = sample_inputs(g)["ids"]
    assert x.min() >= 0
    assert x.max() == 10


def test_indices_computed_with_other_inputs_are_not_traced() -> None:
    ids, offset = Input("ids", TensorType(I64, (4,))), Input("o", TensorType(I64, (4,)))
    table = Input("t", TensorType(F32, (50, 2)))
    g = Graph("g", (ids, offset, table), (("y", Gather(table, Add(ids, offset), 0)),))
    assert table_extent(g, ids) is None


def test_masks_and_booleans_are_ones() -> None:
    mask = Input("attention_mask", TensorType(I64, (5,)))
    flag = Input("flag", TensorType(BOOL, (5,)))
    found = sample_inputs(graph(mask, flag))
    np.testing.assert_array_equal(found["attention_mask"], np.ones(5, np.int64))
    np.testing.assert_array_equal(found["flag"], np.ones(5, np.bool_))


def test_bytes_take_their_whole_range_and_other_integers_two_values() -> None:
    pixels = Input("pixels", TensorType(parse_dtype("u8"), (100, 100)))
    signed = Input("signed", TensorType(parse_dtype("i8"), (100, 100)))
    other = Input("other", TensorType(I64, (100,)))
    found = sample_inputs(graph(pixels, signed, other))
    assert (found["pixels"].min(), found["pixels"].max()) == (0, 255)
    assert (found["signed"].min(), found["signed"].max()) == (-128, 127)
    assert sorted(set(found["other"].tolist())) == [0, 1]


@pytest.mark.parametrize("count", [1, 3])
def test_more_than_a_computer_holds_is_not_made_up(count: int) -> None:
    """One input, or all together; what is given takes no room."""
    kind = TensorType(BOOL, ((1 << 30) // count, 1))
    inputs = [Input(f"x{i}", kind) for i in range(count)]
    tracemalloc.start()
    with pytest.raises(UsageError) as error:
        sample_inputs(graph(*inputs))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert error.value.what == "there is no data to verify with for input 'x0'"
    assert f"{kind.size:,} elements" in error.value.why
    assert ("1,073,741,823 of all inputs" in error.value.why) == (count == 3)
    given = {x.name: np.broadcast_to(np.bool_(True), kind.shape) for x in inputs}
    assert sample_inputs(graph(*inputs), given) == given


def test_what_is_given_stays() -> None:
    given = {"x": np.full((3,), 7, np.float32)}
    assert sample_inputs(graph(Input("x", TensorType(F32, (3,)))), given) == given


def test_a_mode_is_one_that_the_model_knows() -> None:
    """Compared with a constant, as a sampling rate is: another value may be no valid one."""
    rate, rows = Input("rate", TensorType(I64, ())), Input("rows", TensorType(I64, (4,)))
    known = Constant(np.array(16000))
    outputs = (("wide", Equal(rate, known)), ("rows", Equal(rows, known)))
    found = sample_inputs(Graph("g", (rate, rows), outputs))
    assert found["rate"] == 16000
    assert set(found["rows"].tolist()) <= {0, 1}
