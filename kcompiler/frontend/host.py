"""Work that stays on the host: ONNX nodes kept as a small model, with the reason.

A result whose type no compiler can know (a sequence, text, a shape that depends on values) is
`Pending`: it carries the nodes that compute it, and whatever reads it joins them, until a tensor of
fixed shape comes out. So any part of a network may stay on the host, and the rest still compiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import onnx
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from kcompiler.errors import ModelError, UnsupportedError
from kcompiler.frontend.dims import declared_shape, type_name
from kcompiler.frontend.known import evaluate, worth_a_try
from kcompiler.frontend.pending import OpenInput, Part, Pending, Work, merged
from kcompiler.frontend.tensors import numpy_dtype
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import Host, Item
from kcompiler.graph.types import TensorType

_NUMBERS = "biufcV"  # kinds of numpy; V are those of ml_dtypes
_EMBED = 256  # elements of a constant up to which shape inference sees its value


class Around(Protocol):
    """What is known around a node: the operator sets, and the types that the model declares."""

    @property
    def opsets(self) -> Mapping[str, int]: ...

    @property
    def declared(self) -> Mapping[str, TensorType]: ...


@dataclass
class HostBuilder:
    """Makes `Host` nodes; remembers what they share: IR version, functions, and fresh names."""

    model: ModelProto
    count: int = 0
    names: dict[int, str] = field(default_factory=dict)
    kept: list[Op] = field(default_factory=list)  # keeps the keys of `names` alive

    def place(
        self,
        proto: NodeProto,
        origin: str,
        scope: Around,
        values: Mapping[str, Op | Pending],
        reason: str,
    ) -> list[Op | Pending | None]:
        """The results of a node on the host; `values` are those of all names that it reads."""
        part, outputs = self._join(proto, origin, reason, scope.opsets, values)
        if part.open:  # a graph has no such inputs: all that follows from them comes at the end
            return [Pending(name, part, reason) if name else None for name in outputs]
        known = self._known(part, proto, outputs)
        if known:
            return known
        types = self._types(part, proto, outputs, origin)
        wanted = [name for name in outputs if name]
        for name, original in zip(outputs, proto.output, strict=True):
            if types.get(name) is None:
                types[name] = scope.declared.get(original)
        fixed = [name for name in wanted if types[name] is not None]
        host = self._host(part, fixed, types, reason, origin) if fixed else None
        results: list[Op | Pending | None] = []
        for name in outputs:
            if not name:
                results.append(None)
            elif host is not None and name in fixed:
                results.append(Item(host, fixed.index(name)).with_origin((origin,)))
            else:
                results.append(Pending(name, part, reason))
        return results

    def _known(
        self, part: Part, proto: NodeProto, outputs: Sequence[str]
    ) -> list[Op | Pending | None] | None:
        """The results where all operands are known, as far as they are tensors of numbers."""
        values = {n: op.value for n, op in part.inputs.items() if isinstance(op, Constant)}
        if len(values) < len(part.inputs) or not values or not worth_a_try(proto, values):
            return None
        wanted = [name for name in outputs if name]
        found = evaluate(self.model_of(part, wanted, {}), values)
        if found is None or not all(
            isinstance(v, np.ndarray) and v.dtype.kind in _NUMBERS for v in found
        ):
            return None
        results = dict(zip(wanted, found, strict=True))
        return [Constant(np.asarray(results[name])) if name else None for name in outputs]

    def _join(
        self,
        proto: NodeProto,
        origin: str,
        reason: str,
        opsets: Mapping[str, int],
        values: Mapping[str, Op | Pending],
    ) -> tuple[Part, list[str]]:
        """The node under fresh names, after all nodes that its pending operands need."""
        renamed: dict[str, str] = {}
        own: dict[str, Op] = {}
        for name, value in values.items():
            if isinstance(value, Pending):
                renamed[name] = value.name
            else:
                renamed[name] = self._name(value)
                own[renamed[name]] = value
        copy = _renamed(proto, renamed)
        for i, name in enumerate(proto.output):
            copy.output[i] = self._fresh("h") if name else ""
        alone = Part((Work(copy, origin, reason),), own, dict(opsets))
        before = [v.part for v in values.values() if isinstance(v, Pending)]
        return merged((*before, alone), alone.opsets), list(copy.output)

    def open_input(self, name: str, type_: TypeProto, opsets: Mapping[str, int]) -> Pending:
        """An input of the model that only the host can take."""
        fresh = self._fresh("x")
        part = Part((), {}, dict(opsets), {fresh: OpenInput(name, type_)})
        return Pending(fresh, part, f"input {name!r} is a {type_name(type_)}")

    def _name(self, value: Op) -> str:
        if id(value) not in self.names:
            self.names[id(value)] = self._fresh("x")
            self.kept.append(value)
        return self.names[id(value)]

    def _fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def _types(
        self, part: Part, proto: NodeProto, outputs: Sequence[str], origin: str
    ) -> dict[str, TensorType | None]:
        model = self.model_of(part, [name for name in outputs if name], {})
        if (proto.domain or "ai.onnx") == "com.microsoft":
            return _ort_types(model, origin)
        try:
            inferred = onnx.shape_inference.infer_shapes(
                model, check_type=True, strict_mode=True, data_prop=True
            )
        except Exception as error:  # noqa: BLE001 - onnx raises several kinds, some of them plain
            why, read = _short(str(error)), part.work[-1].proto.input
            operands = ", ".join(str(part.inputs[n].type) for n in read if n in part.inputs)
            fix = f"check the shapes and types of what it reads: {operands}" if operands else ""
            raise ModelError(f"{proto.op_type} is not valid here", origin, why, fix) from None
        infos = {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}
        return {name: _tensor_type(infos.get(name)) for name in outputs if name}

    def _host(
        self,
        part: Part,
        outputs: Sequence[str],
        types: Mapping[str, TensorType | None],
        reason: str,
        origin: str,
    ) -> Host:
        found = {name: t for name in outputs if (t := types[name]) is not None}
        model = self.model_of(part, outputs, found)
        embedded = {t.name for t in model.graph.initializer}
        xs = tuple(op for name, op in part.inputs.items() if name not in embedded)
        data = model.SerializeToString(deterministic=True)
        return Host(xs, data, tuple(found.values()), reason).with_origin((origin,))

    def model_of(
        self,
        part: Part,
        outputs: Sequence[str],
        types: Mapping[str, TensorType],
        embed: int = _EMBED,
    ) -> ModelProto:
        """A part as a model that reads what is no constant of up to `embed` elements."""
        initializers = []
        inputs = [helper.make_value_info(name, i.type) for name, i in part.open.items()]
        for name, op in part.inputs.items():
            if isinstance(op, Constant) and op.type.size <= embed:
                initializers.append(numpy_helper.from_array(op.value, name))
            else:
                inputs.append(_value_info(name, op.type))
        results = [
            _value_info(name, types[name]) if name in types else ValueInfoProto(name=name)
            for name in outputs
        ]
        nodes = [work.proto for work in part.work]
        graph = helper.make_graph(nodes, "host", inputs, results, initializers)
        imports = [helper.make_opsetid(domain, v) for domain, v in sorted(part.opsets.items())]
        return helper.make_model(
            graph,
            opset_imports=imports,
            ir_version=max(3, min(self.model.ir_version, int(onnx.IR_VERSION))),
            functions=self.model.functions,
        )


def _value_info(name: str, type_: TensorType) -> ValueInfoProto:
    elem_type = helper.np_dtype_to_tensor_dtype(type_.dtype)
    return helper.make_tensor_value_info(name, elem_type, type_.shape)


def declared_types(infos: Iterable[ValueInfoProto]) -> dict[str, TensorType]:
    """The types of fixed shape that a graph states for its values."""
    found = {info.name: _tensor_type(info) for info in infos}
    return {name: type_ for name, type_ in found.items() if type_ is not None}


def _tensor_type(info: ValueInfoProto | None) -> TensorType | None:
    if info is None:
        return None
    shape = declared_shape(info.type)
    if shape is None:
        return None
    try:
        return TensorType(numpy_dtype(info.type.tensor_type.elem_type, ""), shape)
    except UnsupportedError:  # text
        return None


def _ort_types(model: ModelProto, origin: str) -> dict[str, TensorType | None]:
    """The types that onnxruntime infers for its own operators, which onnx does not know."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # which would try the same once more, and print
        )
    except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen kinds
        op_type = model.graph.node[-1].op_type
        raise UnsupportedError(
            f"onnxruntime does not take the operator com.microsoft::{op_type}",
            origin,
            _short(str(error)),
            "export with operators of ONNX itself",
        ) from None
    return {o.name: _ort_type(o.type, o.shape) for o in session.get_outputs()}


