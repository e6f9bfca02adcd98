"""The driver of rules: fixpoints, orders, reasons, shared nodes; and the patterns under it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph.build import scalar
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Add, Erf, Exp, Mul, Relu, Sub, Tanh, Transpose
from kcompiler.graph.types import F32, TensorType
from kcompiler.passes import recognize, simplify
from kcompiler.passes.cse import merge_equal
from kcompiler.passes.simplify.folding import Fold
from kcompiler.pattern import Any, Bindings, Failure, Number, Pattern, chain, node, one_of, reading
from kcompiler.rewrite import Match, NoMatch, Rewriter, Rule, Uses, apply, rewrite
from kcompiler.sample import number, tensor, weight

RULES = (*simplify.RULES, *recognize.RULES, Fold())


def graph_of(*outputs: Op) -> Graph:
    found = Graph("g", (), tuple((f"y{i}", o) for i, o in enumerate(outputs)))
    inputs = tuple(n for n in found.nodes if isinstance(n, Input))
    return Graph("g", inputs, found.outputs)


def fits(pattern: Pattern, op: Op) -> int:
    """In how many ways a pattern fits."""
    return sum(1 for _ in pattern.match(op, Bindings(), Failure()))


X, Y, Z = tensor("x", 2, 3), tensor("y", 2, 3), tensor("z", 2, 3)


@pytest.mark.parametrize(
    ("pattern", "op", "ways"),
    [
        (node(Add, Any("a"), Number(1)), Add(number(1), X), 1),
        (node(Add, Any("a"), Any("b")), Add(X, Y), 2),
        (node(Sub, Any("a"), Number(1)), Sub(number(1), X), 0),
        (node(Mul, Any("a"), Any("a")), Mul(X, X), 1),
        (node(Mul, Any("a"), Any("a")), Mul(X, Y), 0),
        (node((Erf, Tanh), Any()), Tanh(X), 1),
        (one_of(node(Erf, Any()), node(Tanh, Any())), Tanh(X), 1),
        (chain(Mul, Any("a"), Number(2), node(Exp, Any("a"))), Mul(Exp(X), Mul(X, number(2))), 1),
        (chain(Mul, Any("a"), Number(2), node(Exp, Any("a"))), Mul(Mul(number(2), Exp(X)), X), 1),
        (chain(Mul, Any("a"), Number(2), node(Exp, Any("a"))), Mul(Exp(Y), Mul(X, number(2))), 0),
        (Number(0.5), Constant(np.full((2, 2), 0.5, np.float32)), 1),
        (Number(0.5), Constant(np.array([0.5, 0.6], np.float32)), 0),
        (Number(0.7978845608), number(0.797885), 1),
        (Number(0.7978845608), number(0.79), 0),
    ],
)
def test_patterns(pattern: Pattern, op: Op, ways: int) -> None:
    assert fits(pattern, op) == ways


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (X, "Input:f32[2,3] is not Mul"),
        (Mul(X, Y), "Input:f32[2,3] is not Add"),
        (Mul(X, Add(Tanh(Y), number(1))), "Tanh:f32[2,3] is not Erf"),
        (Mul(X, Add(Erf(Y), number(2))), "2.0 is not 1"),
    ],
)
def test_a_no_match_tells_the_deepest_mismatch(op: Op, reason: str) -> None:
    gelu = node(Mul, Any("x"), node(Add, node(Erf, Any()), Number(1)))
    failure = Failure()
    assert not list(gelu.match(op, Bindings(), failure))
    assert failure.reason == reason


class Peel(Rule):
    """relu(x) is x, a planted fault, when nobody else reads x."""

    pattern = node(Relu, node(Exp, Any("x"), name="inner"))
    exclusive = True

    def build(self, match: Match) -> Op:
        return match["inner"]

    def example(self, rng: np.random.Generator) -> Op:
        del rng
        return Relu(Exp(X))


def test_an_exclusive_rule_leaves_shared_nodes() -> None:
    shared = Exp(X).with_origin(["node 7"])
    refused = apply(Peel(), Relu(shared), Uses.of(graph_of(Relu(shared), Tanh(shared))))
    assert refused == NoMatch("Exp (node 7) is also used elsewhere")
    alone = Relu(shared)
    assert apply(Peel(), alone, Uses.of(graph_of(alone))) is not refused
    assert rewrite(graph_of(Relu(shared), Tanh(shared)), [Peel()]).nodes[-1].operands


def test_a_graph_output_counts_as_a_reader() -> None:
    shared = Exp(X)
    top = Relu(shared)
    assert isinstance(apply(Peel(), top, Uses.of(graph_of(top, shared))), NoMatch)


class Spin(Rule):
    """x + y is y + x: never settles."""

    pattern = node(Add, Any("x"), Any("y"))

    def build(self, match: Match) -> Op:
        return Add(match["y"], match["x"])

    def example(self, rng: np.random.Generator) -> Op:
        del rng
        return Add(X, Y)


def test_rules_that_do_not_settle_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="do not settle: Spin"):
        rewrite(graph_of(Add(X, Y)), [Spin()])


class Retype(Rule):
    """Changes the type: a planted fault."""

    pattern = node(Relu, Any("x"))

    def build(self, match: Match) -> Op:
        return Transpose(match["x"], (1, 0))

    def example(self, rng: np.random.Generator) -> Op:
        del rng
        return Relu(X)


def test_a_rule_must_keep_the_type() -> None:
    with pytest.raises(TypeError, match="rule Retype turns"):
        rewrite(graph_of(Relu(X)), [Retype()])


def test_nothing_to_do_gives_the_same_graph() -> None:
    graph = graph_of(Exp(Add(X, Y)))
    assert rewrite(graph, RULES) is graph
    assert merge_equal(graph) is graph


def random_graph(seed: int) -> Graph:
    """Examples of rules on top of each other: what one leaves, another may take."""
    rng = np.random.default_rng(seed)
    parts: list[Op] = [X, Y]
    for _ in range(12):
        a, b = (parts[rng.integers(len(parts))] for _ in range(2))
        c = scalar(a, float(rng.choice([0, 0.5, 1, 2, 3, 6])))
        w = weight(rng, 2, 1)
        made: list[Op] = [
            Add(a, b), Mul(a, b), Sub(a, c), Mul(a, c), Add(a, c), Mul(a, w), Relu(a), Tanh(a),
            Transpose(Transpose(a, (1, 0)), (1, 0)),
            Mul(a, Add(Erf(Mul(a, number(0.70710678))), number(1))),
        ]  # fmt: skip
        parts.append(made[rng.integers(len(made))])
    return graph_of(parts[-1], parts[-2])


@given(st.integers(0, 10**6))
def test_the_order_of_rules_never_changes_truth(seed: int) -> None:
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    given_ = {i.name: rng.uniform(-1.5, 1.5, i.shape).astype(np.float32) for i in graph.inputs}
    with np.errstate(all="ignore"):
        before = run_graph(graph, given_)
    for _ in range(3):
        order = [RULES[i] for i in rng.permutation(len(RULES))]
        with np.errstate(all="ignore"):
            after = run_graph(rewrite(graph, order), given_)
        for name, value in before.items():
            finite = np.isfinite(value)
            size = np.abs(value[finite]).max(initial=1.0)
            np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-4 * size)


class Counted(Peel):
    """Peel, that counts how often it looks."""

    looks = 0

    def check(self, match: Match) -> str | None:
        del match
        Counted.looks += 1
        return "never"


def test_a_node_is_tried_in_vain_but_once() -> None:
    graph = graph_of(Tanh(Relu(Exp(Add(X, Y)))))
    driver = Rewriter([Counted()])
    assert driver.run(graph) is graph
    assert driver.run(graph) is graph
    assert Counted.looks == 1


def test_a_shared_node_is_tried_again() -> None:
    shared = Exp(X)
    driver = Rewriter([Peel()])
    both = graph_of(Relu(shared), Tanh(shared))
    assert driver.run(both) is both
    alone = graph_of(both.outputs[0][1])
    assert driver.run(alone).outputs[0][1] is shared


@given(st.integers(0, 10**6))
def test_rules_are_looked_up_by_classes_without_losing_any(seed: int) -> None:
    for op in random_graph(seed).nodes:
        for rule in RULES:
            left = rule.pattern.narrowed(type(op), [type(o) for o in op.operands])
            assert fits(rule.pattern, op) == (fits(left, op) if left else 0), rule.name


def test_a_pattern_may_ask_what_its_root_reads() -> None:
    some, every = (reading(Exp, node(Add), every=every) for every in (False, True))
    a, b = Exp(X), Exp(Y)
    found = [[fits(p, op) for op in (Add(X, Y), Add(a, Y), Add(a, b))] for p in (some, every)]
    assert found == [[0, 1, 1], [0, 0, 1]]
    assert fits(every, X) == 0


def test_time_is_linear_in_the_size_of_the_graph() -> None:
    def seconds(count: int) -> float:
        x: Op = Input("x", TensorType(F32, (4,)))
        for i in range(count):
            x = Relu(Add(Mul(x, number(1)), number(float(i % 5) - 7)))
        graph = graph_of(x)
        start = time.process_time()
        rewrite(graph, RULES)
        return time.process_time() - start

    seconds(50)
    many, few = (min(seconds(n) for _ in range(3)) for n in (1600, 200))
    assert many < 16 * max(few, 0.01)
