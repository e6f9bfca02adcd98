"""Errors of outputs: bounds, ratios, infinities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kcompiler.machine.indices import Indices
from kcompiler.machine.touch import Touch
from kcompiler.report.summary import describe
from kcompiler.verify.ladder import compare
from kcompiler.verify.locate import indices_of

INF, NAN = np.inf, np.nan


def test_equal() -> None:
    error = compare(np.array([1.0, INF, NAN]), np.array([1.0, INF, NAN]))
    assert (error.max_abs_err, error.sqnr_db, error.nonfinite) == (0, None, 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "count"),
    [([INF], [1.0], 1), ([1.0], [NAN], 1), ([INF], [-INF], 1), ([NAN, 2.0], [INF, 2.0], 1)],
)
def test_not_finite(ours: list[float], theirs: list[float], count: int) -> None:
    error = compare(np.array(ours), np.array(theirs))
    assert error.nonfinite == count
    assert error.max_abs_err == 0


def test_the_ratio_is_that_of_powers() -> None:
    error = compare(np.array([1.01, -1.01]), np.array([1.0, -1.0]))
    assert error.sqnr_db == pytest.approx(40)
    assert error.max_abs_err == pytest.approx(0.01)


def test_another_shape() -> None:
    assert compare(np.zeros((2, 3)), np.zeros((3, 2))).nonfinite == 6


def test_integers_do_not_wrap() -> None:
    error = compare(np.array([0], np.uint8), np.array([255], np.uint8))
    assert error.max_abs_err == 255


@given(hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-1e3, 1e3, width=32)))
def test_the_largest_error_is_the_largest(values: np.ndarray) -> None:
    noise = np.linspace(-1, 2, values.size)
    found = compare(values.astype(np.float64) + noise, values)
    assert found.max_abs_err == pytest.approx(np.abs(noise).max(), abs=1e-9)


sets = st.integers(1, 63).map(Indices.of_bits)


@st.composite
def touches(draw: st.DrawFn) -> tuple[Touch, dict[int, tuple[int, ...]]]:
    """A touch, and for each byte that it reaches the indices of one way there."""
    run = draw(st.integers(1, 4))
    dims = draw(st.lists(st.tuples(st.integers(-40, 40), sets), max_size=3).map(tuple))
    base = draw(st.integers(0, 1000))
    reached: dict[int, tuple[int, ...]] = {}
    grids = [list(own) for _, own in dims]
    for point in np.ndindex(*(len(g) for g in grids)):
        index = tuple(g[p] for g, p in zip(grids, point, strict=True))
        start = base + sum(s * i for (s, _), i in zip(dims, index, strict=True))
        for offset in range(run):
            reached.setdefault(start + offset, index)
    return Touch("m", False, base, run, dims), reached


@given(touches())
def test_indices_are_found_where_a_touch_reaches_and_nowhere_else(
    case: tuple[Touch, dict[int, tuple[int, ...]]],
) -> None:
    touch, reached = case
    for address in range(min(reached) - 3, max(reached) + 4):
        found = indices_of(touch, address)
        assert (found is not None) == (address in reached)
        if found is not None:
            steps = zip(touch.dims, found, strict=True)
            start = touch.base + sum(stride * i for (stride, _), i in steps)
            assert start <= address < start + touch.run
            assert all(i in own for (_, own), i in zip(touch.dims, found, strict=True))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([NAN, NAN, INF], "3 of 3 not finite, not compared"),
        ([NAN, 1.0, 2.0], "none, 1 of 3 not finite, not compared"),
        ([1.0, 2.0], "none"),
        ([], "none"),
    ],
)
def test_what_is_not_compared_is_said(values: list[float], text: str) -> None:
    error = compare(np.array(values), np.array(values))
    assert describe(error) == text
    assert error.proves == (not values or bool(np.isfinite(values).any()))
    near = compare(np.array([*values, 1.5]), np.array([*values, 1.0]))
    assert describe(near).startswith("at most 0.5, SQNR")
    assert ("not compared" in describe(near)) == ("not compared" in text)
