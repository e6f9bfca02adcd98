"""What the search found once, as the smallest model that shows it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

import kcompiler
from kcompiler.commands._options import parse_values
from kcompiler.errors import KcompilerError
from kcompiler.graph.node import Array
from kcompiler.graph.types import TensorType
from kcompiler.kernel.parse import parse_region
from kcompiler.machine.indices import indices
from kcompiler.runtime import _fitting
from tests.frontend.oracle import f32, floats, i64, model, node, one
from tests.fuzz.check import judge
from tests.fuzz.maker import Case


def sound(case: tuple[ModelProto, dict[str, Array]]) -> None:
    """The model and its feeds, through the interpreter and compiled, agree with the oracles."""
    verdict = judge(typed(*case), ("interpreter", "f32", "f16"))
    assert verdict.faults == ()
    assert not verdict.disputed


def types_of(values: dict[str, Array]) -> Any:
    """The types of inputs that take these values."""
    return {name: (value.dtype, value.shape) for name, value in values.items()}


def typed(proto: ModelProto, feeds: dict[str, Array]) -> Case:
    """A case whose outputs have types, as the checker wants them."""
    from onnx import shape_inference

    return Case(shape_inference.infer_shapes(proto, data_prop=True), feeds)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("top", [np.inf, -np.inf, np.nan, 1e30])
def test_the_sum_of_exponentials_is_infinite(dtype: str, top: float) -> None:
    values = np.array([top, -np.inf], dtype)
    proto = model([node("ReduceLogSumExp", ["x"], ["y"])], {"x": (dtype, (2,))}, ["y"])
    found = kcompiler.compile(proto, precision="f32").run({"x": values})["y"]
    np.testing.assert_array_equal(found, np.array([top], dtype))


def test_a_concatenation_of_what_is_computed_in_the_middle_of_a_chain() -> None:
    """What the chain took in later could not be read through the copy that was in it already."""
    known = {f"s{i}": f32(0.1 * i) for i in range(1, 4)} | {"z": np.array(0, np.uint8)}
    nodes = [
        node("QLinearConcat", ["s3", "z", "a", "s1", "z", "b", "s2", "z"], ["c"],
             domain="com.microsoft", axis=1),
        node("Max", ["x", "c"], ["m"]),
        node("Shrink", ["m"], ["y"], lambd=0.5),
    ]  # fmt: skip
    inputs = {"a": ("uint8", (2, 4)), "b": ("uint8", (2, 4)), "x": ("uint8", (2, 8))}
    compiled = kcompiler.compile(model(nodes, inputs, ["y"], known))
    assert compiled.report().host_nodes == 0
    assert compiled.verify().ok


def test_a_convolution_of_no_images() -> None:
    sound(one("Conv", [floats(0, 2, 5, 3), floats(4, 2, 3, 3)], known=[1]))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("values", [[NAN, NAN, 1], [NAN, -INF, 2], [NAN, INF, NAN]])
def test_the_extreme_value_is_nan(operator: str, values: list[float]) -> None:
    """It equals nothing, not even itself, so that no place was found."""
    sound(one(operator, [f32([values] * 2)], axis=1))


def test_infinities_in_a_product_say_nothing() -> None:
    """An infinity times zero made numpy warn, though it is what the user asked for."""
    x = f32([[INF, 1.0], [2.0, -INF]])
    sound(one("MatMul", [x, f32([[0.0, 1.0], [1.0, 0.0]])]))
    sound(one("Conv", [x.reshape(1, 1, 2, 2), f32([[[[0.0]]]])], known=[1]))
    sound(one("Conv", [x.reshape(1, 2, 2, 1), f32([0.0, 1.0]).reshape(2, 1, 1, 1)], group=2))


@pytest.mark.parametrize("bias", [0.926, 1.4, 2.0])
def test_shrink_of_integers_by_a_fraction(bias: float) -> None:
    values = np.array([-5, -3, -1, 0, 1, 2, 4], np.int32)
    sound(one("Shrink", [values], bias=bias, lambd=0.7))


def test_the_mean_that_a_layer_normalization_gives_is_float32() -> None:
    operands = [floats(3, 4, dtype="float64"), floats(4, dtype="float64")]
    proto, feeds = one("LayerNormalization", operands, results=3)
    found = kcompiler.compile(proto, precision="f32").run(feeds)
    assert [str(v.dtype) for v in found.values()] == ["float64", "float32", "float32"]


def test_a_normalization_of_nothing_says_nothing() -> None:
    sound(one("InstanceNormalization", [floats(2, 3, 0), floats(3), floats(3)]))


def test_a_normalization_scaled_by_its_own_operand() -> None:
    """One access twice in a nest: the axes were to be merged twice."""
    nodes = [node("LayerNormalization", ["x", "x", "b"], ["y"], axis=0)]
    x, b = floats(1, 3, 5), floats(1, 3, 5, seed=1)
    values = {"x": x, "b": b}
    sound((model(nodes, types_of(values), ["y"]), values))


@pytest.mark.parametrize("consumer", ["Sub", "Add"])
def test_indices_in_two_dimensions_that_stay_apart(consumer: str) -> None:
    """What reads the gathered rows takes one value of another operand for each of them."""
    nodes = [node("Gather", ["x", "i"], ["g"]), node(consumer, ["g", "c"], ["y"])]
    values = {"x": floats(4), "i": i64([[3, -2, -1, 3, -3], [-2, 3, 0, 0, -1]]), "c": floats(2, 1)}
    sound((model(nodes, types_of(values), ["y"]), values))


def test_indices_in_two_dimensions_that_are_cut_into_tiles() -> None:
    nodes = [node("Gather", ["x", "i"], ["g"]), node("Sub", ["g", "c"], ["y"])]
    rng = np.random.default_rng(0)
    values = {"x": floats(50, 300), "i": rng.integers(-50, 50, (30, 70)), "c": floats(30, 1, 1)}
    proto = model(nodes, types_of(values), ["y"])
    sound((proto, values))
    assert kcompiler.compile(proto, precision="f32").verify(values).ok


def test_indices_that_are_transposed() -> None:
    nodes = [
        node("Transpose", ["i"], ["t"], perm=[1, 0]),
        node("Gather", ["x", "t"], ["g"]),
        node("Relu", ["g"], ["y"]),
    ]
    values = {"x": floats(4, 3), "i": i64([[3, -2, -1, 3, -3], [-2, 3, 0, 0, -1]])}
    sound((model(nodes, types_of(values), ["y"]), values))


@pytest.mark.parametrize("operator", ["Add", "MatMul"])
def test_more_dimensions_than_numpy_broadcasts(operator: str) -> None:
    shape = (1,) * 40
    nodes = [node(operator, ["x", "x"], ["y"])]
    proto = model(nodes, {"x": ("float32", shape)}, ["y"])
    try:
        found = kcompiler.compile(proto).run({"x": np.ones(shape, np.float32)})
    except KcompilerError:
        return
    assert found["y"].shape == shape


def test_a_reshape_to_more_dimensions_than_numpy_computes_on() -> None:
    """A rule moved the arithmetic to where the tensor has 52 of them."""
    case = one("DynamicQuantizeLinear", [np.ones((2, *(1,) * 51), np.float32)], results=3)
    with contextlib.suppress(KcompilerError):
        kcompiler.compile(case[0], precision="f32").run(case[1])


@pytest.mark.parametrize("operator", ["Relu", "Unsqueeze"])
def test_more_dimensions_than_an_array_has(operator: str) -> None:
    """A tensor without elements went on to where an array of it was made."""
    shape = (0, *(1,) * (152 if operator == "Relu" else 60))
    operands = ["x", "a"] if operator == "Unsqueeze" else ["x"]
    weights = {"a": i64([0, 1, 2, 3, 4])} if operator == "Unsqueeze" else None
    proto = model([node(operator, operands, ["y"])], {"x": ("float32", shape)}, ["y"], weights)
    with pytest.raises(KcompilerError, match=r"a tensor has (153|66) dimensions"):
        kcompiler.compile(proto)


def test_infinities_of_both_signs_in_a_pool_say_nothing() -> None:
    x = f32([INF, -INF, 1.0, 2.0]).reshape(1, 1, 2, 2)
    sound(one("AveragePool", [x], kernel_shape=[2, 2]))


def test_half_an_integer_is_rounded_as_onnx_says() -> None:
    """The range was multiplied by 1/255: 127.5 became 127.49999."""
    sound(one("DynamicQuantizeLinear", [f32([[0.0], [-1.5], [1.5]])], results=3))


@pytest.mark.parametrize("exponent", ["float32", "float64", "int64"])
@pytest.mark.parametrize("base", ["float16", "float32", "int32"])
def test_an_exponent_keeps_its_digits(base: str, exponent: str) -> None:
    """It was rounded to the type of the base."""
    x = np.array([1, 2, 3, 1.5], base)
    sound(one("Pow", [x, np.array([5.0, 2.7182817, 3.1415927, 0.1], exponent)]))


def test_zero_has_a_norm_in_every_precision() -> None:
    """A smallest norm that is none in float16 made it 0 / 0."""
    sound(one("LpNormalization", [f32([[0.0, 0.0], [3.0, 4.0]])]))


@pytest.mark.parametrize("precision", ["f16", "bf16", "f32"])
def test_padding_around_what_was_stored_narrow(precision: str) -> None:
    """A sum converts what it reads, and padding around a conversion was refused."""
    pool = node("AveragePool", ["r"], ["y"], kernel_shape=[3], pads=[1, 1], count_include_pad=0)
    values = {"x": floats(1, 2, 8)}
    case = typed(model([node("Relu", ["x"], ["r"]), pool], types_of(values), ["y"]), values)
    assert judge(case, (precision,)).faults == ()


def test_a_result_that_is_narrowed_under_another_shape() -> None:
    """The cast stood above the reshape, which could then not be looked through."""
    nodes = [
        node("MatMul", ["a", "w"], ["s"]),
        node("MatMul", ["b", "w"], ["t"]),
        node("Concat", ["s", "t"], ["c"], axis=1),
        node("Reshape", ["c", "shape"], ["y"]),
    ]
    values = {"a": floats(3, 1, 1, 2), "b": floats(3, 1, 1, 2, seed=1), "w": floats(2, 3)}
    sound((model(nodes, types_of(values), ["y"], {"shape": i64([2, 3, 1, 3])}), values))


def test_a_seam_along_two_axes_of_which_one_stands_still() -> None:
    """The concatenation of a reversed recurrence was cut at the end of the axis, for ever."""
    nodes = [
        node("Concat", ["a", "b"], ["c"], axis=0),
        node("Reshape", ["c", "shape"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[3, 2, 1, 0]),
        node("Acos", ["t"], ["y"]),
    ]
    values = {"a": floats(1, 1, 3) / 9, "b": floats(1, 1, 3, seed=1) / 9}
    sound((model(nodes, types_of(values), ["y"], {"shape": i64([2, 1, 1, 3])}), values))


def test_a_seam_of_a_reversed_recurrence() -> None:
    nodes = [
        node("LSTM", ["x", "w", "r"], ["h"], hidden_size=3, direction="reverse"),
        node("Transpose", ["h"], ["t"]),
        node("Acos", ["t"], ["y"]),
    ]
    values = {"x": floats(2, 1, 2), "w": floats(1, 12, 2), "r": floats(1, 12, 3)}
    sound((model(nodes, types_of(values), ["y"]), values))


def test_a_result_that_no_computer_holds() -> None:
    """The memory ran out while the part for the host was written down."""
    shape = numpy_helper.from_array(i64([7, 4, 1 << 34, 3]), "n")
    proto = model([node("ConstantOfShape", ["n"], ["y"])], {}, ["y"])
    proto.graph.initializer.append(shape)
    with pytest.raises(KcompilerError, match="too little memory"):
        kcompiler.compile(proto)


def test_a_tensor_that_no_instruction_can_count() -> None:
    proto = model([node("Relu", ["x"], ["y"])], {"x": ("float32", (3, 1 << 31))}, ["y"])
    with pytest.raises(KcompilerError, match="field extent: 6442450944 does not fit"):
        kcompiler.compile(proto)


def test_every_other_element_of_a_long_axis() -> None:
    """The set of indices was built one at a time, in quadratic time."""
    start = time.process_time()
    assert indices(range(1, 1 << 22, 2)).count == 1 << 21
    assert indices(range(1, 1 << 22, 2)).bits.bit_count() == 1 << 21
    assert time.process_time() - start < 1


@pytest.mark.parametrize("shape", [(1 << 31,), (3, (1 << 31) - 1), (1, 1 << 32, 1)])
def test_a_long_axis_is_no_more_work_than_a_short_one(shape: tuple[int, ...]) -> None:
    """Sets of indices were masks, of 256 MB for such an axis: 16 seconds and much memory."""
    proto = model([node("Relu", ["x"], ["y"])], {"x": ("float32", shape)}, ["y"])
    start = time.process_time()
    with contextlib.suppress(KcompilerError):
        kcompiler.compile(proto)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("operands", [["x", "", "x"], ["", "x"], ["x", ""]])
@pytest.mark.parametrize("operator", ["Sum", "Add"])
def test_an_operand_that_must_not_be_left_out(operator: str, operands: list[str]) -> None:
    """On the host, onnxruntime ended the process."""
    if operator == "Add":
        operands = operands[-2:]
    proto = model([node(operator, operands, ["y"])], {"x": ("float32", (3,))}, ["y"])
    with pytest.raises(KcompilerError, match=r"needs operand [01], and it is left out"):
        kcompiler.compile(proto)


def test_a_function_of_the_standard_that_fails() -> None:
    """It squeezes away an extent of 1 that it wants to split: the host computes what is meant."""
    operands = [floats(1, 2, 3), i64([1, 2, 2, 1])]
    case = typed(*one("AffineGrid", operands, known=[1], opset=20, align_corners=1))
    assert judge(case, ("interpreter", "f32")).faults == ()


def test_a_shape_that_onnxruntime_does_not_know() -> None:
    """It says [] then, as for a number."""
    names = ["i", "go", "s"]
    infos = [
        helper.make_tensor_value_info(n, t, s)
        for n, t, s in zip(names, (7, 9, 1), ([], [], [2, 3]), strict=True)
    ]
    body = helper.make_graph(
        [node("Neg", ["x"], ["t"]), node("Identity", ["go"], ["on"])], "body", infos,
        [helper.make_empty_tensor_value_info(n) for n in ("on", "t")],
    )  # fmt: skip
    nodes = [
        node("Loop", ["n", "", "x"], ["l"], body=body),
        node("FusedMatMul", ["l", "w"], ["y"], domain="com.microsoft", transA=1),
    ]
    values = {"x": floats(2, 3), "w": floats(2, 4), "n": i64(2)}
    found = kcompiler.compile(model(nodes, types_of(values), ["y"]), precision="f32").run(values)
    np.testing.assert_allclose(found["y"], -values["x"].T @ values["w"], 1e-5)


def test_a_scan_along_an_axis_that_does_not_exist() -> None:
    infos = [helper.make_tensor_value_info(n, 1, []) for n in ("s", "e")]
    ends = [helper.make_tensor_value_info(n, 1, []) for n in ("t", "u")]
    nodes = [node("Add", ["s", "e"], ["t"]), node("Identity", ["t"], ["u"])]
    body = helper.make_graph(nodes, "body", infos, ends)
    scan = node("Scan", ["x", "x"], ["y", "z"], body=body, num_scan_inputs=1)
    with pytest.raises(KcompilerError):
        kcompiler.compile(model([scan], {"x": ("float32", ())}, ["y", "z"]))


def test_a_sequence_where_a_package_says_tensor() -> None:
    """A host part that gives something else than the program behind it takes."""
    kind = TensorType(np.dtype("f4"), (2,))
    with pytest.raises(KcompilerError, match="the host computed 'v' as list"):
        _fitting("v", kind, [np.zeros(2, np.float32)])


def test_text_that_is_none_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """With a name that is no UTF-8, onnxruntime spoke of its providers on standard output."""
    nodes = [node("Unique", ["x"], ["y"], name="QQ")]
    data = model(nodes, {"x": ("float32", (3,))}, ["y"]).SerializeToString()
    with contextlib.suppress(KcompilerError):
        kcompiler.compile(data.replace(b"QQ", b"\xff\xfe")).run({"x": f32([1, 2, 1])})
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("text", ["k=", "k=,", "k=,,", "k=1,,2"])
def test_a_value_without_a_number(text: str) -> None:
    with contextlib.suppress(KcompilerError):
        assert parse_values([text])["k"].size == 0


@pytest.mark.parametrize("damage", ["(" * 3000, '"\t"', '"\\u12"'])
def test_a_kernel_text_that_is_odd(damage: str) -> None:
    """Nested too deeply, or with a string that is none: there was a traceback."""
    sound = Path("tests/golden/kernel/conv.region").read_text()
    for at in range(0, len(sound), 11):
        with contextlib.suppress(KcompilerError):
            parse_region(sound[:at] + damage + sound[at:])
