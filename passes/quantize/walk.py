"""One walk over a graph with samples: as it is, and as its integers will compute it.

Both go on side by side, so each choice (a range, a bias) is made on the data that really arrive,
with the errors of the layers before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kcompiler.calibration import Histogram
from kcompiler.graph.interpreter import HostRunner, run_nodes
from kcompiler.graph.node import Array, Graph, Input, Op
from kcompiler.graph.operators import Host, Item
from kcompiler.passes.quantize.formats import INT8, Format
from kcompiler.passes.quantize.layers import Layer, bias_of, source
from kcompiler.passes.quantize.measure import OutputReport, Ratio, finite, report_output
from kcompiler.passes.quantize.ranges import observed, observers
from kcompiler.passes.quantize.rounding import moments, round_weights
from kcompiler.passes.quantize.scheme import Scheme
from kcompiler.passes.quantize.weights import Weights, quantize_weights

_LARGEST_BIAS = 1 << 28  # in the scale of the sums: a quarter of what is left beside them
Samples = Sequence[Mapping[str, Array]]


@dataclass(frozen=True)
class Settings:
    """How ranges and biases are chosen."""

    observer: str = "auto"
    symmetric: bool = False
    bias_correction: bool = True
    adaptive_rounding: bool = True
    kind: Format = INT8


@dataclass(frozen=True)
class LayerReport:
    """How far a layer's result is from float32 when it and all before it are integers."""

    name: str
    operator: str
    sqnr_db: float | None
    cosine: float


@dataclass
class Decisions:
    """What the walk chose; nodes are known by id."""

    schemes: dict[int, Scheme] = field(default_factory=dict)
    observers: dict[int, str] = field(default_factory=dict)
    weights: dict[int, Weights] = field(default_factory=dict)
    biases: dict[int, Array] = field(default_factory=dict)  # of layers, in numbers
    shifts: dict[int, Array] = field(default_factory=dict)  # what of them the layer has not itself
    layers: list[LayerReport] = field(default_factory=list)
    outputs: list[OutputReport] = field(default_factory=list)


def histograms(
    graph: Graph, samples: Samples, points: Sequence[Op], host: HostRunner | None
) -> dict[int, Histogram]:
    """The values that tensors take, over all samples."""
    found = {id(p): Histogram() for p in points}
    for sample in samples:
        for node, value in run_nodes(graph, sample, host):
            if id(node) in found:
                found[id(node)].add(value)
    return found


