"""Damaged models: whatever the bytes are, a `KcompilerError` comes out, or a graph."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from onnx import ModelProto, numpy_helper

from kcompiler.errors import KcompilerError
from kcompiler.frontend import load_model
from tests.frontend.oracle import floats, model, node
from tests.frontend.test_control import conditional, counting_loop


def serialized(proto: ModelProto) -> bytes:
    data: bytes = proto.SerializeToString()
    return data


@cache
def network() -> bytes:
    """A small network with one of each kind of importer."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"]),
        node("Clip", ["b", "zero", "six"], ["c"]),
        node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        node("ConvTranspose", ["d", "t"], ["e"], strides=[2, 2]),
        node("Resize", ["e", "", "factors"], ["f"], mode="linear"),
        node("Shape", ["f"], ["n"]),
        node("Slice", ["n", "i0", "i1"], ["n0"]),
        node("Concat", ["n0", "minus"], ["r"], axis=0),
        node("Reshape", ["f", "r"], ["g"]),
        node("Softmax", ["g"], ["h"], axis=-1),
        node("ReduceMean", ["h"], ["k"], axes=[1]),
        node("Pad", ["k", "pads"], ["l"], mode="edge"),
        node("Einsum", ["l", "l"], ["y"], equation="ij,kj->ik"),
    ]
    weights = {
        "w": floats(2, 1, 3, 3),
        "s": np.abs(floats(2)),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "t": floats(2, 2, 2, 2),
        "factors": np.array([1, 1, 2, 1.5], np.float32),
        "i0": np.array([0]),
        "i1": np.array([1]),
        "minus": np.array([-1]),
        "pads": np.array([0, 1, 0, 1]),
    }
    return serialized(model(nodes, {"x": ("float32", (1, 1, 6, 6))}, ["y"], weights))


@cache
def recurrent() -> bytes:
    """A recurrence, a quantization and a choice of indices."""
    nodes = [
        node("LSTM", ["x", "w", "r"], ["a"], hidden_size=2, direction="reverse"),
        node("QuantizeLinear", ["a", "scale", "zero"], ["b"]),
        node("DequantizeLinear", ["b", "scale", "zero"], ["c"]),
        node("Gather", ["c", "pick"], ["d"], axis=0),
        node("Split", ["d", "sizes"], ["e", "f"], axis=-1),
        node("TopK", ["e", "k"], ["g", "i"]),
        node("OneHot", ["i", "depth", "onoff"], ["y"]),
    ]
    weights = {
        "w": floats(1, 8, 3),
        "r": floats(1, 8, 2, seed=1),
        "scale": np.array(0.1, np.float32),
        "zero": np.array(3, np.uint8),
        "pick": np.array([0, 2]),
        "sizes": np.array([1, 1]),
        "k": np.array([1]),
        "depth": np.array(4),
        "onoff": floats(2),
    }
    return serialized(model(nodes, {"x": ("float32", (3, 2, 3))}, ["y"], weights))


@cache
def branching() -> bytes:
    return serialized(conditional(c=np.array(True)))


@cache
def looping() -> bytes:
    return serialized(counting_loop(3))


MODELS = [network, recurrent, branching, looping]


@st.composite
def mutated(draw: DrawFn) -> bytes:
    """A model with some bytes changed, left out or put in."""
    data = bytearray(draw(st.sampled_from(MODELS))())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(["set", "flip", "cut", "insert", "repeat"]))
        if kind == "set":
            data[at] = draw(st.integers(0, 255))
        elif kind == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
        data = data or bytearray(b"\0")
    return bytes(data)


def load(data: bytes) -> bool:
    """Whether the bytes are a model."""
    try:
        load_model(data)
    except KcompilerError as error:
        return not str(error).startswith("error: ")
    return True


def test_the_models_are_sound() -> None:
    assert all(load(make()) for make in MODELS)


@given(mutated())
def test_damage(data: bytes) -> None:
    load(data)


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    load(data)


@given(st.data())
def test_known_integers_may_be_anything(data: st.DataObject) -> None:
    """Shapes, pads and sizes that are weights are the numbers that a broken exporter gets wrong."""
    proto = ModelProto.FromString(data.draw(st.sampled_from([network, recurrent]))())
    known = [i for i in proto.graph.initializer if i.data_type == 7]
    chosen = data.draw(st.sampled_from(known))
    value = numpy_helper.to_array(chosen)
    wild = st.integers(-3, 9) | st.integers(-(1 << 63), (1 << 63) - 1)
    drawn = [data.draw(wild) for _ in range(value.size)]
    replaced = numpy_helper.from_array(np.array(drawn, np.int64).reshape(value.shape), chosen.name)
    chosen.CopyFrom(replaced)
    load(proto.SerializeToString())
