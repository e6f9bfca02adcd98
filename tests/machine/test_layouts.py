"""Byte sets in different layouts against sets of bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine import layouts
from kcompiler.machine.conflicts import History
from kcompiler.machine.indices import Indices, indices
from kcompiler.machine.touch import Touch
from tests.machine.interleaving import touched


def bytes_of(touch: Touch) -> set[int]:
    return {address for run in touched(touch) for address in run}


def ranges(most: int) -> st.SearchStrategy[Indices]:
    return st.tuples(st.integers(0, most), st.integers(0, most)).map(
        lambda p: indices(range(min(p), max(p) + 1))
    )


masks = ranges(12) | st.integers(1, 1 << 9).map(Indices.of_bits)
LADDERS: tuple[list[int], ...] = (
    [2, 14, 98], [2, 98], [14, 98], [98], [2, 28, 196], [14, 2], [4, 2], [2, 4, 8, 16],
    [-2, 14], [2, -14, 98], [14, 0, 2], [2, 2], [28, 28, 2], [],
)  # fmt: skip
MIXED = (*LADDERS, [6, 4], [10, 4, 2], [3], [12, 2])


@st.composite
def touches(draw: st.DrawFn, ladders: tuple[list[int], ...], bases: list[int]) -> Touch:
    dims = tuple((stride, draw(masks)) for stride in draw(st.sampled_from(ladders)))
    run = draw(st.sampled_from([2, 2, 4, 14]))
    return Touch("far", False, 500 + draw(st.sampled_from(bases)), run, dims)


dense = touches(LADDERS, [0, 0, 2, 14, 196, -98])
odd = touches(MIXED, [0, 0, 1, 2, 3, 14, 98])


@given(dense, dense)
def test_dense_layouts_are_told_apart_exactly(a: Touch, b: Touch) -> None:
    strides = sorted({abs(s) for t in (a, b) for s, _ in t.dims if s})
    divide = all(y % x == 0 for x, y in pairwise(strides))
    common = bool(bytes_of(a) & bytes_of(b))
    assert a.overlaps(b) == common or (not divide and not common)
    assert a.overlaps(b) == b.overlaps(a)


@given(odd, odd)
def test_common_bytes_are_never_missed(a: Touch, b: Touch) -> None:
    if bytes_of(a) & bytes_of(b):
        assert a.overlaps(b)


@given(st.lists(dense, max_size=12), dense, st.integers(0, 12))
def test_a_history_is_as_exact(past: list[Touch], touch: Touch, known: int) -> None:
    history = History()
    for number, each in enumerate(past, 1):
        history.add(each, number)
    expected = [n for n, t in enumerate(past, 1) if t.overlaps(touch) and n > known]
    assert history.newest(touch, known) == max(expected, default=known)


def rows(first: int, count: int) -> Touch:
    """Rows of all 64 channels of [64, 56, 56], 2 bytes an element, as a load takes them."""
    mask = indices(range(first, first + count))
    dims = ((6272, indices(range(64))), (112, mask), (2, indices(range(56))))
    return Touch("far", False, 4096, 2, dims)


def pixels(first: int, count: int) -> Touch:
    """The same tensor as [64, 3136], as a store leaves it."""
    dims = ((6272, indices(range(64))), (2, indices(range(first, first + count))))
    return Touch("far", False, 4096, 2, dims)


@pytest.mark.parametrize("first", [0, 3, 100, 1000])
def test_tiles_of_neighbouring_kernels(first: int) -> None:
    tile = pixels(first, 200)
    for row in range(56):
        meets = row * 56 < first + 200 and (row + 1) * 56 > first
        assert tile.overlaps(rows(row, 1)) == meets


def test_too_much_work_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scattered = Touch(
        "far", False, 0, 2, ((2, indices(range(1, 4000, 2))), (14, indices(range(1))))
    )
    assert not pixels(0, 100).overlaps(rows(40, 3))
    assert scattered.overlaps(Touch("far", False, 0, 2, ((14, indices(range(1, 3))),)))
    monkeypatch.setattr(layouts, "_MOST_PIECES", 1)
    layouts._products.cache_clear()
    assert pixels(0, 100).overlaps(rows(40, 3))
    layouts._products.cache_clear()


def test_large_tensors_are_quick() -> None:
    """Half a million indices in two layouts; what is larger proves nothing."""
    half = 1 << 19
    one = Touch("far", False, 0, 2, ((2, indices(range(half))),))
    two = Touch("far", False, 2 * half, 2, ((1024, indices(range(8))), (2, indices(range(512)))))
    assert not one.overlaps(two)
    run = Touch("far", False, 0, 1 << 30, ())
    inside = Touch("far", False, 4, 2, ((1 << 20, indices(range(2))),))
    assert run.overlaps(inside)
