"""The pass simplify: the same function with fewer and cheaper operators."""

from __future__ import annotations

from kcompiler.graph.node import Graph
from kcompiler.passes.cse import settled
from kcompiler.passes.simplify import arithmetic, factors, linear, movement, operands
from kcompiler.passes.simplify.folding import Fold
from kcompiler.pipeline import Pass
from kcompiler.rewrite import Rule

# What absorbs movement and factors comes first: a weight is then never copied only to be turned.
RULES: tuple[Rule, ...] = (
    *linear.RULES,
    *factors.RULES,
    *movement.RULES,
    *arithmetic.RULES,
    *operands.RULES,
)


class Simplify(Pass):
    """Fold constants, remove what does nothing, merge equal nodes, put factors into weights.

    Types and names of inputs and outputs stay. Floats may round differently, by what regrouping
    and folding factors do; integers stay exact. No rule of this pass applies to the result. A
    constant of more than `fold_limit` bytes is folded only where its operands are as large.
    """

    fold_limit: int = 1 << 20

    def run(self, ir: Graph) -> Graph:
        return settled(ir, (*RULES, Fold(self.fold_limit)))
