"""What the analysis calls safe is safe: kept outputs do not depend on what the padding holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from kcompiler.buckets import known
from kcompiler.buckets.analysis import Padded, analyse
from kcompiler.buckets.known import RULES, Known
from kcompiler.buckets.layout import kept, pad, static, unpad
from kcompiler.buckets.spans import ANY, FINITE, ZERO, Span, apply, join, span_of, typed
from kcompiler.errors import UnsupportedError
from kcompiler.graph import operators as ops
from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Graph
from kcompiler.graph.types import BOOL, F32
from kcompiler.scalar import FUNCTIONS
from kcompiler.scalar import apply as compute
from tests.laws.padding_programs import INPUTS, ZEROED, Step, built, programs

BUCKET = {"n": 6, "m": 5}
LEAST = {"n": 2, "m": 2}
OTHERS = ({"n": 5, "m": 3}, {"n": 3, "m": 4}, {"n": 2, "m": 3})
GARBAGE = (0.0, 1.0, -37.5, 1e4)


def proven(steps: list[Step], unknown: frozenset[str] = ZEROED) -> Padded:
    """The analysis of a program; raises `UnsupportedError`."""
    others = [(dims, built(steps, dims)) for dims in OTHERS]
    return analyse(built(steps, BUCKET), INPUTS, BUCKET, LEAST, others, unknown=unknown)


def disagreements(
    steps: list[Step], found: Padded, unknown: frozenset[str] = ZEROED
) -> Iterator[str]:
    """Where kept outputs are not those of the exact graph."""
    rng = np.random.default_rng(len(steps))
    for actual in ({"n": 2, "m": 5}, {"n": 4, "m": 2}, {"n": 6, "m": 4}):
        try:
            exact = built(steps, actual)
        except ValueError:  # a step that is not used makes no sense here
            continue
        feeds = {i.name: rng.standard_normal(i.shape).astype(np.float32) for i in exact.inputs}
        feeds["hide"] = np.ones(actual["n"], np.float32)
        wanted = run_graph(exact, feeds)["out"]
        for garbage in GARBAGE:
            filled = {
                name: spoiled(value, name, actual, garbage if name in unknown else 0.0)
                for name, value in feeds.items()
            }
            value = unpad(
                run_graph(found.graph, filled)["out"], found.outputs["out"], BUCKET, actual
            )
            if not np.allclose(value, wanted, rtol=1e-3, atol=1e-4, equal_nan=True):
                yield f"{actual}, padding {garbage}"


def spoiled(value: Any, name: str, actual: dict[str, int], garbage: float) -> Any:
    """An input with something in its padding."""
    axes = INPUTS[name]
    inside = pad(np.ones(value.shape, bool), axes, BUCKET, actual)
    return np.where(inside, pad(value, axes, BUCKET, actual), np.float32(garbage))


@given(programs())
@settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
def test_garbage_does_not_reach_kept_outputs(steps: list[Step]) -> None:
    try:
        built(steps, BUCKET)
        [built(steps, dims) for dims in OTHERS]
        found = proven(steps)
    except (ValueError, UnsupportedError) as error:
        event(type(error).__name__)
        assume(False)
    event("safe")
    with np.errstate(all="ignore"):
        assert list(disagreements(steps, found)) == []


# Each is safe by another rule, and unsafe once that rule is believed to hold for all.
SAFE: dict[str, list[Step]] = {
    "rows": [("unary", 0, 0, 1), ("shifted", -1, 0, 3)],
    "softmax of a row": [("softmax", 0, 0, 1)],
    "norm of a row": [("normal", 0, 0, 1)],
    "causal": [("product", 0, 0, 0), ("masked", -1, 0, 1), ("softmax", -1, 0, 1),
               ("product", -1, 0, 1)],
    "causal, infinite": [("product", 0, 0, 0), ("masked", -1, 0, 3), ("softmax", -1, 0, 1),
                         ("product", -1, 0, 1)],
    "masked": [("product", 0, 0, 0), ("masked", -1, 0, 2), ("softmax", -1, 0, 1),
               ("product", -1, 0, 1)],
    "causal attention": [("attention", 0, 0, 1), ("attention", -1, 0, 3)],
    "window back": [("convolved", 1, 0, 2)],
    "pool back": [("pooled", 1, 0, 0)],
    "running": [("running", 0, 0, 0)],
    "first": [("sliced", 0, 0, 0)],
    "both halves": [("joined", 0, 0, 0), ("unary", -1, 0, 0)],
    "mixed halves": [("joined", 0, 2, 0), ("unary", -1, 0, 4)],
    "merged": [("merged", 0, 0, 0), ("split", -1, 0, 0)],
    "turned": [("turned", 0, 0, 1), ("merged", -1, 0, 0)],
    "first rows": [("gathered", 0, 0, 0)],
    "repeated": [("repeated", 0, 0, 2), ("merged", -1, 0, 0)],
}  # fmt: skip


@pytest.mark.parametrize("name", SAFE)
def test_the_analysis_knows_what_is_safe(name: str) -> None:
    assert list(disagreements(SAFE[name], proven(SAFE[name]))) == []


UNSAFE: dict[str, list[Step]] = {
    "sum": [("reduced", 0, 0, 0)],
    "maximum": [("reduced", 0, 0, 4)],
    "softmax": [("softmax", 0, 0, 0)],
    "norm": [("normal", 0, 0, 0)],
    "product": [("product", 0, 0, 2)],
    "attention": [("attention", 0, 0, 0)],
    "window": [("convolved", 1, 0, 5)],
    "pool": [("pooled", 1, 0, 2)],
    "last": [("sliced", 0, 0, 8)],
    "backwards": [("running", 0, 0, 8)],
    "across": [("joined", 0, 2, 0), ("running", -1, 0, 0)],
    "best": [("best", 0, 0, 0)],
}


@pytest.mark.parametrize("name", UNSAFE)
def test_what_is_not_safe_is_refused_and_does_go_wrong(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = UNSAFE[name]
    with pytest.raises(UnsupportedError, match="cannot be padded") as error:
        proven(steps)
    assert error.value.why

    # Believe the rules whatever they find: the oracle must see what that does.
    _believe(monkeypatch)
    assert list(disagreements(steps, proven(steps))) != []


def _believe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules that never refuse."""
    everything = {rule: _lenient(rule) for rule in set(RULES.values())}
    for operator, rule in RULES.items():
        monkeypatch.setitem(RULES, operator, everything[rule])


