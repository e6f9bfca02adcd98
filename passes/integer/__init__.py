"""The pass integer: what works on quantized tensors works on their integers."""

from __future__ import annotations

from kcompiler.graph.node import Constant, Graph, Op
from kcompiler.graph.operators import Contract, Conv, Dequantize, Quantize
from kcompiler.graph.types import is_integer
from kcompiler.passes import simplify
from kcompiler.passes.cse import settled
from kcompiler.passes.integer import contract, conv, eights, movement, narrow, scales, sums
from kcompiler.passes.integer.eights import EightBitFloats
from kcompiler.passes.simplify.folding import Fold
from kcompiler.pipeline import Pass
from kcompiler.rewrite import Rule

RULES: tuple[Rule, ...] = (
    *movement.RULES,
    *conv.RULES,
    *contract.RULES,
    *narrow.RULES,
    *sums.RULES,
    *scales.RULES,
    *eights.RULES,
)


class Integer(Pass):
    """Turn operators between Dequantize and Quantize into integer ones; none of both is left.

    Scales and zero points are law. Products of 8-bit integers add up in int32, exactly, with the
    bias; then one float32 factor, rounding half to even, the zero point, and saturation. Padding
    holds the zero point. Data that are moved, joined or compared stay integers. What has no integer
    form computes on the numbers that the integers stand for, in float32, inside of its kernel.
    8-bit floats are multiplied as they are where both types are among `eights`, those of the chip;
    their sums are float32.
    """

    eights: tuple[str, ...] = eights.TYPES

    def run(self, ir: Graph) -> Graph:
        if not any(map(_concerns, ir.nodes)):
            return ir
        own = (r for r in RULES if not isinstance(r, EightBitFloats))
        rules = (*own, EightBitFloats(self.eights), *simplify.RULES, Fold())
        return _Arithmetic(settled(ir, rules)).run()


def _concerns(op: Op) -> bool:
    product = isinstance(op, Contract | Conv) and is_integer(op.dtype)
    return product or isinstance(op, Quantize | Dequantize)


class _Arithmetic:
    """Replaces what is left of both operators; every reader makes its own numbers of integers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.new: dict[int, Op] = {}
        self.constants: dict[int, Op] = {}

    def run(self) -> Graph:
        """The graph without Quantize and Dequantize."""
        for node in self.graph.nodes:
            if not isinstance(node, Dequantize):
                moved = node.with_operands([self._read(o) for o in node.operands])
                made = _spelled(moved) if isinstance(moved, Quantize) else moved
                self.new[id(node)] = made
        outputs = tuple((name, self._read(value)) for name, value in self.graph.outputs)
        return Graph(self.graph.name, self.graph.inputs, outputs)

    def _read(self, op: Op) -> Op:
        if not isinstance(op, Dequantize):
            return self.new[id(op)]
        operands = [self._read(o) for o in op.operands]
        if not all(isinstance(o, Constant) for o in operands):
            return _spelled(op.with_operands(operands))
        if id(op) not in self.constants:
            values = [o.value for o in operands if isinstance(o, Constant)]
            self.constants[id(op)] = Constant(op.evaluate(*values)).with_origin(op.origin)
        return self.constants[id(op)]


def _spelled(op: Quantize | Dequantize) -> Op:
    """The arithmetic of an operator, with its origin."""
    given = {id(o) for o in op.operands}
    return _with_origin(op.arithmetic(), given, op.origin)


def _with_origin(op: Op, given: set[int], origin: tuple[str, ...]) -> Op:
    if id(op) in given or isinstance(op, Constant):
        return op
    operands = [_with_origin(o, given, origin) for o in op.operands]
    return op.with_operands(operands).with_origin(origin)
