"""Which layers lose most: each alone in integers, its effect on the outputs of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kcompiler.graph.interpreter import HostRunner, run_graph, run_nodes
from kcompiler.graph.node import Array, Constant, Graph, Op
from kcompiler.graph.operators import Host, Item
from kcompiler.passes.quantize.insert import Insert
from kcompiler.passes.quantize.layers import Layer, source
from kcompiler.passes.quantize.measure import Ratio, finite, has_numbers
from kcompiler.passes.quantize.points import needed
from kcompiler.passes.quantize.walk import Decisions, Samples

_MOST_SAMPLES = 4  # each layer costs a run of what follows it


@dataclass(frozen=True)
class Sensitivity:
    """What one layer costs: `alone_db` at the outputs when it alone computes integers.

    `share` is its part of the noise of all layers, which nearly adds up.
    """

    layer: int
    name: str
    alone_db: float | None
    share: float
    kept: bool
    why: str


def choose_kept(
    graph: Graph,
    layers: Sequence[Layer],
    made: Decisions,
    samples: Samples,
    wanted_db: float,
    *,
    host: HostRunner | None,
) -> tuple[Sensitivity, ...]:
    """A row for each layer, the most sensitive first; enough are kept to reach `wanted_db`."""
    few = samples[:_MOST_SAMPLES]
    alone = _Alone(graph, few, made, host)
    noise = np.array([alone.noise(layer) for layer in layers])
    order = np.argsort(-noise, kind="stable")
    reached = _Reached(graph, layers, made, few, host)
    kept: list[int] = []
    while reached(kept) < wanted_db and len(kept) < len(layers):
        kept += _next(noise, order, kept, alone.signal, wanted_db)
    total = max(float(noise.sum()), 1e-300)
    rows = []
    for i in map(int, order):
        ratio, share = _decibel(alone.signal, float(noise[i])), float(noise[i]) / total
        words = (
            "exact" if not noise[i] else "nothing but noise" if ratio is None else f"{ratio:.1f} dB"
        )
        why = _why(i in kept, words, share, wanted_db)
        rows.append(Sensitivity(i, layers[i].name, ratio, share, i in kept, why))
    return tuple(rows)


def _why(kept: bool, alone: str, share: float, wanted_db: float) -> str:
    if not kept:
        return f"the outputs reach {wanted_db:g} dB with it in integers"
    return f"alone it leaves the outputs {alone}, {share:.0%} of the noise; {wanted_db:g} dB wanted"


def _next(
    noise: Array, order: Array, kept: Sequence[int], signal: float, wanted_db: float
) -> list[int]:
    """The layers to keep next: those that the sum of the noises says, but at least one."""
    rest = [int(i) for i in order if int(i) not in kept]
    allowed = signal / 10 ** (wanted_db / 10)
    left = float(noise[rest].sum())
    chosen = [rest[0]]
    left -= float(noise[rest[0]])
    for i in rest[1:]:
        if kept or left <= allowed:  # later rounds go one by one
            break
        chosen.append(i)
        left -= float(noise[i])
    return chosen


def _decibel(signal: float, noise: float) -> float | None:
    return float(10 * np.log10(signal / noise)) if noise and signal else None


class _Reached:
    """SQNR of the outputs, in dB, when all layers but some compute integers."""

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[Layer],
        made: Decisions,
        samples: Samples,
        host: HostRunner | None,
    ) -> None:
        self.graph, self.layers, self.made = graph, layers, made
        self.samples, self.host = samples, host
        self.expected = [run_graph(graph, s, host) for s in samples]

    def __call__(self, kept: Sequence[int]) -> float:
        layers = [layer for i, layer in enumerate(self.layers) if i not in kept]
        points = {id(p) for p in needed(self.graph, layers, pools=not kept)}
        schemes = {k: v for k, v in self.made.schemes.items() if k in points}
        quantized = Insert(self.graph, layers, replace(self.made, schemes=schemes)).run()
        ratio = Ratio()
        for sample, expected in zip(self.samples, self.expected, strict=True):
            for name, value in run_graph(quantized, sample, self.host).items():
                ratio.add(expected[name], value)
        if ratio.broken:
            return -np.inf
        if not ratio.noise:
            return np.inf
        return -np.inf if ratio.sqnr_db is None else ratio.sqnr_db


class _Alone:
    """Runs what follows one layer again, on the values that the float model has."""

    def __init__(
        self, graph: Graph, samples: Samples, made: Decisions, host: HostRunner | None
    ) -> None:
        self.graph = graph
        self.made = made
        self.host = host
        self.values = [dict(_values(graph, s, host)) for s in samples]
        self.outputs = [value for _, value in graph.outputs]
        self.signal = sum(
            float(np.sum(np.square(finite(v[id(o)]), dtype=np.float64)))
            for v in self.values
            for o in self.outputs
            if has_numbers(v[id(o)])
        )
        self.following: dict[int, list[Op]] = {}

    def noise(self, layer: Layer) -> float:
        """The sum of squared errors of the outputs."""
        after = self._after(layer.op)
        return sum(self._noise(layer, after, values) for values in self.values)

    def _after(self, op: Op) -> list[Op]:
        reached = {id(op)}
        found = []
        for node in self.graph.nodes:
            if any(id(o) in reached for o in node.operands):
                reached.add(id(node))
                found.append(node)
        return found

    def _noise(self, layer: Layer, after: Iterable[Op], values: dict[int, Array]) -> float:
        shift = self.made.shifts.get(id(layer.op), np.zeros((), np.float32))
        changed = {id(layer.op): layer.op.evaluate(*self._rounded(layer, values)) + shift}
        hosted: dict[int, Sequence[Array]] = {}
        for node in after:
            if isinstance(node, Item):
                changed[id(node)] = np.asarray(hosted[id(node.host)][node.index])
                continue
            operands = [
                changed[id(o)] if id(o) in changed else values[id(o)] for o in node.operands
            ]
            if isinstance(node, Host):
                hosted[id(node)] = self._hosted(node, operands)
            else:
                changed[id(node)] = node.evaluate(*operands)
        ratio = Ratio()
        for output in (o for o in self.outputs if id(o) in changed):
            ratio.add(values[id(output)], changed[id(output)])
        return ratio.noise

    def _hosted(self, node: Host, operands: Sequence[Array]) -> Sequence[Array]:
        if self.host is None:
            raise ValueError("the graph has a host operator, and nothing was given to run it")
        return self.host(node, operands)

    def _rounded(self, layer: Layer, values: dict[int, Array]) -> list[Array]:
        """The operands as integers stand for them; what moves data moves the rounded ones."""
        found = []
        for i, operand in enumerate(layer.op.operands):
            if i == layer.place:
                found.append(self.made.weights[id(layer.op)].near)
                continue
            found.append(self._moved(operand, values))
        return found

    def _moved(self, op: Op, values: dict[int, Array]) -> Array:
        scheme = self.made.schemes.get(id(op))
        if scheme is not None:
            return scheme.near(values[id(op)])
        if source(op) is op or not op.operands:
            return values[id(op)]
        first, *rest = op.operands
        return op.evaluate(self._moved(first, values), *(values[id(o)] for o in rest))


def _values(
    graph: Graph, sample: Mapping[str, Array], host: HostRunner | None
) -> Iterable[tuple[int, Array]]:
    for node, value in run_nodes(graph, sample, host):
        yield id(node), value
    for node in graph.nodes:
        if isinstance(node, Constant):
            yield id(node), node.value