def _lenient(rule: Any) -> Any:
    def believed(op: Any, scene: Any, *operands: Known) -> Known:
        try:
            found: Known = rule(op, scene, *operands)
        except known.UnsafeError:
            axes = []
            for axis, size in enumerate(op.shape):
                try:
                    axes.append(scene.layout_of(axis, size) or static(size))
                except known.UnsafeError:
                    axes.append(static(size))
            return known.built(axes, lambda _: FINITE, FINITE)
        return found

    return believed


# Spans


@given(st.data())
@settings(max_examples=600, deadline=None)
def test_spans_hold_what_functions_give(data: st.DataObject) -> None:
    floats = sorted(name for name, f in FUNCTIONS.items() if f.domain != "integer")
    name = data.draw(st.sampled_from(floats))
    function = FUNCTIONS[name]
    special = st.sampled_from([0.0, 1.0, -1.0, 0.5, -3.0, 2.0, 50.0, -2e4, 3e5])
    numbers = special | st.floats(-9, 9, width=32)
    values = []
    for i in range(function.arity):
        truth = function.domain == "bool" or (name == "where" and i == 0)
        array = np.array(data.draw(st.lists(numbers, min_size=3, max_size=3)), np.float32)
        if data.draw(st.integers(0, 5)) == 0 and not truth:
            array[0] = data.draw(st.sampled_from([-np.inf, np.inf, np.nan]))
        values.append(array > 0 if truth else array)
    dtype = BOOL if function.predicate else F32
    with np.errstate(all="ignore"):
        result = compute(name, dtype, *values)
    found = apply(name, [span_of(v) for v in values], dtype)
    inside(found, result)


def inside(found: Span, value: Any) -> None:
    """A span holds all of an array."""
    wide = value.astype(np.float64)
    real = wide[np.isfinite(wide)]
    slack = 1e-5 * np.abs(real)
    assert (real >= found.lo - slack - 1e-30).all()
    assert (real <= found.hi + slack + 1e-30).all()
    assert found.odd or not (np.isnan(wide).any() or np.isposinf(wide).any())
    assert found.below or found.odd or not np.isneginf(wide).any()


@pytest.mark.parametrize(
    ("found", "dtype", "wanted"),
    [
        (Span(0, 300), np.uint8, Span(0, 255)),
        (Span(-1, 5), np.uint8, Span(0, 255)),
        (Span(1, 5), np.uint8, Span(1, 5)),
        (ANY, np.int32, Span(-(2**31), 2**31 - 1)),
        (ANY, np.int64, FINITE),
        (Span(0, 7e4), np.float16, ANY),
        (FINITE, np.float16, FINITE),
        (Span(0, 2), np.bool_, Span(0, 1)),
    ],
)
def test_element_types_wrap_and_overflow(found: Span, dtype: Any, wanted: Span) -> None:
    assert typed(found, np.dtype(dtype)) == wanted


def test_join_keeps_a_mask_only_where_both_are() -> None:
    hidden = replace(span_of(np.array([-np.inf, -1e5])), seen=True)
    assert hidden.masked
    assert not join(hidden, ZERO).masked
    assert join(hidden, ZERO).seen
    assert not join(hidden, replace(hidden, seen=False)).seen


# Layouts


@given(st.integers(0, 6), st.integers(0, 5))
def test_unpad_takes_what_pad_put(n: int, m: int) -> None:
    axes = (INPUTS["x"][0] + INPUTS["z"][0], INPUTS["x"][1])
    actual = {"n": n, "m": m}
    value = np.arange((n + m) * 4).reshape(n + m, 4) + 1
    wide = pad(value, axes, BUCKET, actual)
    assert wide.shape == (11, 4)
    assert (wide[kept(axes[0], BUCKET, actual)] == value).all()
    assert wide.sum() == value.sum()
    np.testing.assert_array_equal(unpad(wide, axes, BUCKET, actual), value)


def test_every_operator_has_a_rule_with_a_reason() -> None:
    for rule in RULES.values():
        assert (rule.__doc__ or "").strip().endswith(".")
    assert RULES[ops.Elementwise] is known.rule_for(ops.Relu(constant(0, F32)))


def test_another_graph_at_other_extents() -> None:
    steps: list[Step] = [("unary", 0, 0, 0)]
    other: Graph = built([*steps, ("unary", -1, 0, 0)], OTHERS[0])
    with pytest.raises(UnsupportedError, match="another graph"):
        analyse(built(steps, BUCKET), INPUTS, BUCKET, LEAST, [(OTHERS[0], other)])
