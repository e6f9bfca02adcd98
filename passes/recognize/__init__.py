"""The pass recognize: composites that exporters write out in small operators."""

from __future__ import annotations

from kcompiler.graph.node import Graph
from kcompiler.passes import simplify
from kcompiler.passes.cse import settled
from kcompiler.passes.recognize import activations, attention, norms
from kcompiler.passes.simplify.folding import Fold
from kcompiler.pipeline import Pass
from kcompiler.rewrite import Rule

RULES: tuple[Rule, ...] = (*norms.RULES, *activations.RULES, *attention.RULES)


class Recognize(Pass):
    """Replace activations, norms, softmax and attention written out in small operators by one each.

    Works on what `simplify` leaves, and simplifies as it goes. Floats may round differently.
    """

    def run(self, ir: Graph) -> Graph:
        return settled(ir, (*RULES, *simplify.RULES, Fold()))
