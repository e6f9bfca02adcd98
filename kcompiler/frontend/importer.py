"""The walk over an ONNX graph: a node becomes graph nodes, known values, or work for the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from kcompiler.errors import KcompilerError, ModelError, UnsupportedError
from kcompiler.frontend import control, functions, schemas
from kcompiler.frontend.errors import NotExpressible, NotKnown
from kcompiler.frontend.host import HostBuilder, declared_types
from kcompiler.frontend.limits import DEPTH, NODES
from kcompiler.frontend.names import in_order, reads
from kcompiler.frontend.node import Node
from kcompiler.frontend.pending import Pending, inputs_of
from kcompiler.frontend.registry import importers
from kcompiler.frontend.scope import Scope, Value
from kcompiler.frontend.settle import Settler
from kcompiler.frontend.source import Source
from kcompiler.frontend.sparse import dense
from kcompiler.frontend.tensors import check_rank, decode
from kcompiler.frontend.weights import WeightCheck
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.types import TensorType

# What goes wrong inside an importer when a node makes no sense. Bugs of ours look the same; the
# host is tried before anything is reported.
_BROKEN = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    AssertionError,
)
# Operators that have an importer for the usual options, and a body in the standard for the others.
_ONNX_KNOWS_BETTER = frozenset({"Attention"})


class Importer:
    """Imports the graphs of one model."""

    def __init__(self, source: Source, check: WeightCheck) -> None:
        self.source = source
        self.check = check
        self.settle = Settler()
        self.host = HostBuilder(source.model)
        self.functions = functions.table(source.model)
        self.count = 0  # nodes imported
        self.hosted = 0  # nodes left to the host
        self.deciding: list[str] = []  # inputs that nodes wanted to know, maybe several times

    def graph(
        self, graph: GraphProto, scope: Scope, weights: Mapping[int, memoryview] | None = None
    ) -> list[Value]:
        """The values of a graph's outputs; `scope` holds those of its inputs."""
        if scope.depth > DEPTH:
            raise UnsupportedError(f"graphs are nested more than {DEPTH} deep", scope.prefix)
        names = [o.name for o in graph.output]
        order = in_order(graph, names)
        scope.declared = declared_types((*graph.value_info, *graph.output))
        needed = {name for _, node in order for name in reads(node)} | set(names)
        self._initializers(graph, scope, needed, weights or {})
        for index, node in order:
            self.node(node, index, scope)
        return [scope[name] for name in names]

    def _initializers(
        self,
        graph: GraphProto,
        scope: Scope,
        needed: set[str],
        weights: Mapping[int, memoryview],
    ) -> None:
        for index, tensor in enumerate(graph.initializer):
            if tensor.name in needed:
                scope.values[tensor.name] = self._initializer(tensor, weights.get(index), scope)
        for sparse in graph.sparse_initializer:
            if sparse.values.name in needed:
                value = dense(sparse, self.decode)
                scope.values[sparse.values.name] = self.settle.keep(Constant(value))

    def _initializer(self, tensor: TensorProto, raw: memoryview | None, scope: Scope) -> Value:
        if tensor.data_type == TensorProto.STRING:
            node = NodeProto(op_type="Constant", output=[tensor.name])
            node.attribute.add(name="value", type=AttributeProto.TENSOR, t=tensor)
            alone = Scope({"": scope.opsets.get("", schemas.NEWEST)})
            (result,) = self.host.place(node, tensor.name, alone, {}, "it is text")
            return result  # type: ignore[return-value]  # its output has a name
        value = decode(tensor, self.source.external, raw)
        self.check(tensor.name, value)
        return self.settle.keep(Constant(value))

    def decode(self, tensor: TensorProto) -> Array:
        """The value of a tensor inside a node."""
        value = decode(tensor, self.source.external)
        self.check(tensor.name or "of a node", value)
        return value

    def node(self, proto: NodeProto, index: int, scope: Scope) -> None:
        """Import one node and give its outputs their values in `scope`."""
        self.spend(1)
        name = scope.prefix + (proto.name or f"{proto.op_type}_{index}")
        try:
            results = self._results(proto, name, scope)
            for result in results:
                if isinstance(result, Op) and isinstance(result.type, TensorType):
                    check_rank(result.type.rank)
        except KcompilerError as error:
            error.where = error.where or name
            error.args = (error.what, error.where, error.why, error.fix)
            raise
        for output, result in zip(proto.output, results, strict=False):
            if output and result is not None:
                scope.values[output] = result

    def spend(self, nodes: int) -> None:
        """Count nodes against the limit; raises `UnsupportedError` beyond it."""
        self.count += nodes
        if self.count > NODES:
            raise UnsupportedError(
                f"the model has more than {NODES:,} nodes once loops and functions are expanded",
                fix="export the model with its loops kept short, or split it",
            )

    def _results(self, proto: NodeProto, name: str, scope: Scope) -> Sequence[Value | None]:
        function = self.functions.get((proto.domain, proto.op_type, proto.overload))
        if function is not None:
            return functions.call(self, function, proto, name, scope)
        schema = schemas.schema_of(proto, scope.opsets)
        if schema is not None:
            schemas.check(proto, schema)
        values = {n: scope[n] for n in reads(proto)}
        try:
            return self._expressed(proto, name, scope, values)
        except NotExpressible as error:
            reason, deciding = str(error), _deciding(error)
        known = (schemas.domain_of(proto), proto.op_type) in importers()
        body = None
        if not known or proto.op_type in _ONNX_KNOWS_BETTER:
            body = functions.standard_body(proto, schema, scope.opsets, values)
        if body is not None:
            try:
                return functions.call(self, body, proto, name, scope)
            except (ModelError, UnsupportedError) as error:  # a case that it does not foresee
                reason = f"the standard's own function of {proto.op_type} fails: {error.what}"
        self.deciding += deciding
        return self._on_host(proto, name, scope, values, reason)

    def _expressed(
        self, proto: NodeProto, name: str, scope: Scope, values: Mapping[str, Value]
    ) -> Sequence[Value | None]:
        """The results as graph nodes; raises `NotExpressible` with the reason where that fails."""
        if proto.op_type in control.IMPORTERS and not proto.domain:
            return control.IMPORTERS[proto.op_type](self, proto, name, scope)
        pending = next((v for v in values.values() if isinstance(v, Pending)), None)
        if pending is not None:
            raise NotExpressible(pending.why)
        importer = importers().get((schemas.domain_of(proto), proto.op_type))
        if importer is None:
            raise NotExpressible(f"kcompiler has no {proto.op_type} for an NPU")
        view = self.view(proto, name, scope)
        try:
            results = importer(view)
            found = (results,) if isinstance(results, Op) else tuple(results)
            return [None if r is None else self.settle(r, (name,)) for r in found]
        except _BROKEN as error:
            return self._on_host(proto, name, scope, values, _broken(proto, error))

    def view(self, proto: NodeProto, name: str, scope: Scope) -> Node:
        """A node as importers see it."""
        operands = tuple(scope[n] if n else None for n in proto.input)
        attributes = {a.name: a for a in proto.attribute}
        opset = scope.opsets.get(schemas.domain_of(proto), 1)
        return Node(proto, name, opset, operands, attributes, self.decode)  # type: ignore[arg-type]

    def _on_host(
        self, proto: NodeProto, name: str, scope: Scope, values: Mapping[str, Value], reason: str
    ) -> Sequence[Value | None]:
        results = self.host.place(proto, name, scope, values, reason)
        self.hosted += not all(isinstance(r, Constant) for r in results if r is not None)
        return [self.settle.keep(r) if isinstance(r, Op) else r for r in results]


def _broken(proto: NodeProto, error: Exception) -> str:
    """Importers raise `ValueError` on purpose; anything else is a node that they do not foresee."""
    if isinstance(error, ValueError) and str(error):
        return str(error)
    return f"the importer of {proto.op_type} failed ({type(error).__name__}: {error})"


def _deciding(error: NotExpressible) -> list[str]:
    return inputs_of(error.value) if isinstance(error, NotKnown) else []
