"""The pass fuse: every operator becomes part of one kernel."""

from __future__ import annotations

from kcompiler.graph.node import Graph, Op
from kcompiler.graph.operators import Fused
from kcompiler.passes.fuse.build import Materializer, fused, supported
from kcompiler.passes.fuse.groups import Grouping, Limits
from kcompiler.passes.fuse.numbers import own_numbers
from kcompiler.pipeline import Pass


class Fuse(Pass):
    """Put all operators into `Fused` nodes, one a kernel; Input, Constant, Host and Item stay.

    A kernel has one anchor with the element-wise work around it, or element-wise work alone, or
    moves data. Movement operators are views inside of who reads them where strides can express
    that; else the kernel before writes its result moved, or a kernel copies. No work is done twice.
    The result computes the same numbers bit for bit. A kernel has at most `max_inputs` tensors to
    read (unless a single operator has more) and `max_members` operators. For a chip that moves
    bytes alone, `integer` keeps kernels of floats apart from those of bytes, and each reader of a
    byte makes its own number of it.
    """

    max_inputs: int = 6
    max_members: int = 40
    integer: bool = False

    def run(self, ir: Graph) -> Graph:
        if self.integer:
            ir = own_numbers(ir)
        limits = Limits(self.max_inputs, self.max_members, supported, self.integer)
        plan = Materializer(ir, Grouping(ir, limits).run())
        groups = plan.run()
        made: dict[int, Op] = {}
        roots = {id(g.root): g for g in groups}
        for node in ir.nodes:
            if id(node) in roots:
                kernel = fused(roots[id(node)], plan.stored)
                made[id(node)] = kernel.with_operands([made[id(x)] for x in kernel.xs])
            elif plan.stored(node):
                made[id(node)] = node.with_operands([made[id(o)] for o in node.operands])
        outputs = tuple((name, made[id(value)]) for name, value in ir.outputs)
        return Graph(ir.name, ir.inputs, outputs)


__all__ = ["Fuse", "Fused"]
