"""Functions of the model, and those by which ONNX defines its own operators; all are inlined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TypeProto,
    defs,
    helper,
)

from kcompiler.errors import ModelError
from kcompiler.frontend import schemas
from kcompiler.frontend.names import subgraphs
from kcompiler.frontend.pending import Pending
from kcompiler.frontend.scope import Scope, Value

if TYPE_CHECKING:
    from kcompiler.frontend.importer import Importer

Key = tuple[str, str, str]


def table(model: ModelProto) -> dict[Key, FunctionProto]:
    """The model's functions by domain, name and overload; raises `ModelError` for a recursion."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    calls = {key: _calls(f.node, functions) for key, f in functions.items()}
    done: set[Key] = set()
    for root in functions:
        path: list[tuple[Key, Iterator[Key]]] = [(root, iter(calls[root]))]
        while path:
            key, rest = path[-1]
            callee = next(rest, None)
            if callee is None:
                done.add(key)
                path.pop()
            elif callee in [k for k, _ in path]:
                raise _recursion([k for k, _ in path], callee)
            elif callee not in done:
                path.append((callee, iter(calls[callee])))
    return functions


def _recursion(path: list[Key], callee: Key) -> ModelError:
    cycle = [*path[path.index(callee) :], callee]
    return ModelError(
        f"the function {callee[1]!r} of the model calls itself",
        why=" calls ".join(f"{domain}::{name}" for domain, name, _ in cycle),
        fix="ONNX forbids recursion; write it as a Loop",
    )


def _calls(nodes: Sequence[NodeProto], functions: Mapping[Key, FunctionProto]) -> list[Key]:
    found: list[Key] = []
    for node in nodes:
        key = (node.domain, node.op_type, node.overload)
        if key in functions:
            found.append(key)
        for graph in subgraphs(node):
            found += _calls(graph.node, functions)
    return list(dict.fromkeys(found))


def standard_body(
    proto: NodeProto,
    schema: Any,  # an OpSchema or None; the stubs of onnx lack what is read here
    opsets: Mapping[str, int],
    values: Mapping[str, Value],
) -> FunctionProto | None:
    """The function by which ONNX itself defines an operator, or None."""
    if schema is None or not (schema.has_function or schema.has_context_dependent_function):
        return None
    if any(isinstance(v, Pending) for v in values.values()):
        return None
    version = opsets.get(schema.domain, 1)
    body = _static_body(schema, version) if schema.has_function else None
    if body is None and schema.has_context_dependent_function:
        body = _body_for_types(proto, schema, version, values)
    if body is None:
        return None
    if not body.opset_import:
        body.opset_import.append(helper.make_opsetid("", version))
    return body


def _static_body(schema: Any, version: int) -> FunctionProto | None:
    fitting = [v for v in schema.function_opset_versions if v <= version]
    if not fitting:
        return None
    body = FunctionProto()
    body.ParseFromString(schema.get_function_with_opset_version(max(fitting)))
    return body


def _body_for_types(
    proto: NodeProto, schema: Any, version: int, values: Mapping[str, Value]
) -> FunctionProto | None:
    fitting = [v for v in schema.context_dependent_function_opset_versions if v <= version]
    if not fitting:
        return None
    types = [_type_bytes(values.get(name)) for name in proto.input]
    data = schema.get_context_dependent_function_with_opset_version(
        max(fitting), proto.SerializeToString(), types
    )
    body = FunctionProto()
    body.ParseFromString(data)
    return body if body.node else None


def _type_bytes(value: Value | None) -> bytes:
    if value is None or isinstance(value, Pending):
        return b""
    elem_type = helper.np_dtype_to_tensor_dtype(value.dtype)
    type_: TypeProto = helper.make_tensor_type_proto(elem_type, value.shape)
    data: bytes = type_.SerializeToString()
    return data


def call(
    importer: Importer, function: FunctionProto, proto: NodeProto, name: str, scope: Scope
) -> list[Value | None]:
    """The results of a call: the body's nodes are imported in a scope of their own."""
    if len(proto.input) > len(function.input) or len(proto.output) > len(function.output):
        raise ModelError(
            f"function {function.name!r} takes {len(function.input)} operands and gives "
            f"{len(function.output)} results, this call has {len(proto.input)} and "
            f"{len(proto.output)}"
        )
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in function.opset_import}
    schemas.check_opsets(opsets)
    inner = Scope({**scope.opsets, **opsets}, None, f"{name}/", scope.depth + 1)
    for parameter, operand in zip(function.input, proto.input, strict=False):
        if operand:
            inner.values[parameter] = scope[operand]
    graph = GraphProto()
    graph.node.extend(_instantiated(n, _arguments(function, proto)) for n in function.node)
    _drop_absent(graph, {p for p in function.input if p not in inner.values})
    for output, wanted in zip(function.output, proto.output, strict=False):
        if wanted:
            graph.output.add(name=output)
    results = iter(importer.graph(graph, inner))
    return [next(results) if wanted else None for wanted in proto.output]


def _arguments(function: FunctionProto, proto: NodeProto) -> dict[str, AttributeProto]:
    given = {a.name: a for a in function.attribute_proto}
    given.update({a.name: a for a in proto.attribute})
    if function.name == proto.op_type and not proto.domain:
        given = _schema_defaults(proto) | given
    return given


def _schema_defaults(proto: NodeProto) -> dict[str, AttributeProto]:
    """ONNX's own functions refer to defaults that stand in the schema."""
    attributes = defs.get_schema(proto.op_type).attributes
    return {name: a.default_value for name, a in attributes.items() if a.default_value.type != 0}


def _instantiated(node: NodeProto, arguments: Mapping[str, AttributeProto]) -> NodeProto:
    """A node of a body with the caller's attributes in place; one that is not given disappears."""
    copy = NodeProto()
    copy.CopyFrom(node)
    _substitute(copy, arguments)
    return copy


def _substitute(node: NodeProto, arguments: Mapping[str, AttributeProto]) -> None:
    kept: list[AttributeProto] = []
    for attribute in node.attribute:
        final = AttributeProto()
        if not attribute.ref_attr_name:
            final.CopyFrom(attribute)
        elif attribute.ref_attr_name in arguments:
            final.CopyFrom(arguments[attribute.ref_attr_name])
            final.name = attribute.name
        else:
            continue
        for graph in (final.g, *final.graphs) if final.type in _GRAPHS else ():
            for inner in graph.node:
                _substitute(inner, arguments)
        kept.append(final)
    del node.attribute[:]
    node.attribute.extend(kept)


_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _drop_absent(graph: GraphProto, absent: set[str]) -> None:
    """Operands that the caller left out are absent inside too."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in absent:
                node.input[i] = ""
