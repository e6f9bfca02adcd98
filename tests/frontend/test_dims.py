"""Open dimensions: each message in full, and every way to fix them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from kcompiler.errors import UsageError
from kcompiler.frontend import load_model
from tests.frontend.oracle import agree, floats, model, node


def added(*shapes: Any) -> ModelProto:
    """A model that adds its inputs x0, x1, ..."""
    inputs = {f"x{i}": ("float32", shape) for i, shape in enumerate(shapes)}
    return model([node("Sum", list(inputs), ["y"])], inputs, ["y"])


def message(proto: ModelProto, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load_model(proto, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


def shape_of(proto: ModelProto, **options: Any) -> tuple[int, ...]:
    return load_model(proto, **options).graph.inputs[0].shape


def test_names_are_fixed_by_name() -> None:
    imported = agree(
        added(("batch", 3, "h", "w"), ("batch", 1, 1, "w")),
        {"x0": floats(2, 3, 4, 5), "x1": floats(2, 1, 1, 5)},
        dims={"batch": 2, "h": 4, "w": 5},
    )
    assert imported.dims == {"batch": 2, "h": 4, "w": 5}


def test_by_shape_of_one_input() -> None:
    proto = added(("batch", 3, "h"), ("batch", 1, 1))
    assert shape_of(proto, shapes={"x0": (2, 3, 4)}) == (2, 3, 4)
    assert load_model(proto, shapes={"x0": (2, 3, 4)}).graph.inputs[1].shape == (2, 1, 1)


@pytest.mark.parametrize("unknown", ["", "?", None])
def test_nameless_dimensions_are_called_by_their_place(unknown: str | None) -> None:
    proto = added((unknown, 3, unknown))
    assert shape_of(proto, dims={"x0.0": 1, "x0.2": 7}) == (1, 3, 7)
    assert message(proto) == (
        "error: the model leaves open: x0.0, x0.2\n"
        "  because: an NPU's program has fixed shapes, and the inputs are x0[x0.0, 3, x0.2]\n"
        "  try: fix them, for example --dim x0.0=1 --dim x0.2=128"
    )


def test_negative_dimension_is_open() -> None:
    proto = added((1, 3))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert shape_of(proto, dims={"x0.0": 4}) == (4, 3)


def test_named_dimension_also_by_its_place() -> None:
    assert shape_of(added(("N", 3)), dims={"x0.0": 4}) == (4, 3)


def test_zero_is_an_extent() -> None:
    assert shape_of(added(("past", 3)), dims={"past": 0}) == (0, 3)
    assert shape_of(added((0, 3))) == (0, 3)


def test_missing_dimensions_are_listed_with_an_example() -> None:
    assert message(added(("batch", 3, "h", "w"))) == (
        "error: the model leaves open: batch, h, w\n"
        "  because: an NPU's program has fixed shapes, and the inputs are x0[batch, 3, h, w]\n"
        "  try: fix them, for example --dim batch=1 --dim h=224 --dim w=224"
    )


def test_the_batch_alone_is_not_guessed() -> None:
    assert message(added(("N", 3, 224, 224))) == (
        "error: the model leaves open: N\n"
        "  because: an NPU's program has fixed shapes, and the inputs are x0[N, 3, 224, 224]\n"
        "  try: fix them, for example --dim N=1"
    )


def test_unknown_dimension() -> None:
    assert message(added(("batch", 3)), dims={"bacth": 1}) == (
        "error: the model has no dimension 'bacth'\n"
        "  because: the open ones are batch\n"
        "  try: write batch"
    )
    assert message(added((1, 3)), dims={"batch": 1}) == (
        "error: the model has no dimension 'batch'\n"
        "  because: all dimensions of the model are fixed\n"
        "  try: leave the option out"
    )


def test_unknown_input() -> None:
    assert message(added(("batch", 3)), shapes={"image": (1, 3)}) == (
        "error: the model has no input 'image'\n"
        "  because: its inputs are x0\n"
        "  try: use one of these inputs"
    )


def test_contradictory_shapes() -> None:
    proto = added(("batch", 3), ("batch", 3))
    assert message(proto, shapes={"x0": (1, 3), "x1": (2, 3)}) == (
        "error: dimension 'batch' cannot be both 1 and 2\n"
        "  because: --shape x0=1,3 contradicts --shape x1=2,3\n"
        "  try: give each dimension one extent"
    )
    assert message(proto, shapes={"x0": (1, 3)}, dims={"batch": 2}) == (
        "error: dimension 'batch' cannot be both 1 and 2\n"
        "  because: --shape x0=1,3 contradicts --dim batch=2\n"
        "  try: give each dimension one extent"
    )


@pytest.mark.parametrize("shape", [(1, 4), (1, 3, 1), ()])
def test_shape_that_does_not_fit(shape: tuple[int, ...]) -> None:
    assert message(added(("batch", 3)), shapes={"x0": shape}) == (
        f"error: shape {list(shape)} does not fit input 'x0'\n"
        "  because: the model declares x0[batch, 3]\n"
        "  try: give as many extents, the fixed ones as they are"
    )


@pytest.mark.parametrize("extent", [-1, 1 << 63])
def test_impossible_extent(extent: int) -> None:
    assert message(added(("batch", 3)), dims={"batch": extent}) == (
        f"error: dimension 'batch' cannot be {extent}\n"
        "  try: give an extent of 0 to 9,223,372,036,854,775,807"
    )


def test_unknown_rank() -> None:
    proto = added((1, 3))
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert shape_of(proto, shapes={"x0": (2, 5)}) == (2, 5)
    assert message(proto) == (
        "error: the model leaves open: the shape of x0\n"
        "  because: an NPU's program has fixed shapes, and the inputs are x0[any shape]\n"
        "  try: fix them, for example --shape x0=1,3,224,224"
    )


def test_input_with_a_default_is_a_constant() -> None:
    """Exporters before 2020 listed every weight among the inputs."""
    proto = model(
        [node("Add", ["x", "w"], ["y"])],
        {"x": ("float32", ("n", 2)), "w": ("float32", (2,))},
        ["y"],
        {"w": floats(2)},
    )
    assert [i.name for i in load_model(proto, {"n": 3}).graph.inputs] == ["x"]


def test_fixed_values() -> None:
    proto = model(
        [node("Pow", ["x", "e"], ["y"])], {"x": ("float32", (3,)), "e": ("int64", ())}, ["y"]
    )
    imported = agree(proto, {"x": floats(3)}, values={"e": 2})
    assert [i.name for i in imported.graph.inputs] == ["x"]
    assert message(proto, values={"e": 2.5}) == (
        "error: the value for input 'e' does not fit its type\n"
        "  because: the input is i64[], and a value is 2.5\n"
        "  try: give a value that int64 can hold"
    )
    assert "has no input 'f'" in message(proto, values={"f": 2})


@pytest.mark.parametrize(
    ("type_", "shown"),
    [
        (helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [2])), "seq("),
        (helper.make_optional_type_proto(helper.make_tensor_type_proto(1, [2])), "optional("),
        (helper.make_tensor_type_proto(8, [2]), "tensor(string)"),
    ],
)
def test_input_that_is_no_tensor_of_numbers(type_: Any, shown: str) -> None:
    """What reads it is left to the host, and the reason says so."""
    proto = added((2,))
    proto.graph.input[0].type.CopyFrom(type_)
    imported = load_model(proto)
    assert imported.tail is not None
    assert "x0" in imported.tail.inputs
    assert shown in imported.tail.operators[0][2]


def test_declared_output_that_disagrees_is_a_warning() -> None:
    proto = added((2, 3))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [4, 3]))
    assert load_model(proto).warnings == ("output 'y' is declared [4, 3], but is [2, 3]",)


def test_scalar_input() -> None:
    agree(added(()), {"x0": np.array(1, np.float32)})


def moded(kind: str) -> ModelProto:
    """A model that adds x to what an input of another kind holds, or only has that."""
    proto = added((2, 3))
    tensor = helper.make_tensor_type_proto(1, [2, 3])
    types = {
        "optional": helper.make_optional_type_proto(tensor),
        "sequence": helper.make_sequence_type_proto(tensor),
        "text": helper.make_tensor_type_proto(8, ["n"]),
    }
    proto.graph.input.append(helper.make_value_info("s", types[kind]))
    proto.graph.node.append(node("Identity", ["s"], ["t"]))
    proto.graph.output.append(helper.make_value_info("t", types[kind]))
    return proto


@pytest.mark.parametrize("option", ["shape", "value"])
@pytest.mark.parametrize(
    ("kind", "shown"),
    [("optional", "optional(tensor(float))"), ("sequence", "seq(tensor(float))"),
     ("text", "tensor(string)")],
)  # fmt: skip
def test_an_input_that_is_no_tensor_of_numbers(kind: str, shown: str, option: str) -> None:
    proto = moded(kind)
    wishes: dict[str, dict[str, Any]] = {
        "shape": {"shapes": {"s": (2, 3)}},
        "value": {"values": {"s": 1}},
    }
    assert message(proto, **wishes[option]) == (
        f"error: --{option} does not apply to input 's'\n"
        f"  because: it is no tensor of numbers but {shown}, which the host takes as it comes\n"
        f"  try: leave --{option} s=… out"
    )
    assert load_model(proto).tail is not None


def test_an_input_with_a_value_of_its_own() -> None:
    proto = added((2, 3), (2, 3))
    proto.graph.initializer.append(numpy_helper.from_array(floats(2, 3), "x1"))
    assert message(proto, shapes={"x1": (2, 3)}) == (
        "error: --shape does not apply to input 'x1'\n"
        "  because: it has a value in the model, which is taken for a constant\n"
        "  try: leave --shape x1=… out, or export the model without that value"
    )


@pytest.mark.parametrize("shape", [(1,), (1, 1), ()])
def test_one_number_for_an_input_of_one_element(shape: tuple[int, ...]) -> None:
    proto, x = added((2, 3), shape), floats(2, 3)
    imported = agree(proto, {"x0": x}, values={"x1": np.float32(2.5)})
    assert imported.values["x1"].shape == shape


def test_one_number_for_an_input_of_more() -> None:
    assert message(added((2, 3), (2,)), values={"x1": 2.5}) == (
        "error: shape [] does not fit input 'x1'\n"
        "  because: the model declares x1[2]\n"
        "  try: give as many extents, the fixed ones as they are"
    )


HELD = (3, 0.1, np.nan, -np.inf, True, np.int8(-2))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[(kind, value) for kind in ("float16", "float32", "float64") for value in HELD],
        *[(kind, 2**24 + 1) for kind in ("float32", "float64")],
    ],
)
def test_a_value_is_of_the_type_of_its_input(kind: str, value: Any) -> None:
    """Decimals are rounded; the reference is given what the model takes."""
    inputs = {"x": (kind, (3,)), "f": (kind, ())}
    proto, x = model([node("Mul", ["x", "f"], ["y"])], inputs, ["y"]), floats(3).astype(kind)
    imported = agree(proto, {"x": x}, values={"f": value})
    np.testing.assert_array_equal(imported.values["f"], np.array(value, kind), strict=True)


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        *[("int64", v, str(v)) for v in (np.inf, np.nan, 1e300, 0.5)],
        *[("uint8", v, str(v)) for v in (256, -1)],
        *[("float16", v, str(v)) for v in (70000, -1e300, 1e-12)],
        ("float32", np.array(1e-60), "1e-60"),
    ],
)
def test_a_value_that_its_input_cannot_hold(kind: str, value: Any, shown: str) -> None:
    inputs = {"x": ("float32", (3,)), "f": (kind, ())}
    nodes = [node("Cast", ["f"], ["g"], to=1), node("Mul", ["x", "g"], ["y"])]
    text = message(model(nodes, inputs, ["y"]), values={"f": value})
    assert f", and a value is {shown}\n  try: give a value that {kind} can hold" in text
