"""Sets of bytes, against their definition: every byte of every element."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.auditor import area as areas
from kcompiler.machine.auditor.area import area, meet

Shape = tuple[int, int, list[tuple[int, int]]]
views = st.tuples(
    st.integers(0, 60),
    st.sampled_from([1, 2, 4, 8]),
    st.lists(st.tuples(st.integers(1, 4), st.integers(-24, 24)), max_size=3),
)


def touched(view: Shape) -> list[int]:
    """All bytes, each as often as it is touched."""
    address, itemsize, loops = view
    steps = product(*(range(n) for n, _ in loops))
    starts = [address + sum(i * s for i, (_, s) in zip(x, loops, strict=True)) for x in steps]
    return [start + b for start in starts for b in range(itemsize)]


def of(view: Shape) -> areas.Area:
    address, itemsize, loops = view
    return area(address, itemsize, [n for n, _ in loops], [s for _, s in loops])


@given(views)
def test_an_area_is_the_bytes_of_its_elements(view: Shape) -> None:
    found, expected = of(view), sorted(set(touched(view)))
    cells = np.zeros(1024, np.bool_)
    found.of(cells, -512, 1)[...] = True
    assert (np.flatnonzero(cells) - 512).tolist() == expected
    assert (found.start, found.stop) == (expected[0], expected[-1] + 1)
    if found.plain:
        assert found.nbytes == len(expected)


@given(views, views)
def test_two_areas_meet_where_they_share_a_byte(one: Shape, two: Shape) -> None:
    both = set(touched(one)) & set(touched(two))
    assert meet(of(one), of(two)) == min(both, default=None)


@pytest.mark.parametrize("second", [(1, 2, [(4, 24)]), (1, 2, [(3, 24), (2, 5)])])
def test_large_areas_are_cut(monkeypatch: pytest.MonkeyPatch, second: Shape) -> None:
    one: Shape = (0, 2, [(3, 6), (5, 20)])
    whole = meet(of(one), of(second))
    monkeypatch.setattr(areas, "_WINDOW", 8)
    assert (meet(of(one), of(second)) is None) == (whole is None)


def test_sets_that_no_memory_holds_are_compared() -> None:
    """Addresses of a terabyte: only where both may be is looked at, in parts."""
    wide = areas.Area(0, 2, ((1 << 41, 3),))
    assert meet(wide, areas.Area((1 << 41) - 4, 1, ((5, 3),))) == (1 << 41) + 1
    assert meet(wide, areas.Area((1 << 41) - 4, 1, ((6, 3),))) is None
    assert meet(areas.Area(0, 1, ((3, 1 << 40),)), areas.Area((1 << 40) + 1, 1 << 40)) is not None
    assert meet(areas.Area(0, 1, ((6, 1 << 40),)), areas.Area(3, 1, ((4, 3),))) is None


@given(views, views, st.sampled_from([1, 8, 32]))
def test_two_areas_meet_or_not_in_parts(one: Shape, two: Shape, window: int) -> None:
    both = set(touched(one)) & set(touched(two))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(areas, "_WINDOW", window)
        found = meet(of(one), of(two))
    assert found in both if both else found is None


def test_overlapping_windows_become_a_run() -> None:
    """A convolution's rows: 5 outputs of stride 2, 3 taps."""
    assert area(10, 2, (5, 3), (4, 2)) == areas.Area(10, 22)
    assert area(10, 2, (5, 2), (8, 2)) == areas.Area(10, 4, ((8, 5),))
