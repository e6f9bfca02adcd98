"""Which outputs of an ONNX model depend on random numbers: two runs of it give different ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from onnx import numpy_helper

from kcompiler.frontend.names import in_order, reads, subgraphs
from kcompiler.frontend.source import open_source

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, NodeProto

Functions: TypeAlias = "Mapping[tuple[str, str], FunctionProto]"

DRAWING = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial"}
)
_TRAINING = 2  # the input of Dropout that says whether numbers are dropped


def random_outputs(source: str | bytes) -> frozenset[str]:
    """The outputs that something random leads to, through sub-graphs and functions too."""
    model = open_source(source).model
    functions = {(f.domain, f.name): f for f in model.functions}
    outputs = [o.name for o in model.graph.output]
    off = _false(model.graph)
    random: set[str] = set()
    for _, node in in_order(model.graph, outputs):
        if _draws(node, functions, off) or not random.isdisjoint(reads(node)):
            random |= {name for name in node.output if name}
    return frozenset(random.intersection(outputs))


def _draws(node: NodeProto, functions: Functions, off: frozenset[str]) -> bool:
    """Whether a node, or one inside of it, draws numbers."""
    function = functions.get((node.domain, node.op_type))
    if function is not None:
        inner = {key: f for key, f in functions.items() if f is not function}  # none calls itself
        return _any_draws(function.node, inner, frozenset())
    if node.domain in {"", "ai.onnx"}:
        if node.op_type in DRAWING:
            return True
        given = node.input[_TRAINING] if len(node.input) > _TRAINING else ""
        if node.op_type == "Dropout" and given and given not in off:
            return True
    return any(_any_draws(g.node, functions, off | _false(g)) for g in subgraphs(node))


def _any_draws(nodes: Iterable[NodeProto], functions: Functions, off: frozenset[str]) -> bool:
    return any(_draws(node, functions, off) for node in nodes)


def _false(graph: GraphProto) -> frozenset[str]:
    """The constants of one element that are 0 or False."""
    tensors = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    small = {n: t for n, t in tensors.items() if not t.external_data and list(t.dims) in ([], [1])}
    return frozenset(n for n, t in small.items() if not numpy_helper.to_array(t).any())
