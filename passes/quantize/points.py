"""Which tensors lie in memory as integers."""

from __future__ import annotations

from collections.abc import Iterable

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Item
from kcompiler.graph.types import F32
from kcompiler.passes.fuse.build import supported
from kcompiler.passes.fuse.groups import Grouping, Limits
from kcompiler.passes.quantize.layers import Layer, pooled, source


def needed(graph: Graph, layers: Iterable[Layer], *, pools: bool = True) -> list[Op]:
    """What products read, and pools too."""
    read = [x for layer in layers for x in layer.data] + (pooled(graph) if pools else [])
    return _distinct(graph, (source(x) for x in read))


def every(graph: Graph, layers: Iterable[Layer]) -> list[Op]:
    """Every tensor of float32 between kernels, and outputs: for chips that hold nothing else."""
    groups = Grouping(graph, Limits(6, 40, supported)).run()
    found = (source(op) for op in (*graph.inputs, *(g.root for g in groups)))
    outputs = [value for _, value in graph.outputs]
    return _distinct(graph, (*found, *needed(graph, layers)), outputs)


def _distinct(graph: Graph, ops: Iterable[Op], outputs: Iterable[Op] = ()) -> list[Op]:
    """Each once, in the order of the graph; what only leaves it stays, but for these `outputs`."""
    wanted, leaving = {id(op) for op in ops}, {id(op) for op in outputs}
    return [
        op
        for op in graph.nodes
        if id(op) in wanted and _fits(op) and (graph.users[id(op)] or id(op) in leaving)
    ]


def _fits(op: Op) -> bool:
    if isinstance(op, Constant) or op.dtype != F32:
        return False
    return isinstance(op, Input | Item) or bool(op.operands)
