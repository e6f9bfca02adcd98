"""A graph as an ONNX model: how what stays on the host reaches onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from kcompiler.errors import CapacityError, UnsupportedError
from kcompiler.frontend.export_hosts import all_nodes, at_opset, opsets_of, place, rename, unfolded
from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import exporter_of
from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Concat, Fused, Host, Item
from kcompiler.graph.types import TensorType

# The oldest opset that has all of our operators: what older models keep on the host is converted,
# what newer ones keep decides.
_OPSET = 18
# The opset that brought an element type.
_SINCE = {
    **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"), 19),
    **dict.fromkeys(("int4", "uint4"), 21),
    "float4_e2m1fn": 23,
    "float8_e8m0fnu": 24,
    **dict.fromkeys(("int2", "uint2"), 25),
}
_IR_VERSION = 10  # the least that has all of these types up to int4
_MOST_BYTES = (1 << 31) - (1 << 20)  # of a protobuf message, with room for the nodes


def export_model(graph: Graph) -> bytes:
    """The model as bytes; the same graph gives the same bytes.

    Inputs and outputs keep their names. Floats narrower than 32 bits are computed in float32 and
    rounded once, as the graph means them. Raises `UnsupportedError` when the host's own nodes fit
    under no common opset, `CapacityError` beyond the 2 GB of a protobuf message.
    """
    exporter = _Exporter(graph)
    exporter.run(graph.nodes)
    data: bytes = exporter.model().SerializeToString(deterministic=True)
    return data


class _Exporter:
    """One export: the names of the values so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        nodes = list(_all(graph))
        self.hosts = {id(n): unfolded(n) for n in nodes if isinstance(n, Host)}
        self.opsets = _opsets(nodes, self.hosts)
        self.net = Net([i.name for i in graph.inputs] + [name for name, _ in graph.outputs])
        self.names: dict[int, str] = {}
        self.results: dict[int, list[str]] = {}  # of hosts
        for op in graph.inputs:
            self._bind(op, op.name)
            self.net.dtypes[op.name] = op.dtype

    def run(self, nodes: Iterable[Op]) -> None:
        """Export nodes whose operands are there; constants follow when they are read."""
        for op in nodes:
            if isinstance(op, Input | Constant):
                continue
            self.net.origin = next(iter(op.origin), self.net.origin)
            if isinstance(op, Host):
                self._host(op)
            elif isinstance(op, Item):
                self._bind(op, self.results[id(op.host)][op.index])
            elif isinstance(op, Fused):
                self._fused(op)
            else:
                self._bind(op, self._small(op))

    def _bind(self, op: Op, name: str) -> None:
        self.names[id(op)] = name

    def _name(self, op: Op) -> str:
        if isinstance(op, Constant) and id(op) not in self.names:
            self._bind(op, self.net.constant(op.value))
        return self.names[id(op)]

    def _small(self, op: Op) -> str:
        known = _of_nothing(op)
        if known is not None:
            return self.net.constant(known)
        return exporter_of(op)(self.net, op, *map(self._name, op.operands))

    def _host(self, op: Host) -> None:
        model = at_opset(self.hosts[id(op)], self.opsets[""], ", ".join(op.origin))
        self.results[id(op)] = place(self.net, op, model, [*map(self._name, op.operands)])

    def _fused(self, op: Fused) -> None:
        for inner, operand in zip(op.body.inputs, op.xs, strict=True):
            self._bind(inner, self._name(operand))
        self.run(op.body.nodes)
        self._bind(op, self._name(op.body.outputs[0][1]))

    def model(self) -> ModelProto:
        """The finished model."""
        nodes = self._with_outputs()
        net, graph = self.net, self.graph
        if sum(t.ByteSize() for t in net.initializers) > _MOST_BYTES:
            raise CapacityError(
                "a part of the model that stays on the host is larger than 2 GB",
                why="an ONNX model in one file can be no larger",
                fix="split the model",
            )
        inputs = [_info(i.name, i.type) for i in graph.inputs]
        outputs = [_info(name, value.type) for name, value in graph.outputs]
        proto = helper.make_graph(nodes, graph.name or "host", inputs, outputs, net.initializers)
        imports = [helper.make_opsetid(d, v) for d, v in sorted(self.opsets.items())]
        version = helper.find_min_ir_version_for(imports, ignore_unknown=True)
        version = min(max(version, _IR_VERSION), int(onnx.IR_VERSION))
        return helper.make_model(
            proto, opset_imports=imports, ir_version=version, producer_name="kcompiler"
        )

    def _with_outputs(self) -> list[NodeProto]:
        """The nodes, with the names of the graph's outputs on the values that they are."""
        made = {name for node in self.net.nodes for name in node.output}
        found: dict[str, str] = {}
        copies = []
        for name, value in self.graph.outputs:
            source = self._name(value)
            if source in made and source not in found:
                found[source] = name
            else:
                copies.append((source, name))
        for node in self.net.nodes:
            rename(node, found)
        identities = [
            helper.make_node("Identity", [found.get(source, source)], [name])
            for source, name in copies
        ]
        return _distinct([*self.net.nodes, *identities])


def _distinct(nodes: list[NodeProto]) -> list[NodeProto]:
    """The nodes, with a number after a name that an earlier one has: onnxruntime wants it so."""
    taken: dict[str, int] = {node.name: 1 for node in nodes}
    seen = set()
    for node in nodes:
        name = node.name
        while node.name in seen:
            taken[name] += 1
            node.name = f"{name}.{taken[name]}"
        if node.name:
            seen.add(node.name)
    return nodes


def _all(graph: Graph) -> Iterator[Op]:
    """The nodes of a graph and of the kernels in it."""
    for node in graph.nodes:
        yield node
        if isinstance(node, Fused):
            yield from _all(node.body)


def _opsets(nodes: Sequence[Op], hosts: Mapping[int, ModelProto]) -> dict[str, int]:
    """The operator sets for everything: ONNX's newest that a type or a host part asks for."""
    found = {"": max([_OPSET, *(_SINCE.get(n.dtype.name, 0) for n in nodes)])}
    for model in hosts.values():
        used = {"" if n.domain == "ai.onnx" else n.domain for n in all_nodes(model.graph)}
        for domain, version in sorted(opsets_of(model).items()):
            if domain not in used:
                continue
            if domain and found.setdefault(domain, version) != version:
                raise UnsupportedError(
                    f"host operators of two versions of {domain} meet",
                    fix="export the model with one version of its operator sets",
                )
            found[domain] = max(found.get(domain, 0), version)
    return found


def _of_nothing(op: Op) -> np.ndarray | None:
    """What an operator gives that reads or makes no element: the values do not matter then."""
    reads = any(o.type.size == 0 for o in op.operands) and not isinstance(op, Concat)
    if op.type.size and not reads:
        return None
    with np.errstate(all="ignore"):
        return op.evaluate(*(np.zeros(o.shape, o.dtype) for o in op.operands))


def _info(name: str, type_: TensorType) -> ValueInfoProto:
    elem_type = helper.np_dtype_to_tensor_dtype(type_.dtype)
    return helper.make_tensor_value_info(name, elem_type, type_.shape)
