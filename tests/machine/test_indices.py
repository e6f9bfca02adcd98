"""Sets of indices against sets."""

from hypothesis import given
from hypothesis import strategies as st

from kcompiler.machine.indices import Indices, indices

some = st.builds(range, st.integers(0, 40), st.integers(0, 90), st.integers(1, 7))
alike = st.integers(1, 5).flatmap(
    lambda step: st.lists(
        st.builds(range, st.integers(0, 40), st.integers(0, 60), st.just(step)), max_size=6
    )
)
tiles = st.lists(st.integers(0, 30), min_size=4, max_size=12).map(
    lambda starts: [range(4 * s, 4 * s + 1 + s % 3) for s in starts]
)
unions = st.lists(some, max_size=4) | alike | tiles


def members(ranges: list[range]) -> set[int]:
    return {i for r in ranges for i in r}


@given(unions)
def test_a_union_is_the_union(ranges: list[range]) -> None:
    found, wanted = Indices.of(ranges), members(ranges)
    assert list(found) == sorted(wanted)
    assert all((i in found) == (i in wanted) for i in range(200))
    assert found.count == len(wanted)
    assert bool(found) == bool(wanted)
    if wanted:
        assert (found.low, found.high) == (min(wanted), max(wanted))
        assert found.bits << found.low == sum(1 << i for i in wanted)
        assert Indices.of_bits(found.bits << found.low) == Indices.of(
            [range(i, i + 1) for i in wanted]
        )


@given(unions, unions)
def test_meeting_is_having_an_index_in_common(a: list[range], b: list[range]) -> None:
    one, two = Indices.of(a), Indices.of(b)
    assert one.meets(two) == two.meets(one) == bool(members(a) & members(b))


@given(alike)
def test_ranges_of_one_step_are_as_few_as_they_can_be(ranges: list[range]) -> None:
    found = Indices.of(ranges).ranges
    assert all(
        a.start % a.step != b.start % b.step or b.start > a[-1] + a.step
        for k, a in enumerate(found)
        for b in found[k + 1 :]
        if a.step == b.step
    )


def test_equal_ranges_are_one_object() -> None:
    assert indices(range(3, 9)) is indices(range(3, 9))


def test_billions_are_as_quick_as_two() -> None:
    """A step without a common factor: the first common index is far away."""
    even, third = indices(range(0, 1 << 40, 1 << 20)), indices(range(1, 1 << 40, 3))
    assert even.meets(third)
    assert not even.meets(indices(range(1, 1 << 40, 1 << 20)))
    assert Indices.of([range(1 << 40), range(1 << 40, 1 << 41)]).ranges == (range(1 << 41),)
