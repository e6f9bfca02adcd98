"""Values that have no fixed type while a model is imported, and the ONNX nodes that make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from onnx import NodeProto, TypeProto

from kcompiler.errors import UnsupportedError
from kcompiler.graph.node import Input, Op, topological


@dataclass(frozen=True, eq=False)
class Work:
    """An ONNX node for the host, under names of its own; `origin` is its name in the model."""

    proto: NodeProto
    origin: str
    why: str


@dataclass(frozen=True)
class OpenInput:
    """An input of the model that is no tensor of numbers of fixed shape."""

    name: str
    type: TypeProto


@dataclass(frozen=True, eq=False)
class Part:
    """ONNX nodes in order, and the values that they read, by the names used in the nodes."""

    work: tuple[Work, ...]
    inputs: Mapping[str, Op]
    opsets: Mapping[str, int]
    open: Mapping[str, OpenInput] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Pending:
    """A value that the host computes and that is no tensor of fixed type; `why` is for the user."""

    name: str
    part: Part
    why: str


def merged(parts: Iterable[Part], opsets: Mapping[str, int]) -> Part:
    """All parts as one, each node once; raises `UnsupportedError` where their opsets differ."""
    work: dict[int, Work] = {}
    inputs: dict[str, Op] = {}
    open_: dict[str, OpenInput] = {}
    known = dict(opsets)
    for part in parts:
        for domain, version in part.opsets.items():
            if known.setdefault(domain, version) != version:
                raise _of_two_opsets(domain, known[domain], version)
        work.update((id(w), w) for w in part.work)
        inputs.update(part.inputs)
        open_.update(part.open)
    return Part(tuple(work.values()), inputs, known, open_)


def _of_two_opsets(domain: str, one: int, other: int) -> UnsupportedError:
    return UnsupportedError(
        "host operators of two opsets meet",
        why=f"some are of opset {one} of {domain or 'ai.onnx'}, others, of a function of the model "
        f"or of the standard, of opset {other}",
        fix="convert the model to one opset: onnx.version_converter",
    )


def inputs_of(value: object) -> list[str]:
    """The inputs of the graph that a value is computed from."""
    roots = value.part.inputs.values() if isinstance(value, Pending) else (value,)
    nodes = topological(v for v in roots if isinstance(v, Op))
    return [n.name for n in nodes if isinstance(n, Input)]
