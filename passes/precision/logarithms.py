"""Where rounding would be magnified without bound: sums whose logarithm is taken.

A sum of products is off by up to eps * sum |a_i b_i|, however small the sum itself becomes where
its terms cancel; the logarithm of it is off by that error over the sum. Spectral front ends (a
linear transform, its power, a logarithm) do that for every quiet band of a signal. So such sums
want operands of float32, and so does what those operands are sums of. A non-linear function on the
way ends this: what it makes depends on the size of its operand, and no longer on what cancels.
See docs/adr/0011-sums-before-a-logarithm-are-float32.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kcompiler.graph.node import Constant, Graph, Op
from kcompiler.graph.operators import (
    Abs,
    Add,
    Cast,
    Concat,
    Contract,
    Conv,
    Div,
    Exp,
    Fused,
    Gather,
    Log,
    Max,
    Min,
    Mul,
    Neg,
    Pad,
    Pow,
    Reduce,
    Relu,
    Sigmoid,
    Softmax,
    Sqrt,
    Sub,
    Where,
    Window,
)
from kcompiler.graph.types import is_float
from kcompiler.kernel.views import is_movement
from kcompiler.pattern import splat

# What hands an error on in proportion: sums, products, sizes, choices and movement.
PROPORTIONAL = (
    *(Contract, Conv, Reduce, Window, Add, Sub, Mul, Div, Neg, Abs, Pow, Sqrt),
    *(Max, Min, Where, Cast, Pad, Concat, Gather),
)
NOT_NEGATIVE = (Abs, Sqrt, Exp, Relu, Sigmoid, Softmax)
FAR_FROM_ZERO = 0.5  # a logarithm of more than this at most doubles an error


@dataclass
class Delicate:
    """Kernels by id: `multiplies` take products of float32, `stores` keep a float32 result."""

    multiplies: set[int] = field(default_factory=set)
    stores: set[int] = field(default_factory=set)


def before_logarithms(graph: Graph) -> Delicate:
    """The kernels of a fused graph that lead to a logarithm of a sum that may be nearly nothing."""
    found = Delicate()
    seen: set[int] = set()
    pending = [
        (kernel, node.x)
        for kernel in graph.nodes
        if isinstance(kernel, Fused)
        for node in kernel.body.nodes
        if isinstance(node, Log) and not far_from_zero(node.x)
    ]
    while pending:
        kernel, op = pending.pop()
        for producer in _producers(kernel, op, seen):
            found.multiplies.add(id(kernel))
            if isinstance(producer, Fused):
                found.stores.add(id(producer))
                pending.append((producer, producer.body.outputs[0][1]))
    return found


def _producers(kernel: Fused, op: Op, seen: set[int]) -> Iterator[Op]:
    """What the operands of a kernel are made by that hand their error on to one of its nodes."""
    outside = {id(i): x for i, x in zip(kernel.body.inputs, kernel.xs, strict=True)}
    stack = [op]
    while stack:
        node = stack.pop()
        if id(node) in seen or not is_float(node.dtype):
            continue
        seen.add(id(node))
        if id(node) in outside:
            producer = outside[id(node)]
            while is_movement(producer):
                producer = producer.operands[0]
            yield producer
        elif isinstance(node, PROPORTIONAL) or is_movement(node):
            stack += node.operands


def far_from_zero(op: Op) -> bool:
    """Whether a constant is known to keep a number away from zero, as in log(1 + x * x)."""
    if isinstance(op, Constant):
        number = splat(op)
        return number is not None and number >= FAR_FROM_ZERO
    if is_movement(op) or isinstance(op, Cast):
        return far_from_zero(op.operands[0])
    if isinstance(op, Max):
        return any(map(far_from_zero, op.operands))
    if isinstance(op, Add):
        pairs = (op.operands, op.operands[::-1])
        return any(far_from_zero(c) and not_negative(x) for c, x in pairs)
    return False


def not_negative(op: Op) -> bool:
    """Whether a tensor is known to hold nothing below zero."""
    if isinstance(op, Constant):
        return bool((op.value >= 0).all())
    if is_movement(op) or isinstance(op, Cast | Reduce):
        return not_negative(op.operands[0])
    if isinstance(op, Mul):
        return op.x is op.y or all(map(not_negative, op.operands))
    if isinstance(op, Max):
        return any(map(not_negative, op.operands))
    return isinstance(op, NOT_NEGATIVE)
