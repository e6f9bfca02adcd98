"""What Python callers may pass, and that anything else is an error with a cure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kcompiler
from kcompiler.errors import KcompilerError
from tests.runtime.models import linear, open_linear

X = np.zeros((50, 96), np.float32)


@pytest.fixture(scope="module")
def made() -> kcompiler.CompiledModel:
    return kcompiler.compile(linear())


@pytest.mark.parametrize("extent", [2, np.int64(2), np.uint8(2), "2"])
def test_whole_numbers_of_any_kind(extent: Any) -> None:
    made = kcompiler.compile(open_linear(), dims={"batch": extent})
    assert made.compilation.outputs[0][1].shape[0] == 2  # type: ignore[union-attr]


def test_buckets_and_shapes_of_numpy() -> None:
    both: Any = np.array([2, 4])
    made = kcompiler.compile(open_linear(), dims={"batch": both})
    assert [dict(bucket.dims) for bucket, _ in made.buckets] == [{"batch": 2}, {"batch": 4}]
    shape: Any = np.array([3, 96])
    fixed = kcompiler.compile(open_linear(), shapes={"x": shape})
    assert fixed.compilation.inputs[0][1].shape == (3, 96)  # type: ignore[union-attr]


EXTENTS = [2.0, True, np.True_, None, b"2", {"a": 1}, [1.5], ["a"], [True], np.array(2), object()]


@pytest.mark.parametrize("extent", EXTENTS)
def test_other_extents(extent: Any) -> None:
    with pytest.raises(KcompilerError, match="the extent of dimension 'batch' cannot be") as error:
        kcompiler.compile(open_linear(), dims={"batch": extent})
    assert 'dims={"seq": 128}' in error.value.fix


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"dims": 3}, "dims cannot be of type int"),
    ({"dims": [("batch", 2)]}, "dims cannot be of type list"),
    ({"dims": {3: 2}}, "dims: a name cannot be of type int"),
    ({"shapes": 3}, "shapes cannot be of type int"),
    ({"shapes": {"x": 3}}, "the shape of 'x' cannot be of type int"),
    ({"shapes": {"x": (50.0, 96)}}, "the shape of 'x' cannot be of type tuple"),
    ({"values": 3}, "values cannot be of type int"),
    ({"target": None}, "a target cannot be None"),
    ({"target": 3}, "a target cannot be of type int"),
    ({"model": None}, "a model cannot be None"),
    ({"model": 3}, "a model cannot be of type int"),
    ({"preprocess": 3}, "preprocess cannot be of type int"),
    ({"quantization": 3}, "quantization cannot be of type int"),
]


@pytest.mark.parametrize(("given", "text"), WRONG)
def test_other_arguments_of_compile(given: dict[str, Any], text: str) -> None:
    with pytest.raises(KcompilerError) as error:
        kcompiler.compile(**{"model": linear(), **given})
    assert str(error.value).startswith(f"error: {text}\n")
    assert error.value.fix


@pytest.mark.parametrize("opened", [kcompiler.load, kcompiler.Session])
@pytest.mark.parametrize("source", [None, 3, []])
def test_what_is_no_package(opened: Any, source: Any) -> None:
    with pytest.raises(KcompilerError, match="a package cannot be"):
        opened(source)


RUNS: list[tuple[Any, Any, str]] = [
    (None, None, "inputs cannot be None"),
    (None, [X], "inputs cannot be of type list"),
    (None, X, "inputs cannot be of type ndarray"),
    (None, {3: X}, "inputs: a name cannot be of type int"),
    ("y", {"x": X}, "names of outputs cannot be of type str\n  try: give a list: ['y']"),
    (3, {"x": X}, "names of outputs cannot be of type int"),
]


@pytest.mark.parametrize(("names", "feeds", "text"), RUNS)
def test_other_arguments_of_run(
    names: Any, feeds: Any, text: str, made: kcompiler.CompiledModel
) -> None:
    session = kcompiler.Session(made.to_bytes())
    with pytest.raises(KcompilerError) as error:
        session.run(names, feeds)
    assert str(error.value).startswith(f"error: {text}")
    if names is None:
        for run in (made.run, made.verify if feeds is not None else made.run):
            with pytest.raises(KcompilerError, match="error: inputs"):
                run(feeds)


def test_names_in_a_tuple(made: kcompiler.CompiledModel) -> None:
    (y,) = kcompiler.Session(made.to_bytes()).run(("y",), {"x": X})
    assert y.shape == (50, 40)
