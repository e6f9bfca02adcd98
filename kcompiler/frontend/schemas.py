"""What the ONNX standard says of operators: which exist, how many operands, which attributes."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from onnx import ModelProto, NodeProto, defs

from kcompiler.errors import ModelError, UnsupportedError

MICROSOFT = "com.microsoft"
NEWEST = int(defs.onnx_opset_version())
# Operators that onnxruntime has in ONNX's own domain, in all versions: its optimizer writes them.
OF_ONNXRUNTIME = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})
OLDEST = 7  # older ones broadcast by other rules: such models are converted


def domain_of(proto: NodeProto) -> str:
    """The domain of a node, with ONNX's own spelled in one way."""
    return "" if proto.domain == "ai.onnx" else str(proto.domain)


def check_opsets(opsets: Mapping[str, int]) -> None:
    """Raise `UnsupportedError` for a version of ONNX that this package does not know."""
    version = opsets.get("", NEWEST)
    if version > NEWEST:
        raise UnsupportedError(
            f"the model needs ONNX opset {version}",
            why=f"the installed onnx package knows opsets up to {NEWEST}",
            fix="pip install --upgrade onnx, or export with an older opset",
        )


def opsets_of(model: ModelProto) -> dict[str, int]:
    """The operator sets that a model imports, ONNX's own under one name."""
    return {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}


def schema_of(proto: NodeProto, opsets: Mapping[str, int]) -> defs.OpSchema | None:
    """The schema of a node; None for one that onnxruntime alone defines.

    Raises `UnsupportedError` for an operator that nobody defines.
    """
    domain = domain_of(proto)
    if domain == MICROSOFT:
        return None
    if domain not in _names():
        raise UnsupportedError(
            f"unknown operator {domain}::{proto.op_type}",
            why=f"the domain {domain!r} belongs to no operator set that kcompiler knows",
            fix="export the operator as a model-local function, or replace it",
        )
    if domain not in opsets:
        raise ModelError(
            f"the model uses the operator set {domain or 'ai.onnx'!r} but does not import it",
            fix="export the model again: opset_import is incomplete",
        )
    version = opsets[domain]
    if 0 < version < 1 << 31 and defs.has(proto.op_type, version, domain):
        return defs.get_schema(proto.op_type, version, domain)
    if not domain and proto.op_type in OF_ONNXRUNTIME:
        return None
    raise _unknown(proto, domain, version)


def _unknown(proto: NodeProto, domain: str, version: int) -> UnsupportedError:
    known = _names()[domain]
    shown = f"{domain}::{proto.op_type}" if domain else proto.op_type
    near = get_close_matches(proto.op_type, known, 1)
    if proto.op_type in known:
        why = f"opset {version} does not have it"
        fix = "export with the opset that the operator needs"
    else:
        why = f"ONNX up to opset {NEWEST} does not have it"
        fix = f"did you mean {near[0]}?" if near else "replace it by operators of ONNX"
    return UnsupportedError(f"unknown operator {shown}", why=why, fix=fix)


@cache
def _names() -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for schema in defs.get_all_schemas():
        names.setdefault(schema.domain, []).append(schema.name)
    return names


def check(proto: NodeProto, schema: defs.OpSchema) -> None:
    """Raise `ModelError` where a node breaks its schema: operands, results and attributes."""
    rules = _rules(schema)
    for kind, names, low, high in (
        ("operands", proto.input, rules.inputs[0], rules.inputs[1]),
        ("results", proto.output, rules.outputs[0], rules.outputs[1]),
    ):
        if not low <= len(names) <= high:
            allowed = str(low) if low == high else f"{low} to {high}"
            raise ModelError(f"{proto.op_type} takes {allowed} {kind}, this one has {len(names)}")
    for place, name in enumerate(proto.input):
        if not name and not rules.optional[min(place, len(rules.optional) - 1)]:
            raise ModelError(f"{proto.op_type} needs operand {place}, and it is left out")
    given = {a.name for a in proto.attribute}
    for missing in rules.required:
        if missing not in given:
            raise ModelError(f"{proto.op_type} needs the attribute {missing!r}")
    for attribute in proto.attribute:
        wanted = rules.attributes.get(attribute.name)
        if wanted is None:
            raise ModelError(f"{proto.op_type} has no attribute {attribute.name!r}")
        if wanted != attribute.type:
            raise ModelError(f"attribute {attribute.name!r} of {proto.op_type} has a wrong type")


def _number(kind: Any) -> int:
    """The number that `AttributeProto` has for an attribute's type (an enum that stubs lack)."""
    return int(kind.value)


class _Rules:
    """A schema, read once: every access crosses into C++."""

    def __init__(self, schema: defs.OpSchema) -> None:
        self.inputs = (schema.min_input, schema.max_input)
        self.outputs = (schema.min_output, schema.max_output)
        optional = defs.OpSchema.FormalParameterOption.Optional
        # Beyond the last stand more of a variadic operand, of which none may be left out.
        self.optional = [i.option == optional for i in schema.inputs]
        attributes = schema.attributes
        self.attributes = {name: _number(a.type) for name, a in attributes.items()}
        self.required = [name for name, a in attributes.items() if a.required]


_READ: dict[tuple[str, str, int], _Rules] = {}


def _rules(schema: defs.OpSchema) -> _Rules:
    key = (schema.domain, schema.name, schema.since_version)
    if key not in _READ:
        _READ[key] = _Rules(schema)
    return _READ[key]
