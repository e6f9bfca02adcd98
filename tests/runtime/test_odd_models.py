"""Models at the edges: no input, no work, no elements, odd types; compiled, loaded and run."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto as T

import kcompiler
from kcompiler.errors import CapacityError
from kcompiler.host import HostModel
from kcompiler.runtime import check_feeds
from kcompiler.verify import sample_inputs
from tests.runtime.models import model, node

ONES = np.ones(4, np.float32)
MODELS = {
    "no work": model([node("Identity", "x", "y")], [("x", 1, [4])], [("y", 1, [4])]),
    "no input": model([node("Add", "a a", "y")], [], [("y", 1, [4])], a=ONES),
    "a constant output": model(
        [node("Add", "a a", "y"), node("Relu", "x", "z")],
        [("x", 1, [4])],
        [("y", 1, [4]), ("z", 1, [4])],
        a=ONES,
    ),
    "one value, two outputs": model(
        [node("Relu", "x", "y"), node("Identity", "y", "z")],
        [("x", 1, [4])],
        [("y", 1, [4]), ("z", 1, [4])],
    ),
    "an unused input": model(
        [node("Relu", "x", "y")], [("x", 1, [4]), ("unused", 1, [2])], [("y", 1, [4])]
    ),
    "a scalar": model([node("Relu", "x", "y")], [("x", 1, [])], [("y", 1, [])]),
    "no elements": model([node("Relu", "x", "y")], [("x", 1, [0, 4])], [("y", 1, [0, 4])]),
    "host only": model([node("Det", "x", "y")], [("x", 1, [4, 4])], [("y", 1, [])]),
    "double": model([node("Relu", "x", "y")], [("x", T.DOUBLE, [4])], [("y", T.DOUBLE, [4])]),
    "half": model([node("Neg", "x", "y")], [("x", T.FLOAT16, [4])], [("y", T.FLOAT16, [4])]),
    "bfloat16": model([node("Neg", "x", "y")], [("x", T.BFLOAT16, [4])], [("y", T.BFLOAT16, [4])]),
    "bool": model([node("Not", "x", "y")], [("x", T.BOOL, [4])], [("y", T.BOOL, [4])]),
    "integers": model([node("Add", "x x", "y")], [("x", T.INT64, [4])], [("y", T.INT64, [4])]),
}


@pytest.mark.parametrize("name", MODELS)
def test_odd_models(name: str) -> None:
    compiled = kcompiler.compile(MODELS[name])
    assert compiled.verify().first_failure is None
    graph = compiled.compilation.graph
    assert graph is not None
    feeds = sample_inputs(graph)
    session = kcompiler.Session(compiled.to_bytes())
    names = [output.name for output in session.get_outputs()]
    found, expected = session.run(None, feeds), HostModel(MODELS[name]).run(names, feeds)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)


def test_a_tensor_beyond_the_chip() -> None:
    extents = [1 << 20, 1 << 20]
    data = model([node("Relu", "x", "y")], [("x", 1, extents)], [("y", 1, extents)])
    with pytest.raises(CapacityError) as caught:
        kcompiler.compile(data)
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert text.startswith("error: the model needs 8,796,093,022,208 bytes of hbm, which has ")
    assert "f32[1048576,1048576], alone takes 4,398,046,511,104 bytes" in text


def test_files_of_bfloat16_lose_its_name() -> None:
    kind = kcompiler.compile(MODELS["bfloat16"]).compilation.inputs
    value = np.ones(4, ml_dtypes.bfloat16)
    (found,) = check_feeds(kind, {"x": value.view("V2")}).values()
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, value)
