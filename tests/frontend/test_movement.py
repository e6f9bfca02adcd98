"""Movement, indexing and shapes against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.frontend import load_model
from kcompiler.graph.node import Constant
from kcompiler.graph.operators import Gather
from tests.frontend.oracle import agree, f32, floats, integers, model, node, one

X = floats(2, 3, 4, 5)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("shape", "allowzero"),
    [((6, 20), 0), ((0, -1), 0), ((2, 0, 20), 0), ((-1,), 0), ((120, 1), 1)],
)
def test_reshape(shape: tuple[int, ...], allowzero: int) -> None:
    agree(*one("Reshape", [X, ints(*shape)], [1], allowzero=allowzero))


@pytest.mark.parametrize("axis", [-3, 0, 1, 2, 4])
def test_flatten(axis: int) -> None:
    agree(*one("Flatten", [X], axis=axis))


def test_squeeze_and_unsqueeze() -> None:
    x = floats(1, 3, 1, 4)
    agree(*one("Squeeze", [x], opset=11))
    agree(*one("Squeeze", [x], opset=13))
    agree(*one("Squeeze", [x], opset=11, axes=[0, 2]))
    agree(*one("Squeeze", [x, ints(0, -2)], [1], 13))
    agree(*one("Unsqueeze", [x], opset=11, axes=[0, 3]))
    agree(*one("Unsqueeze", [x, ints(0, -3)], [1], 13))


def test_transpose() -> None:
    agree(*one("Transpose", [X]))
    agree(*one("Transpose", [X], perm=[2, 0, 3, 1]))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int) -> None:
    agree(*one("Concat", [X, X + 1, X - 1], axis=axis))


def test_concat_leaves_out_empty_parts() -> None:
    imported = agree(*one("Concat", [X, floats(2, 0, 4, 5)], axis=1))
    assert {type(n).__name__ for n in imported.graph.nodes} == {"Input"}


@pytest.mark.parametrize(
    ("opset", "attributes", "sizes", "results"),
    [
        (11, {"axis": 3, "split": [1, 4]}, None, 2),
        (11, {"axis": 2}, None, 2),
        (13, {"axis": -1}, (2, 3), 2),
        (13, {"axis": 2}, None, 4),
        (18, {"axis": 3, "num_outputs": 2}, None, 2),
        (18, {"axis": 1, "num_outputs": 2}, None, 2),
    ],
)
def test_split(opset: int, attributes: Any, sizes: Any, results: int) -> None:
    operands = [X] if sizes is None else [X, ints(*sizes)]
    known = [] if sizes is None else [1]
    agree(*one("Split", operands, known, opset, results, **attributes))


BOUND = st.integers(-8, 8) | st.sampled_from([-(1 << 63), (1 << 63) - 1, -(1 << 31)])


@given(
    st.tuples(BOUND, BOUND),
    st.tuples(BOUND, BOUND),
    st.tuples(st.sampled_from([-3, -1, 1, 2]), st.integers(1, 9)),
)
def test_slice(starts: tuple[int, int], ends: tuple[int, int], steps: tuple[int, int]) -> None:
    operands = [X, ints(*starts), ints(*ends), ints(1, -1), ints(*steps)]
    agree(*one("Slice", operands, [1, 2, 3, 4]))


def test_slice_of_opset_9() -> None:
    agree(*one("Slice", [X], opset=9, starts=[1, -3], ends=[3, 1000], axes=[1, 3]))
    agree(*one("Slice", [X], opset=9, starts=[1], ends=[3]))


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 1, 4, 1), (1,), (4, 1)])
def test_expand(shape: tuple[int, ...]) -> None:
    agree(*one("Expand", [floats(3, 1, 5), ints(*shape)], [1]))


def test_tile() -> None:
    agree(*one("Tile", [floats(2, 3), ints(3, 2)], [1]))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(0, 1, 1, 0, 2, 3), (1, 0, 0, 1, 0, 0), (0, 0, 2, 0, 0, 2)])
def test_pad(mode: str, pads: tuple[int, ...]) -> None:
    x = floats(2, 4, 5)
    opset = 19 if mode == "wrap" else 13
    value = [np.array(7, np.float32)] if mode == "constant" else []
    operands = [x, ints(*pads), *value]
    imported = agree(*one("Pad", operands, range(1, len(operands)), opset, mode=mode))
    assert not any(isinstance(n, Gather) for n in imported.graph.nodes)


def test_pad_cuts_and_takes_axes_and_attributes() -> None:
    agree(*one("Pad", [floats(2, 4, 5), ints(0, -1, 2, 0, -1, 0)], [1], 13))
    agree(*one("Pad", [floats(2, 4, 5), ints(1, 2, 0, 1), None, ints(-1, 0)], [1, 3], 18))
    agree(*one("Pad", [floats(2, 4, 5)], opset=7, pads=[0, 1, 2, 0, 3, 0], value=1.5))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    agree(*one("DepthToSpace", [floats(2, 12, 3, 4)], blocksize=2, mode=mode))


def test_space_to_depth() -> None:
    agree(*one("SpaceToDepth", [floats(2, 3, 4, 6)], blocksize=2))


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -2, 0, 1, 9])
def test_trilu(upper: int, k: int | None) -> None:
    operands = [floats(2, 4, 5)] + ([] if k is None else [np.array(k, np.int64)])
    agree(*one("Trilu", operands, range(1, len(operands)), upper=upper))


@pytest.mark.parametrize("known", [(), (1,)])
@pytest.mark.parametrize("axis", [0, -1])
def test_gather(known: Any, axis: int) -> None:
    indices = integers(-2, 2, 3, 2)
    agree(*one("Gather", [X, indices], known, axis=axis))
    agree(*one("Gather", [X, np.array(-1, np.int64)], known, axis=axis))
    agree(*one("Gather", [X, np.array([1], np.int32)], known, axis=axis))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis: int) -> None:
    x = floats(3, 4, 5)
    shape = [3, 4, 5]
    shape[axis] = 6
    agree(*one("GatherElements", [x, integers(-3, 3, *shape)], axis=axis))
    agree(*one("GatherElements", [x, integers(-3, 3, 2, 2, 2)], axis=axis))


@pytest.mark.parametrize(
    ("batch", "shape"), [(0, (6, 2)), (0, (3, 1)), (0, (2, 4)), (1, (2, 3, 2)), (2, (2, 3, 1))]
)
def test_gather_nd(batch: int, shape: tuple[int, ...]) -> None:
    agree(*one("GatherND", [X, integers(-2, 2, *shape)], batch_dims=batch))


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_one_hot(axis: int, dtype: str) -> None:
    operands = [integers(-4, 4, 2, 3, dtype=dtype), np.array(4, dtype), f32([-1, 2])]
    agree(*one("OneHot", operands, [1], axis=axis))


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg_reduce(op_type: str, last: int, keepdims: int) -> None:
    x = integers(0, 3, 3, 7).astype(np.float32)
    agree(*one(op_type, [x], axis=1, keepdims=keepdims, select_last_index=last))


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_top_k(largest: int, axis: int) -> None:
    x = integers(0, 5, 6, 7).astype(np.float32)
    agree(*one("TopK", [x, ints(3)], [1], results=2, axis=axis, largest=largest))


def test_top_k_of_opset_9() -> None:
    agree(*one("TopK", [floats(6, 7)], opset=9, results=2, axis=0, k=2))


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cum_sum(exclusive: int, reverse: int) -> None:
    agree(
        *one(
            "CumSum",
            [floats(3, 4), np.array(1, np.int32)],
            [1],
            exclusive=exclusive,
            reverse=reverse,
        )
    )


@pytest.mark.parametrize("known", [[1], []])
def test_reverse_sequence(known: list[int]) -> None:
    lengths = ints(1, 3, 4)
    agree(*one("ReverseSequence", [floats(4, 3, 2), lengths], known, time_axis=0, batch_axis=1))
    agree(*one("ReverseSequence", [floats(3, 4, 2), lengths], known, time_axis=1, batch_axis=0))


def test_compress() -> None:
    chosen = np.array([True, False, True])
    agree(*one("Compress", [X, chosen], [1], axis=1))
    agree(*one("Compress", [X, chosen], [1]))


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 2, 7), (3, 4, 9)])
def test_center_crop_pad(shape: tuple[int, ...]) -> None:
    agree(*one("CenterCropPad", [floats(4, 3, 6), ints(*shape)], [1], 18))


def test_shapes_are_constants() -> None:
    """The chain that torch writes for x.view(x.size(0), -1) leaves one Reshape."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "minus"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["y"]),
    ]
    weights = {"zero": np.array(0), "axes": ints(0), "minus": ints(-1)}
    proto = model(nodes, {"x": ("float32", (2, 3, 4))}, ["y"], weights)
    imported = agree(proto, {"x": floats(2, 3, 4)})
    assert [type(n).__name__ for n in imported.graph.nodes] == ["Input", "Reshape"]


