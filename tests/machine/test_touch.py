"""Touched bytes against sets of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.conflicts import History
from kcompiler.machine.indices import Indices, indices
from kcompiler.machine.touch import Touch
from tests.machine.interleaving import touched
from tests.machine.toy import pad


def bytes_of(touch: Touch) -> set[int]:
    return {address for run in touched(touch) for address in run}


masks = st.integers(0, 31).map(Indices.of_bits)
touches = st.builds(
    Touch,
    memory=st.sampled_from(["far", "far", "near"]),
    per_core=st.just(False),
    base=st.sampled_from([0, 0, 0, 3, 40]),
    run=st.sampled_from([2, 2, 2, 0, 5]),
    dims=st.one_of(
        st.just(()),
        st.tuples(st.tuples(st.sampled_from([2, 4, -2, 0]), masks)),
        st.tuples(
            st.tuples(st.sampled_from([10, 10, 12, 6, 4, -10]), masks),
            st.tuples(st.sampled_from([2, 2, 2, -2]), masks),
        ),
    ),
)


@given(touches)
def test_bounds(touch: Touch) -> None:
    inside = bytes_of(touch)
    assert touch.empty == (not inside)
    if inside:
        assert (touch.start, touch.stop) == (min(inside), max(inside) + 1)


@given(touches, touches)
def test_common_bytes_are_never_missed(a: Touch, b: Touch) -> None:
    common = bytes_of(a) & bytes_of(b)
    if common and a.memory == b.memory:
        assert a.overlaps(b)
    assert a.overlaps(b) == b.overlaps(a)


windows = st.builds(
    Touch,
    memory=st.just("far"),
    per_core=st.just(False),
    base=st.just(0),
    run=st.just(2),
    dims=st.tuples(st.tuples(st.just(4), masks), st.tuples(st.just(2), masks)),
)


@given(windows, windows)
def test_windows_of_one_row_overlap_though_their_indices_differ(a: Touch, b: Touch) -> None:
    """Dimensions that reach into each other, as those of a sliding window, tell nothing apart."""
    if bytes_of(a) & bytes_of(b):
        assert a.overlaps(b)


def test_such_windows() -> None:
    zero, first, second = (indices(range(i, i + 1)) for i in range(3))
    one = Touch("far", False, 0, 2, ((4, zero), (2, second)))  # 4..5
    two = Touch("far", False, 0, 2, ((4, first), (2, zero)))  # 4..5 too
    assert one.overlaps(two)
    history = History()
    history.add(two, 1)
    assert history.newest(one, 0) == 1


@given(masks, masks, masks, masks)
def test_boxes_of_one_tensor_are_told_apart_exactly(
    a: Indices, b: Indices, c: Indices, d: Indices
) -> None:
    one = Touch("far", False, 7, 2, ((10, a), (2, b)))
    two = Touch("far", False, 7, 2, ((10, c), (2, d)))
    assert one.overlaps(two) == bool(bytes_of(one) & bytes_of(two))


def test_tiles_that_interleave_are_apart() -> None:
    left = Touch("far", False, 0, 2, ((100, indices(range(50))), (2, indices(range(25)))))
    right = Touch("far", False, 0, 2, ((100, indices(range(50))), (2, indices(range(25, 50)))))
    assert left.start < right.start < left.stop
    assert not left.overlaps(right)
    assert left.overlaps(left)


@pytest.mark.parametrize("values", [range(0), range(5), range(3, 9), range(1, 20, 3)])
def test_indices(values: range) -> None:
    found = indices(values)
    assert list(found) == [i for i in range(64) if i in found] == list(values)


some_touches = st.one_of(touches, windows).filter(lambda t: not t.empty)
pasts = st.lists(some_touches, min_size=1, max_size=4).flatmap(
    lambda pool: st.lists(st.sampled_from(pool) | some_touches, max_size=30)
)


@given(pasts, some_touches, st.integers(0, 30))
def test_a_history_finds_the_newest_overlap(past: list[Touch], touch: Touch, known: int) -> None:
    history = History()
    some = [t for t in past if t.memory == touch.memory]
    for number, each in enumerate(some):
        history.add(each, number + 1)
    expected = [n + 1 for n, t in enumerate(some) if t.overlaps(touch) and n + 1 > known]
    assert history.newest(touch, known) == max(expected, default=known)


def test_a_history_remembers_the_latest_time() -> None:
    two = indices(range(2))
    rows = Touch("far", False, 0, 2, ((10, two), (2, two)))
    for touch, other in ((pad(0), pad(5)), (rows, Touch("far", False, 90, 2, ((4, two),)))):
        history = History()
        for number, each in enumerate((touch, other, touch), 1):
            history.add(each, number)
        assert [history.newest(touch, known) for known in range(4)] == [3, 3, 3, 3]
        assert [history.newest(other, known) for known in range(4)] == [2, 2, 2, 3]
