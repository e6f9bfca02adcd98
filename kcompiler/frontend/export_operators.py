"""Which ONNX nodes a part for the host consists of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onnx import ModelProto

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Fused, Host, Item, TopKIndices, TopKValues

Refused = Sequence[tuple[tuple[str, ...], str]]
_ONNX_NAMES: dict[type[Op], str] = {TopKIndices: "TopK", TopKValues: "TopK"}


def operators_of(graph: Graph, refused: Refused) -> tuple[tuple[str, str, str], ...]:
    """(ONNX node, operator, why it is on the host), each node once.

    `refused` has the reasons by the origin of a node of the graph. What the importer took apart has
    the name of the graph's operator that came last.
    """
    reasons = dict(refused)
    found: dict[str, tuple[str, str, str]] = {}
    for op in graph.nodes:
        why = op.reason if isinstance(op, Host) else reasons.get(op.origin, "")
        for name, kind in _parts(op):
            found.setdefault(name, (name, kind, why))
    return tuple(found.values())


def _parts(op: Op) -> Iterable[tuple[str, str]]:
    """(ONNX node, operator) of a unit of work."""
    if isinstance(op, Host):
        return _kept(op)
    if isinstance(op, Fused):
        return {k: v for node in op.body.nodes for k, v in _small(node)}.items()
    return () if isinstance(op, Item) else _small(op)


def _small(op: Op) -> Iterator[tuple[str, str]]:
    if not isinstance(op, Input | Constant):
        for name in op.origin:
            yield name, _ONNX_NAMES.get(type(op), type(op).__name__)


def _kept(host: Host) -> Iterator[tuple[str, str]]:
    """The node that `host` stands for comes last; the ones before it make what it reads."""
    *before, last = ModelProto.FromString(host.model).graph.node
    for node in before:
        if node.name:
            yield node.name, node.op_type
    for name in host.origin or (last.name,):
        yield name, last.op_type
