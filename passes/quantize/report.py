"""What quantization decided, and how far each layer is from float32."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from kcompiler.graph.node import Graph
from kcompiler.passes.quantize.measure import OutputReport
from kcompiler.passes.quantize.sensitivity import Sensitivity
from kcompiler.passes.quantize.walk import Decisions, LayerReport


@dataclass(frozen=True)
class Stored:
    """A tensor that lies in memory as integers or 8-bit floats."""

    name: str
    scale: float
    zero: int
    observer: str


@dataclass(frozen=True)
class Report:
    """Tables of outputs, tensors and layers; `sensitivity` where layers were kept in float.

    Ranges come from `samples` runs, of which there were `more`; roundings, biases and ratios from
    the first `walked`. `given` says that the model came quantized. Where `weights` alone are
    integers, in words, layers say how near these are. `kind` says what the narrow numbers are, of a
    model that came quantized nothing. `remarks` are sentences beside the tables.
    """

    tensors: tuple[Stored, ...] = ()
    layers: tuple[LayerReport, ...] = ()
    outputs: tuple[OutputReport, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    samples: int = 0
    walked: int = 0
    more: bool = False
    given: bool = False
    weights: str = ""
    remarks: tuple[str, ...] = ()
    kind: str = "int8"

    def json(self) -> dict[str, Any]:
        """The report as an object, without what are notes alone."""
        found = asdict(replace(self, remarks=()))
        del found["remarks"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}

    def notes(self) -> tuple[str, ...]:
        """What a user should know, in sentences."""
        if self.given:
            return ("the model is quantized already: its scales are taken as they are",)
        if self.weights and not self.layers:
            return self.remarks
        if self.weights:
            return (f"the weights of {len(self.layers)} products are {self.weights}",)
        found = [self._note()]
        if self.more:
            found.append(f"calibration stopped after {self.samples} runs: there were more data")
        found += self.remarks
        found += [f"{row.name} stays float: {row.why}" for row in self.sensitivity if row.kept]
        return tuple(found)

    def _note(self) -> str:
        if not self.tensors:
            return f"nothing of the model is {self.kind}" + (
                "" if self.sensitivity or self.remarks else ": it has no products"
            )
        kinds = sorted({t.observer for t in self.tensors})
        return (
            f"{len(self.tensors)} tensors and the weights of {len(self.layers)} products are "
            f"{self.kind}, calibrated on {self.samples} runs ({', '.join(kinds)})"
        )


def reported(
    graph: Graph,
    made: Decisions,
    rows: tuple[Sensitivity, ...],
    counts: tuple[int, int],
    more: bool,
) -> Report:
    """The report of decisions; `counts` are the samples, and those of them that were walked."""
    tensors = []
    for node in graph.nodes:
        if id(node) in made.schemes:
            scheme = made.schemes[id(node)]
            name = node.origin[-1] if node.origin else getattr(node, "name", repr(node))
            tensors.append(Stored(name, scheme.scale, scheme.zero, made.observers[id(node)]))
    parts = tuple(tensors), tuple(made.layers), tuple(made.outputs), rows
    return Report(*parts, *counts, more)
