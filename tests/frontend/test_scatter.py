"""Operators that write at indices, with known and unknown ones, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.frontend import load_model
from kcompiler.graph.operators import Gather, Reduce
from tests.frontend.oracle import agree, floats, hosts, integers, one

KNOWN = pytest.mark.parametrize("known", [[], [1]], ids=["given", "known"])
REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])


@st.composite
def elements(draw: st.DrawFn) -> tuple[list[Any], int]:
    """Data, indices that name no place twice, updates, and the axis."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    axis = draw(st.integers(0, len(shape) - 1))
    covered = [draw(st.integers(1, n)) for n in shape]
    seed = draw(st.integers(0, 99))
    random = np.random.default_rng(seed)
    order = random.random(
        [n if i == axis else c for i, (n, c) in enumerate(zip(shape, covered, strict=True))]
    )
    at = np.argsort(order, axis).take(range(covered[axis]), axis)
    at = np.where(random.integers(0, 2, at.shape) == 1, at - shape[axis], at)
    return [floats(*shape, seed=seed), at, floats(*at.shape, seed=seed + 1)], axis


@KNOWN
@REDUCTIONS
@given(case=elements())
def test_scatter_elements(case: tuple[list[Any], int], reduction: str, known: list[int]) -> None:
    operands, axis = case
    agree(*one("ScatterElements", operands, known, 18, axis=axis, reduction=reduction))


@KNOWN
@pytest.mark.parametrize("dtype", ["float16", "int32", "int8", "bool"])
def test_scatter_elements_of_other_types(dtype: str, known: list[int]) -> None:
    x, u = integers(0, 2, 5, 4).astype(dtype), integers(0, 2, 2, 4, seed=1).astype(dtype)
    at = np.array([[0, 1, 2, 3], [4, 0, 1, 2]])
    agree(*one("ScatterElements", [x, at, u], known, 18, axis=0))


@KNOWN
def test_the_last_of_several_updates_wins(known: list[int]) -> None:
    x, at, u = floats(6), np.array([1, 3, 1, 1]), floats(4, seed=1)
    agree(*one("ScatterElements", [x, at, u], known, 18))
    agree(*one("ScatterND", [x, at[:, None], u], known, 18))


@KNOWN
@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_several_updates_of_a_place(reduction: str, known: list[int]) -> None:
    x, at, u = floats(6, 3), np.array([[1], [3], [1], [-5]]), floats(4, 3, seed=1)
    agree(*one("ScatterND", [x, at, u], known, 18, reduction=reduction))
    agree(*one("ScatterElements", [x, at.repeat(3, 1), u], known, 18, reduction=reduction))


@KNOWN
@REDUCTIONS
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scatter_nd(depth: int, reduction: str, known: list[int]) -> None:
    x = floats(4, 3, 5)
    places = np.random.default_rng(depth).permutation(int(np.prod(x.shape[:depth])))[:3]
    at = np.stack(np.unravel_index(places, x.shape[:depth]), -1)
    at[0] -= x.shape[:depth]
    u = floats(3, *x.shape[depth:], seed=2)
    agree(*one("ScatterND", [x, at, u], known, 18, reduction=reduction))
    agree(*one("ScatterND", [x, at[:, None], u[:, None]], known, 18, reduction=reduction))


def test_special_numbers_stay_where_they_are() -> None:
    x = np.array([np.inf, np.nan, -np.inf, -0.0, 1], np.float32)
    agree(*one("ScatterElements", [x, np.array([4, 0]), x[1:3]], opset=18))
    agree(*one("ScatterElements", [x, np.array([4, 4]), x[2:4]], opset=18, reduction="add"))


def test_known_indices_are_movement() -> None:
    proto, _ = one("ScatterND", [floats(4, 3), np.array([[1], [2]]), floats(2, 3)], [1], 18)
    kinds = {type(n) for n in load_model(proto).graph.nodes}
    assert not kinds & {Reduce, Gather}


def test_too_many_places_stay_on_the_host() -> None:
    operands = [floats(1 << 15), integers(0, 9, 1 << 13), floats(1 << 13)]
    (host,) = hosts(load_model(one("ScatterElements", operands, opset=18)[0]))
    assert "268,435,456 comparisons of places with indices" in getattr(host, "reason", "")
