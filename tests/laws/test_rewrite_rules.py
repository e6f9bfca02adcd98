"""Every rule is right alone: both sides of it give the same numbers on random instances."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Input, Op, topological
from kcompiler.graph.operators import Add, Mul
from kcompiler.graph.types import is_float
from kcompiler.passes import expand, integer, recognize, simplify
from kcompiler.passes.simplify.folding import Fold
from kcompiler.pattern import Any, Number, node
from kcompiler.rewrite import Match, NoMatch, Rule, apply
from kcompiler.sample import number, tensor, values

RULES = (*simplify.RULES, Fold(), *recognize.RULES, *integer.RULES, *expand.RULES)
TRIES = 12


def evaluate(root: Op, rng: np.random.Generator) -> Array:
    """The value of a node, on random inputs."""
    inputs = tuple(n for n in topological([root]) if isinstance(n, Input))
    # The name decides the values, so that both sides read the same.
    seed = int(rng.integers(1 << 30))
    given = {
        i.name: values(np.random.default_rng([seed, zlib.crc32(i.name.encode())]), i.type)
        for i in inputs
    }
    return run_graph(Graph("g", inputs, (("y", root),)), given)["y"]


def differs(rule: Rule, seed: int) -> str | None:
    """What is wrong with one random application of a rule."""
    root = rule.example(np.random.default_rng(seed))
    new = apply(rule, root)
    if isinstance(new, NoMatch):
        return f"does not apply to its own example: {new.reason}"
    before = evaluate(root, np.random.default_rng([seed, 1]))
    after = evaluate(new, np.random.default_rng([seed, 1]))
    if rule.exact or not is_float(root.dtype):
        same = np.array_equal(before, after, equal_nan=is_float(root.dtype))
    else:
        size = np.nanmax(np.abs(before[np.isfinite(before)]), initial=1e-3)
        same = np.allclose(before, after, rtol=2e-5, atol=1e-5 * size, equal_nan=True)
    return None if same else f"seed {seed}: {before} became {after}"


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_both_sides_agree(rule: Rule) -> None:
    assert [found for seed in range(TRIES) if (found := differs(rule, seed))] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_a_rule_explains_itself(rule: Rule) -> None:
    assert type(rule).__doc__
    refused = apply(rule, Add(tensor("p", 2), tensor("q", 2)))
    assert isinstance(refused, NoMatch)
    assert refused.reason


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_a_replacement_says_where_it_comes_from(rule: Rule) -> None:
    root = rule.example(np.random.default_rng(0))
    leaves = {id(n) for n in topological([root]) if isinstance(n, Input | Constant)}
    named: dict[int, Op] = {}
    for i, old in enumerate(topological([root])):
        moved = old.with_operands([named[id(o)] for o in old.operands])
        named[id(old)] = moved if id(old) in leaves else moved.with_origin([f"n{i}"])
    new = apply(rule, named[id(root)])
    assert not isinstance(new, NoMatch)
    for made in topological([new]):
        assert made.origin or isinstance(made, Input | Constant)


class Wrong(Rule):
    """x * 2 is x + 3: a planted fault."""

    pattern = node(Mul, Any("x"), Number(2))

    def build(self, match: Match) -> Op:
        return Add(match["x"], number(3))

    def example(self, rng: np.random.Generator) -> Op:
        del rng
        return Mul(tensor("x", 4), number(2))


def test_a_wrong_rule_is_seen() -> None:
    assert "became" in str(differs(Wrong(), 0))


def test_names_of_rules_are_unique() -> None:
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))
