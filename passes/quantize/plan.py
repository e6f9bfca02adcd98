"""Decisions for one graph of a model, for its graphs at other extents of dimensions.

All are made of the same ONNX nodes by the same passes: a node is known by what it comes from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kcompiler.graph.node import Array, Graph, Input
from kcompiler.passes.quantize.layers import Layer, source
from kcompiler.passes.quantize.report import Report
from kcompiler.passes.quantize.scheme import Scheme
from kcompiler.passes.quantize.walk import Decisions
from kcompiler.passes.quantize.weights import Weights

Key: TypeAlias = tuple[tuple[str, ...], str, int]


@dataclass
class Plan:
    """Schemes of tensors, weights and biases of products, by node; empty until they are decided."""

    schemes: dict[Key, Scheme] = field(default_factory=dict)
    layers: dict[Key, tuple[Weights | None, Array | None]] = field(default_factory=dict)
    report: Report | None = None

    def keep(self, graph: Graph, layers: Sequence[Layer], made: Decisions, report: Report) -> None:
        """Remember what was decided."""
        names = _keys(graph)
        self.schemes = {names[k]: scheme for k, scheme in made.schemes.items()}
        for layer in layers:
            key = id(layer.op)
            self.layers[names[key]] = made.weights.get(key), made.biases.get(key)
        self.report = report

    def of(
        self, graph: Graph, layers: Sequence[Layer]
    ) -> tuple[tuple[Layer, ...], Decisions, tuple[str, ...]]:
        """The decisions for another graph, its layers, and remarks on those that it has not."""
        names, made = _keys(graph), Decisions()
        made.schemes = {k: self.schemes[name] for k, name in names.items() if name in self.schemes}
        kept = tuple(layer for layer in layers if self._fits(layer, names, made))
        for layer in kept:
            weights, biases = self.layers[names[id(layer.op)]]
            if weights is not None:
                made.weights[id(layer.op)] = weights
            if biases is not None:
                made.biases[id(layer.op)] = biases
        found = {names[id(layer.op)] for layer in kept}
        lost = tuple(f"{key[0][0]} stays float" for key in self.layers if key not in found)
        return kept, made, lost

    def _fits(self, layer: Layer, names: dict[int, Key], made: Decisions) -> bool:
        found = self.layers.get(names[id(layer.op)])
        if found is None or any(id(source(x)) not in made.schemes for x in layer.data):
            return False
        weights, own = found[0], layer.weights
        if weights is None or own is None:
            return weights is None and own is None
        return bool(weights.values.shape == own.shape)


def _keys(graph: Graph) -> dict[int, Key]:
    """A name for every node: the ONNX nodes, the operator, and a number among those alike."""
    count: Counter[tuple[tuple[str, ...], str]] = Counter()
    found: dict[int, Key] = {}
    for node in graph.nodes:
        origin = (node.name,) if isinstance(node, Input) else node.origin
        alike = origin, type(node).__name__
        found[id(node)] = (*alike, count[alike])
        count[alike] += 1
    return found
