"""Which ONNX nodes a part for the host consists of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onnx import ModelProto

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import (
    Add,
    Cast,
    Div,
    Fused,
    Host,
    Item,
    Max,
    Min,
    Mul,
    Reshape,
    Round,
    Sub,
    TopKIndices,
    TopKValues,
)
from kcompiler.graph.types import is_float

Refused = Sequence[tuple[tuple[str, ...], str]]
_ONNX_NAMES: dict[type[Op], str] = {TopKIndices: "TopK", TopKValues: "TopK"}
_BACK: set[type[Op]] = {Cast, Sub, Mul, Reshape}
_NARROWING: set[type[Op]] = {Cast, Div, Mul, Round, Add, Max, Min, Reshape}


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
        stored = _conversion(op)
        return {k: stored or v for node in op.body.nodes for k, v in _small(node)}.items()
    return () if isinstance(op, Item) else _small(op)


def _conversion(kernel: Fused) -> str:
    """The ONNX operator of a kernel that only stores numbers as integers, or as floats again."""
    pairs = zip(kernel.body.inputs, kernel.operands, strict=True)
    data = [i for i, given in pairs if not isinstance(given, Constant)]
    known = {id(i) for i in kernel.body.inputs} - {id(i) for i in data}
    work = [n for n in kernel.body.nodes if not isinstance(n, Input | Constant)]
    for node in work:
        varying = [o for o in node.operands if id(o) not in known and not isinstance(o, Constant)]
        if len(data) != 1 or len(varying) > 1:
            return ""
    kinds = {type(n) for n in work}
    if kinds <= _BACK and Mul in kinds and is_float(kernel.dtype) > is_float(data[0].dtype):
        return "DequantizeLinear"
    if kinds <= _NARROWING and Round in kinds and is_float(kernel.dtype) < is_float(data[0].dtype):
        return "QuantizeLinear"
    return ""


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
