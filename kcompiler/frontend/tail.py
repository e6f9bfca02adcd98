"""The end of a model that only the host can run: results whose type a run decides.

A graph holds tensors of fixed type. What comes out of a model without one (a list of boxes, text, a
sequence) is computed by nodes that nothing in the graph reads: they are cut off and kept as ONNX.
The graph gives the values that they read as outputs of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from onnx import ModelProto, ValueInfoProto, helper

from kcompiler.frontend.export_hosts import rename
from kcompiler.frontend.host import HostBuilder
from kcompiler.frontend.pending import Part, Pending, merged
from kcompiler.graph.node import Constant, Input, Op


@dataclass(frozen=True)
class Tail:
    """ONNX nodes that run last, on the host, as a model.

    Its inputs are inputs of the model and outputs of the graph, its outputs are the model's, all
    under these names. `operators` are (ONNX node, operator, why it is on the host).
    """

    model: bytes = field(repr=False)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[tuple[str, str, str], ...]


def cut(
    host: HostBuilder, results: Mapping[str, Op | Pending], infos: Sequence[ValueInfoProto]
) -> tuple[tuple[tuple[str, Op], ...], Tail | None]:
    """The outputs of the graph, and the tail that makes the others of the model.

    `results` are the values of the model's outputs, `infos` what it declares of inputs and outputs.
    """
    fixed = {name: value for name, value in results.items() if isinstance(value, Op)}
    ends = {n: v for n, v in results.items() if isinstance(v, Pending) and not _is_input(n, v)}
    if not ends:
        return tuple(fixed.items()), None
    part = merged([v.part for v in ends.values()], next(iter(ends.values())).part.opsets)
    given = _names(part, fixed, {i.name for i in infos})
    outputs = {**fixed, **{given[k]: v for k, v in _read(part).items() if not isinstance(v, Input)}}
    declared = {i.name: i for i in infos}
    model = _model(host, part, ends, given, declared)
    inputs = tuple(i.name for i in model.graph.input)
    operators = {w.origin: (w.origin, w.proto.op_type, w.why) for w in part.work}
    data = model.SerializeToString(deterministic=True)
    return tuple(outputs.items()), Tail(data, inputs, tuple(ends), tuple(operators.values()))


def _is_input(name: str, value: Pending) -> bool:
    """Whether an output is an input of the model as it is."""
    given = value.part.open.get(value.name)
    return given is not None and given.name == name


def _read(part: Part) -> dict[str, Op]:
    """What the nodes read from the graph."""
    return {name: op for name, op in part.inputs.items() if not isinstance(op, Constant)}


def _names(part: Part, fixed: Mapping[str, Op], taken: set[str]) -> dict[str, str]:
    """The names outside, by the names in the nodes: of inputs, of outputs, or new ones."""
    known = {id(op): name for name, op in reversed(list(fixed.items()))}
    names = {name: i.name for name, i in part.open.items()}
    fresh = (n for i in count() if (n := f"tail{i}") not in taken)
    for name, op in _read(part).items():
        names[name] = op.name if isinstance(op, Input) else known.get(id(op)) or next(fresh)
    return names


def _model(
    host: HostBuilder,
    part: Part,
    ends: Mapping[str, Pending],
    names: Mapping[str, str],
    declared: Mapping[str, ValueInfoProto],
) -> ModelProto:
    made = {name for work in part.work for name in work.proto.output}
    direct: dict[str, str] = {}  # nodes' results that are outputs
    copies: list[tuple[str, str]] = []
    for name, value in ends.items():
        if value.name in made and value.name not in direct:
            direct[value.name] = name
        else:
            copies.append((value.name, name))
    model = host.model_of(part, [], {}, embed=1 << 62)
    graph = model.graph
    graph.node.extend(helper.make_node("Identity", [a], [f"{a}/{b}"]) for a, b in copies)
    final = {**names, **direct, **{f"{a}/{b}": b for a, b in copies}}
    prefix = _prefix(final.values())
    for node in graph.node:
        rename(node, final, prefix)
    for value in (*graph.initializer, *graph.input):
        value.name = final.get(value.name, prefix + value.name)
    graph.output.extend(_typed(name, declared[name]) for name in ends)
    return model


def _prefix(names: Collection[str]) -> str:
    """What no name begins with."""
    prefix = "host/"
    while any(name.startswith(prefix) for name in names):
        prefix = "_" + prefix
    return prefix


def _typed(name: str, declared: ValueInfoProto) -> ValueInfoProto:
    """The element type only: shapes that are declared of what a run decides are often wrong."""
    info = ValueInfoProto(name=name)
    info.type.CopyFrom(declared.type)
    if info.type.HasField("tensor_type"):
        info.type.tensor_type.ClearField("shape")
    return info
