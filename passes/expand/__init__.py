"""The pass expand: operators that no engine has, written out in operators that engines have.

Why here and how: docs/adr/0013-what-no-engine-has-is-expanded-late.md.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kcompiler.graph.build import cast
from kcompiler.graph.node import Constant, Graph, Op, topological
from kcompiler.graph.operators import CumSum, TopKIndices, TopKValues
from kcompiler.graph.running import DIRECT, running
from kcompiler.graph.types import I64
from kcompiler.passes.cse import merge_equal
from kcompiler.passes.expand import order
from kcompiler.pattern import node, one_of
from kcompiler.pipeline import Pass
from kcompiler.rewrite import Match, Rule, rewrite
from kcompiler.sample import tensor

Refusal = Callable[[Op], str | None]

MOST_PAIRS = 1 << 25
"""Pairs of elements that are compared or summed for one operator; the host is faster beyond."""


def accept(_: Op) -> None:
    """The refusal of a target that takes every operator."""


@dataclass(frozen=True)
class _Expansion(Rule):
    """A rule that keeps an operator where its expansion is refused too."""

    refusal: Refusal = accept

    def check(self, match: Match) -> str | None:
        if self.refusal is not accept and self.refusal(match.root) is None:
            return "the target has it"
        if 0 in match.root.shape or 0 in match.root.operands[0].shape:
            return "there is nothing to compute"
        if self.pairs(match.root) > MOST_PAIRS:
            return f"it would take more than {MOST_PAIRS:,} pairs of elements"
        known = {id(n) for n in topological(match.root.operands)}
        made = (n for n in topological([self.build(match)]) if id(n) not in known)
        reasons = (self.refusal(n) for n in made if not isinstance(n, Constant))
        return next((r for r in reasons if r is not None), None)

    @abstractmethod
    def pairs(self, op: Op) -> int:
        """Pairs of elements that the expansion compares or sums."""


class RunningSum(_Expansion):
    """A running sum is the sum of what a mask lets through, in blocks where the axis is long."""

    pattern = node(CumSum)

    def pairs(self, op: Op) -> int:
        return op.type.size * DIRECT

    def build(self, match: Match) -> Op:
        op = match.node(CumSum, "root")
        return running(op.x, op.axis, "sum", exclusive=op.exclusive, reverse=op.reverse)

    def example(self, rng: np.random.Generator) -> Op:
        shape = ((3, 5, 2), (2, 300), (131, 3), (1,))[rng.integers(4)]
        axis = int(np.argmax(shape))
        return CumSum(tensor("x", *shape), axis, bool(rng.integers(2)), bool(rng.integers(2)))


class BestByRank(_Expansion):
    """The k best are those of rank 0 to k - 1, found by comparing pairs, in blocks where long."""

    pattern = one_of(node(TopKValues), node(TopKIndices))
    exact = True

    def pairs(self, op: Op) -> int:
        if not isinstance(op, TopKValues | TopKIndices):
            raise TypeError(f"not a TopK: {op!r}")
        count = op.x.shape[op.axis]
        return order.comparisons(op.x.type.size // max(count, 1), count, op.k)

    def build(self, match: Match) -> Op:
        op = match.root
        if not isinstance(op, TopKValues | TopKIndices):
            raise TypeError(f"not a TopK: {op!r}")
        values, indices = order.best(op.x, op.k, op.axis, largest=op.largest)
        return values if isinstance(op, TopKValues) else cast(indices, I64)

    def example(self, rng: np.random.Generator) -> Op:
        kind = (TopKValues, TopKIndices)[rng.integers(2)]
        shape = ((3, 5, 2), (2, 300), (131, 3), (2, 1000))[rng.integers(4)]
        axis = int(np.argmax(shape))
        k = int(rng.integers(1, min(shape[axis], 9)))
        dtype = np.dtype((np.float32, np.int32)[rng.integers(2)])  # small integers: many are equal
        return kind(tensor("x", *shape, dtype=dtype), k, axis, bool(rng.integers(2)))


RULES: tuple[Rule, ...] = (RunningSum(), BestByRank())


class Expand(Pass):
    """Write out running sums and the k best in reductions and comparisons, which engines have.

    `refusal(operator)` is the reason why the target does not take an operator, or None. An operator
    stays where the target takes it as it is, and where it takes no such expansion, either because
    of its element type or because of too many pairs.
    """

    refusal: Refusal = accept

    def run(self, ir: Graph) -> Graph:
        rules = (RunningSum(self.refusal), BestByRank(self.refusal))
        return merge_equal(rewrite(ir, rules))
