"""A graph of narrow floats as one of float32, in which calibration is exact enough to choose."""

from __future__ import annotations

import dataclasses

from kcompiler.graph.build import cast, constant
from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Cast, Contract, Conv, Host, Item
from kcompiler.graph.types import F32, is_float


def widened(graph: Graph) -> Graph:
    """The graph with float16 and bfloat16 tensors as float32; inputs and outputs stay."""
    if not any(_is_narrow(n) for n in graph.nodes):
        return graph
    new: dict[int, Op] = {}
    for node in graph.nodes:
        new[id(node)] = _widened(node, new)
    outputs = tuple((name, cast(new[id(v)], v.dtype)) for name, v in graph.outputs)
    return Graph(graph.name, graph.inputs, outputs)


def _is_narrow(op: Op) -> bool:
    return is_float(op.dtype) and op.dtype.itemsize == 2


def _widened(node: Op, new: dict[int, Op]) -> Op:
    match node:
        case Constant() if _is_narrow(node):
            return constant(node.value, F32).with_origin(node.origin)
        case Input() | Item() if _is_narrow(node):
            return cast(node.with_operands([new[id(o)] for o in node.operands]), F32)
        case Host():
            kept = [cast(new[id(o)], o.dtype) for o in node.operands]
            return node.with_operands(kept)
    operands = [new[id(o)] for o in node.operands]
    if isinstance(node, Cast) and (_is_narrow(node) or _is_narrow(node.x)):
        return cast(operands[0], F32 if is_float(node.dtype) else node.dtype)
    if isinstance(node, Conv | Contract) and _is_narrow(node):
        return _wide_product(node, operands[0], operands[1])
    return node.with_operands(operands)


def _wide_product(op: Conv | Contract, x: Op, y: Op) -> Op:
    if isinstance(op, Contract):
        return dataclasses.replace(op, x=x, y=y, dtype=F32)
    return dataclasses.replace(op, x=x, w=y, dtype=F32)