def _ort_type(name: str, shape: Sequence[int | str | None]) -> TensorType | None:
    kind = name.removeprefix("tensor(").removesuffix(")").upper()
    if kind not in TensorProto.DataType.keys():  # noqa: SIM118 - an enum wrapper, no mapping
        return None
    # Without extents it is a number, or a tensor of which onnxruntime knows no shape.
    if not shape or not all(isinstance(extent, int) for extent in shape):
        return None
    dtype = numpy_dtype(TensorProto.DataType.Value(kind), "")
    return TensorType(dtype, tuple(int(extent or 0) for extent in shape))


def _renamed(proto: NodeProto, names: Mapping[str, str]) -> NodeProto:
    """A copy of a node that reads other names, inside its sub-graphs too."""
    copy = NodeProto()
    copy.CopyFrom(proto)
    _rename_node(copy, names)
    return copy


def _rename_node(node: NodeProto, names: Mapping[str, str]) -> None:
    for i, name in enumerate(node.input):
        node.input[i] = names.get(name, name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            _rename_graph(graph, names)


def _rename_graph(graph: GraphProto, names: Mapping[str, str]) -> None:
    own = {i.name for i in graph.initializer} | {i.name for i in graph.input}
    own |= {name for node in graph.node for name in node.output}
    visible = {old: new for old, new in names.items() if old not in own}
    for node in graph.node:
        _rename_node(node, visible)
    for output in graph.output:
        output.name = visible.get(output.name, output.name)


def _short(text: str) -> str:
    """The first line that says something, without onnx's own address."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else "no reason is given"
