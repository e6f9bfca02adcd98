"""Constant folding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import Add, Broadcast, Dequantize, Fused, Host, Transpose
from kcompiler.pattern import node, reading
from kcompiler.rewrite import Match, Rule
from kcompiler.sample import number, weight


@dataclass(frozen=True)
class Fold(Rule):
    """An operator whose operands are all constants is a constant.

    A result of more than `limit` bytes is made only if the operands need as many: repeating a small
    tensor is work for the chip, turning a large one is not. Quantized weights stay quantized: what
    reads them may take them as they are.
    """

    limit: int = 1 << 20
    pattern = reading(Constant, node(Op), every=True)
    exact = True

    def check(self, match: Match) -> str | None:
        root = match.root
        if isinstance(root, Host | Fused):
            return "it is not ours to evaluate"
        if isinstance(root, Dequantize):
            return "quantized constants stay so"
        needed = sum(o.type.nbytes for o in root.operands)
        if root.type.nbytes > max(self.limit, needed):
            return f"the result takes {root.type.nbytes} bytes, its operands {needed}"
        return None

    def build(self, match: Match) -> Op:
        values = [o.value for o in match.root.operands if isinstance(o, Constant)]
        return constant(match.root.evaluate(*values), match.root.dtype)

    def example(self, rng: np.random.Generator) -> Op:
        x = weight(rng, 3, 4)
        return (Transpose(x, (1, 0)), Add(x, number(1)), Broadcast(x, (2, 3, 4)))[rng.integers(3)]