def test_shape_options() -> None:
    agree(*one("Shape", [X]))
    agree(*one("Shape", [X], start=-3, end=-1))
    agree(*one("Size", [X]))


def test_constants_of_all_notations() -> None:
    nodes = [
        node("Constant", [], ["a"], value_int=3),
        node("Constant", [], ["b"], value_ints=[1, 2]),
        node("Constant", [], ["c"], value_float=0.5),
        node("Constant", [], ["d"], value_floats=[1.5, 2.5]),
        node("ConstantOfShape", ["b"], ["e"]),
        node("EyeLike", ["e"], ["f"], k=1, dtype=7),
        node("Range", ["zero", "a", "one"], ["g"]),
        node("NonZero", ["d"], ["h"]),
    ]
    weights = {"zero": np.array(0), "one": np.array(1)}
    names = list("abcdefgh")
    proto = model(nodes, {"x": ("float32", (1,))}, names, weights)
    imported = agree(proto, {"x": floats(1)})
    assert all(isinstance(value, Constant) for _, value in imported.graph.outputs)


@pytest.mark.parametrize(
    ("start", "limit", "delta", "dtype"),
    [(0, 5, 1, "int64"), (10, 0, -3, "int32"), (0.5, 3, 0.3, "float32"), (3, 1, 1, "int64")],
)
def test_range(start: float, limit: float, delta: float, dtype: str) -> None:
    operands = [np.array(v, dtype) for v in (start, limit, delta)]
    nodes = [node("Range", ["a", "b", "c"], ["r"]), node("Cast", ["r"], ["y"], to=1)]
    proto = model(nodes, {"x": ("float32", (1,))}, ["y"], dict(zip("abc", operands, strict=True)))
    agree(proto, {"x": floats(1)})


def test_every_node_knows_where_it_came_from() -> None:
    proto, _ = one("Gemm", [floats(2, 3), floats(3, 4), floats(4)], [1, 2])
    proto.graph.node[0].name = "classifier"
    nodes = load_model(proto).graph.nodes
    assert {n.origin for n in nodes if n.operands} == {("classifier",)}
    proto.graph.node[0].name = ""
    nodes = load_model(proto).graph.nodes
    assert {n.origin for n in nodes if n.operands} == {("Gemm_0",)}
