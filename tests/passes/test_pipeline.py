"""Pipelines: options in text, the hook, and what a pass must declare."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.errors import UsageError
from kcompiler.pipeline import Pass, Step, hooks, parse_pipeline, print_pipeline, run


class Double(Pass):
    """Twice as much, some times."""

    times: int = 1
    strict: bool = False
    rate: float = 0.5
    mode: str = "plain"

    def run(self, ir: int) -> int:
        return ir << self.times


class Bare(Pass):
    """No options."""

    def run(self, ir: int) -> int:
        return ir + 1


HOW = "  try: write it as: name, name{option=value, option=value}"
REGISTRY = {"double": Double, "bare": Bare}


def test_passes_run_in_order_and_the_hook_sees_each() -> None:
    seen: list[Step] = []
    assert run([Double(), Bare(), Double(times=2)], 3, seen.append) == 28
    assert [(s.index, s.before, s.after) for s in seen] == [(0, 3, 6), (1, 6, 7), (2, 7, 28)]
    assert all(s.seconds >= 0 for s in seen)


def test_hooks_are_called_in_order() -> None:
    seen: list[str] = []
    both = hooks(lambda _: seen.append("a"), None, lambda _: seen.append("b"))
    run([Bare()], 0, both)
    assert seen == ["a", "b"]


def test_a_hook_may_stop_the_pipeline() -> None:
    def stop(step: Step) -> None:
        raise ValueError(step.step.name)

    with pytest.raises(ValueError, match="test_pipeline"):
        run([Bare(), Double()], 0, stop)


def test_the_name_of_a_pass_is_that_of_its_module() -> None:
    assert Double.name == Bare.name == __name__.rpartition(".")[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("bare", (Bare(),)),
        ("double{times=3}, bare", (Double(times=3), Bare())),
        ("double{strict=true,mode=fast, rate=2}", (Double(strict=True, mode="fast", rate=2.0),)),
        ("double{mode='a b'}", (Double(mode="a b"),)),
    ],
)
def test_options_in_text(text: str, expected: tuple[Pass, ...]) -> None:
    assert parse_pipeline(text, REGISTRY) == expected


@given(
    st.builds(
        Double, st.integers(0, 9), st.booleans(), st.floats(0, 9), st.text("ab1 .", max_size=4)
    )
)
def test_text_and_back(step: Double) -> None:
    text = print_pipeline([step]).replace(Double.name, "double")
    assert parse_pipeline(text, REGISTRY) == (step,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dubble", "error: there is no pass named 'dubble'\n  try: one of: bare, double"),
        (
            "bare{x=1}",
            "error: the pass 'bare' has no option 'x'\n  try: its options: it has none",
        ),
        (
            "double{times=many}",
            "error: option 'times' of the pass 'double' is a int, not 'many'",
        ),
        ("double{times=true}", "error: option 'times' of the pass 'double' is a int, not 'true'"),
        (
            "double{times=1,times=2}",
            "error: cannot read the options 'times=1,times=2' of the pass 'double'",
        ),
        (
            "bare,",
            f"error: cannot read the pipeline 'bare,'\n  at: column 1\n{HOW}",
        ),
        (
            "bare;double",
            f"error: cannot read the pipeline 'bare;double'\n  at: column 1\n{HOW}",
        ),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pipeline(text, REGISTRY)
    assert str(caught.value) == message


def test_a_pass_needs_a_docstring() -> None:
    with pytest.raises(TypeError, match="has no docstring"):

        class _Silent(Pass):
            pass


def test_an_option_needs_a_default() -> None:
    with pytest.raises(TypeError, match="option size has no default"):

        class _Needy(Pass):
            """Needs a size."""

            size: int


def test_options_that_are_no_text_are_shown_as_such() -> None:
    class _Chip(Pass):
        """For one chip."""

        chip: Any = None

    assert str(_Chip(chip=object())) == f"{_Chip.name}{{chip=<object>}}"
