"""Numbers that are made of bytes: each reader makes its own, so that no float has to be stored."""

from __future__ import annotations

import dataclasses

from kcompiler.graph.node import Constant, Graph, Op
from kcompiler.graph.operators import Add, Cast, Mul, Sub
from kcompiler.graph.types import is_float, is_integer


def is_byte(op: Op) -> bool:
    """Whether an element is an integer of eight bits."""
    return is_integer(op.dtype) and op.dtype.itemsize == 1


def own_numbers(graph: Graph) -> Graph:
    """The graph with a copy of each such number for each operator that reads it."""
    made: dict[int, Op] = {}
    numbers: set[int] = set()

    def own(op: Op) -> Op:
        if id(op) not in numbers:
            return made[id(op)]
        fresh = op.with_operands([own(x) for x in op.operands])
        return dataclasses.replace(fresh) if fresh is made[id(op)] else fresh

    for node in graph.nodes:
        if _is_number(node, numbers):
            numbers.add(id(node))
            made[id(node)] = node.with_operands([made[id(x)] for x in node.operands])
        else:
            made[id(node)] = node.with_operands([own(x) for x in node.operands])
    outputs = tuple((name, made[id(value)]) for name, value in graph.outputs)
    return Graph(graph.name, graph.inputs, outputs)


def _is_number(op: Op, numbers: set[int]) -> bool:
    """Whether an operator takes a byte, or a number of one, and literals."""
    if not isinstance(op, Cast | Add | Sub | Mul) or not is_float(op.dtype):
        return False
    literal = [isinstance(x, Constant) and x.type.size == 1 for x in op.operands]
    rest = [x for x, known in zip(op.operands, literal, strict=True) if not known]
    return len(rest) == 1 and (is_byte(rest[0]) or id(rest[0]) in numbers)
