"""What quantization decided, and how far each layer is from float32."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kcompiler.graph.node import Graph
from kcompiler.passes.quantize.sensitivity import Sensitivity
from kcompiler.passes.quantize.walk import Decisions, LayerReport


@dataclass(frozen=True)
class Stored:
    """A tensor that lies in memory as integers."""

    name: str
    scale: float
    zero: int
    observer: str


@dataclass(frozen=True)
class Report:
    """Tables of tensors and of layers; `sensitivity` where layers were kept in float."""

    tensors: tuple[Stored, ...]
    layers: tuple[LayerReport, ...]
    sensitivity: tuple[Sensitivity, ...] = field(default=())

    def json(self) -> dict[str, Any]:
        """The report as an object."""
        return {
            "tensors": [dict(vars(t)) for t in self.tensors],
            "layers": [dict(vars(row)) for row in self.layers],
            "sensitivity": [dict(vars(row)) for row in self.sensitivity],
        }


def reported(graph: Graph, made: Decisions, rows: tuple[Sensitivity, ...]) -> Report:
    """The report of decisions."""
    tensors = []
    for node in graph.nodes:
        if id(node) in made.schemes:
            scheme = made.schemes[id(node)]
            name = node.origin[-1] if node.origin else getattr(node, "name", repr(node))
            tensors.append(Stored(name, scheme.scale, scheme.zero, made.observers[id(node)]))
    return Report(tuple(tensors), tuple(made.layers), rows)