class Walk:
    """Decides for one graph; the tensors `points` become integers, and the layers read them."""

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[Layer],
        points: Sequence[Op],
        settings: Settings,
        host: HostRunner | None = None,
    ) -> None:
        self.graph = graph
        self.layers = {id(layer.op): layer for layer in layers}
        self.points = {id(p) for p in points}
        self.settings = settings
        self.host = host
        self.made = Decisions()
        self.exact: dict[int, list[Array]] = {}
        self.near: dict[int, list[Array]] = {}
        self.narrow: dict[int, list[Array]] = {}
        self.items: dict[int, tuple[list[Sequence[Array]], list[Sequence[Array]]]] = {}

    def run(
        self,
        samples: Samples,
        seen: Mapping[int, Histogram],
        labels: Sequence[Array] | None = None,
    ) -> Decisions:
        """Walk; `seen` holds the histograms of the points, `labels` the classes of the samples."""
        for node, dead in _with_last_uses(self.graph):
            self._node(node, samples)
            if id(node) in self.points:
                self._choose(node, seen[id(node)])
            for name in (name for name, value in self.graph.outputs if value is node):
                values = self.exact[id(node)], self.near[id(node)]
                self.made.outputs.append(report_output(name, *values, labels))
            for each in dead:
                self.exact.pop(each, None)
                self.near.pop(each, None)
                self.narrow.pop(each, None)
                self.items.pop(each, None)
        return self.made

    def _node(self, node: Op, samples: Samples) -> None:
        count = range(len(samples))
        if isinstance(node, Input):
            self.exact[id(node)] = [np.asarray(s[node.name]) for s in samples]
            self.near[id(node)] = self.exact[id(node)]
        elif isinstance(node, Host):
            exact, near = ([self._hosted(node, side, i) for i in count] for side in self._sides)
            self.items[id(node)] = exact, near
        elif isinstance(node, Item):
            exact, near = self.items[id(node.host)]
            self.exact[id(node)] = [np.asarray(v[node.index]) for v in exact]
            self.near[id(node)] = [np.asarray(v[node.index]) for v in near]
        elif not node.operands:
            self.exact[id(node)] = self.near[id(node)] = [node.evaluate()] * len(samples)
        elif id(node) in self.layers:
            self._layer(self.layers[id(node)], count)
        else:
            self._plain(node, count)

    @property
    def _sides(self) -> tuple[dict[int, list[Array]], dict[int, list[Array]]]:
        return self.exact, self.near

    def _values(self, node: Op, side: Mapping[int, list[Array]], i: int) -> list[Array]:
        return [side[id(o)][i] for o in node.operands]

    def _hosted(self, node: Host, side: Mapping[int, list[Array]], i: int) -> Sequence[Array]:
        if self.host is None:
            raise ValueError("the graph has a host operator, and nothing was given to run it")
        return self.host(node, self._values(node, side, i))

    def _plain(self, node: Op, count: range) -> None:
        self.exact[id(node)] = [node.evaluate(*self._values(node, self.exact, i)) for i in count]
        same = all(self.near[id(o)] is self.exact[id(o)] for o in node.operands)
        if same:
            self.near[id(node)] = self.exact[id(node)]
        else:
            self.near[id(node)] = [node.evaluate(*self._values(node, self.near, i)) for i in count]

    def _layer(self, layer: Layer, count: range) -> None:
        node = layer.op
        exact = [node.evaluate(*self._values(node, self.exact, i)) for i in count]
        near = [node.evaluate(*self._rounded(layer, i)) for i in count]
        bias = self._bias(layer, exact, near)
        self.exact[id(node)], self.near[id(node)] = exact, [y + bias for y in near]
        ratio = Ratio()
        for one, other in zip(exact, self.near[id(node)], strict=True):
            ratio.add(one, other)
        kind = type(node).__name__
        self.made.layers.append(LayerReport(layer.name, kind, ratio.sqnr_db, ratio.cosine))

    def _rounded(self, layer: Layer, i: int) -> list[Array]:
        """The operands of a layer, with weights that integers stand for."""
        node = layer.op
        if layer.weights is not None and id(node) not in self.made.weights:
            self.made.weights[id(node)] = self._weights(layer)
        values = [self._read(o)[i] for o in node.operands]
        if layer.weights is not None:
            values[layer.place] = self.made.weights[id(node)].near
        return values

    def _read(self, op: Op) -> list[Array]:
        """A tensor as a layer reads it: rounded, also where other readers have it as it is.

        What is moved, or the largest of some, is rounded as it would be before.
        """
        near, scheme = self.near[id(op)], self.made.schemes.get(id(source(op)))
        if scheme is None or self.settings.kind.shared:
            return near
        if id(op) not in self.narrow:
            self.narrow[id(op)] = [scheme.near(x) for x in near]
        return self.narrow[id(op)]

    def _weights(self, layer: Layer) -> Weights:
        """The integers of a layer's weights, chosen for the data that arrive."""
        if layer.weights is None:
            raise ValueError(f"{layer.name} has no weights")
        data = [finite(x) for x in self._read(layer.data[0])]
        kind = self.settings.kind
        least = self._least_scale(layer) if kind.whole else 0.0
        if self.settings.adaptive_rounding:
            centred = self.settings.bias_correction
            seen = moments(layer, data, centred=centred)
            if seen is not None:
                return round_weights(layer, seen, least, kind)
        power = layer.power(data)
        return quantize_weights(layer.weights.value, layer.kept, power, least, kind)

    def _least_scale(self, layer: Layer) -> Array | float:
        """Below it, the bias of a channel that has hardly any weights needs more than 32 bits."""
        own = bias_of(self.graph, layer)
        if own is None or layer.weights is None:
            return 0.0
        shape = tuple(1 if d in layer.averaged else n for d, n in enumerate(layer.op.shape))
        bias = np.abs(np.broadcast_to(own[1].value, shape)).astype(np.float64)
        scale = self.made.schemes[id(source(layer.data[0]))].scale
        return layer.of_channels(bias / (scale * _LARGEST_BIAS))

    def _bias(self, layer: Layer, exact: Sequence[Array], near: Sequence[Array]) -> Array:
        """What the mean of each channel lost; with the layer's own bias it is what is added."""
        if layer.weights is None:
            return np.zeros((), np.float32)
        shape = tuple(1 if d in layer.averaged else n for d, n in enumerate(layer.op.shape))
        lost = np.zeros(shape)
        if self.settings.bias_correction:
            with np.errstate(invalid="ignore"):
                means = [
                    np.mean(finite(a.astype(np.float64) - b), layer.averaged, keepdims=True)
                    for a, b in zip(exact, near, strict=True)
                ]
            lost = np.mean(means, 0)
        own = bias_of(self.graph, layer)
        known = np.zeros(shape) if own is None else np.broadcast_to(own[1].value, shape)
        self.made.biases[id(layer.op)] = lost + known
        self.made.shifts[id(layer.op)] = np.asarray(lost, np.float32)
        return self.made.shifts[id(layer.op)]

    def _choose(self, node: Op, seen: Histogram) -> None:
        """The scheme of a tensor: the one whose numbers are nearest to float32's."""
        observer = self.settings.observer
        kind = self.settings.kind
        names = observers(kind) if observer == "auto" else (observer,)
        symmetric = self.settings.symmetric or self._symmetric(node)
        ranges = {n: observed(seen, n, kind) for n in names}
        schemes = {n: Scheme.of(r, symmetric=symmetric, kind=kind) for n, r in ranges.items()}
        name = names[0]
        if len(names) > 1:
            name = min(names, key=lambda n: self._noise(node, schemes[n]))
        self.made.schemes[id(node)] = schemes[name]
        self.made.observers[id(node)] = name
        if kind.shared:
            self.near[id(node)] = [schemes[name].near(x) for x in self.near[id(node)]]

    def _symmetric(self, node: Op) -> bool:
        """A zero point of two computed factors would cost sums of both."""
        readers = (self.layers.get(id(user)) for user in self.graph.users[id(node)])
        return any(r is not None and r.weights is None for r in readers)

    def _noise(self, node: Op, scheme: Scheme) -> float:
        pairs = zip(self.exact[id(node)], self.near[id(node)], strict=True)
        with np.errstate(over="ignore"):  # of numbers beyond 1e19, which may be masks
            differences = (finite(scheme.near(b) - a) for a, b in pairs)
            return sum(float(np.sum(np.square(d), dtype=np.float64)) for d in differences)


def _with_last_uses(graph: Graph) -> Iterator[tuple[Op, list[int]]]:
    """Every node with the ids of those that nobody reads after it."""
    last: dict[int, int] = {}
    for position, node in enumerate(graph.nodes):
        for each in (node, *node.operands):
            last[id(each)] = position
        if isinstance(node, Item):
            last[id(node.host)] = position
    dead: list[list[int]] = [[] for _ in graph.nodes]
    for key, position in last.items():
        dead[position].append(key)
    yield from zip(graph.nodes, dead, strict=True)
