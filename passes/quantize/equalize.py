"""Factors moved between layers, so that channels of one tensor have ranges of one size.

The one scale of a tensor then fits all its channels (M. Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV 2019; G. Xiao et al., "SmoothQuant", ICML
2023). Filters of one channel have scales of their own; where weights of several channels share a
scale, data and weights meet half way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kcompiler.graph.interpreter import HostRunner, run_nodes
from kcompiler.graph.node import Array, Constant, Graph, Op
from kcompiler.graph.operators import Add, Contract, Conv, Max, Min
from kcompiler.passes.quantize.channels import Group, find_groups
from kcompiler.passes.quantize.layers import Layer

_MOST_SAMPLES = 64
_LEAST = 1 / 64  # of the largest channel: what is smaller is taken for so much


def equalized(
    graph: Graph, samples: Sequence[Mapping[str, Array]], host: HostRunner | None = None
) -> Graph:
    """The graph with other weights, biases and limits, and the same results but for rounding."""
    groups = find_groups(graph)
    if not groups:
        return graph
    ranges = _ranges(graph, groups, samples[:_MOST_SAMPLES], host)
    with np.errstate(invalid="ignore"):
        factors = {id(g): _factors(g, ranges) for g in groups}
    groups = [g for g in groups if np.isfinite(factors[id(g)]).all()]
    return _Scaled(graph, groups, [factors[id(g)] for g in groups]).run()


def _ranges(
    graph: Graph,
    groups: Sequence[Group],
    samples: Sequence[Mapping[str, Array]],
    host: HostRunner | None,
) -> dict[int, Array]:
    """The largest size of each channel of what layers read."""
    read = [layer.data[0] for g in groups for layer in g.consumers]
    found = {id(t): np.zeros(t.shape[1]) for t in read}
    for sample in samples:
        for node, value in run_nodes(graph, sample, host):
            if id(node) in found:
                axes = (0, *range(2, value.ndim))
                found[id(node)] = np.maximum(found[id(node)], np.abs(value).max(axes))
    return found


def _factors(group: Group, ranges: Mapping[int, Array]) -> Array:
    """What each channel is divided by."""
    size = np.max([ranges[id(layer.data[0])] for layer in group.consumers], 0)
    shared = [_readers(layer) for layer in group.consumers if not _alone(layer)]
    if not shared:
        return np.sqrt(_typical(size))
    weights = np.max([_relative(w) for w in shared], 0)
    return np.sqrt(_typical(size) / _typical(weights))


def _alone(layer: Layer) -> bool:
    """Whether each filter reads one channel: its scale takes any factor."""
    return isinstance(layer.op, Conv) and layer.op.w.shape[1] == 1


def _relative(w: Array) -> Array:
    """Sizes of weights beside those of other layers."""
    return w / max(float(w.max(initial=0)), 1e-30)


def _readers(layer: Layer) -> Array:
    """The largest weight that each channel is multiplied with."""
    if layer.weights is None:
        raise ValueError(f"{layer.name} has no weights")
    w = np.abs(layer.weights.value)
    if isinstance(layer.op, Conv):
        by_group = w.max(tuple(range(2, w.ndim))).reshape(layer.op.groups, -1, w.shape[1])
        return np.asarray(by_group.max(1).reshape(-1))
    return np.asarray(w.max(tuple(d for d in range(w.ndim) if d != _axis(layer))))


def _axis(layer: Layer) -> int:
    """The dimension of a contraction's weights that the channels of the data are."""
    own, other = layer.op.letters[layer.place], layer.op.letters[1 - layer.place]  # type: ignore[union-attr]
    return int(own.index(other[1]))


def _typical(size: Array) -> Array:
    """Sizes beside the largest, not too small; 1 for channels of nothing.

    Their root is the factor: a channel that was quiet in the samples keeps room to be louder.
    """
    largest = float(size.max(initial=0))
    if not largest:
        return np.ones_like(size)
    return np.asarray(np.where(size > 0, np.clip(size / largest, _LEAST, 1.0), 1.0))


class _Scaled:
    """Rebuilds a graph with the factors of its groups."""

    def __init__(self, graph: Graph, groups: Sequence[Group], factors: Sequence[Array]) -> None:
        self.graph = graph
        self.made: dict[int, Array] = {}
        self.read: dict[int, tuple[Layer, Array]] = {}
        self.inside: dict[int, Array] = {}
        for group, s in zip(groups, factors, strict=True):
            self.made |= {id(op): s for op in group.producers}
            self.read |= {id(layer.op): (layer, s) for layer in group.consumers}
            self.inside |= {id(op): s for op in group.members}

    def run(self) -> Graph:
        """The graph."""
        new: dict[int, Op] = {}
        for node in self.graph.nodes:
            operands = [new[id(o)] for o in node.operands]
            if id(node) in self.made or id(node) in self.read:
                self._weights(node, operands)
            elif id(node) in self.inside and isinstance(node, Add | Max | Min):
                operands = [self._constant(node, o) for o in operands]
            new[id(node)] = node.with_operands(operands)
        outputs = tuple((name, new[id(v)]) for name, v in self.graph.outputs)
        return Graph(self.graph.name, self.graph.inputs, outputs)

    def _weights(self, node: Op, operands: list[Op]) -> None:
        """Put the factors of the data into the weights, and take those of the result out."""
        place = 1
        if id(node) in self.read:
            layer, s = self.read[id(node)]
            place = layer.place
            operands[place] = _multiplied(layer, operands[place], s)
        if isinstance(node, Conv) and id(node) in self.made:
            w = operands[place].evaluate()
            s = self.made[id(node)].reshape(-1, *(1,) * (w.ndim - 1))
            operands[place] = _like(operands[place], w / s)

    def _constant(self, node: Op, operand: Op) -> Op:
        """A bias or a limit, divided as its channels are."""
        if not isinstance(operand, Constant) or not operand.value.any():
            return operand
        s = self.inside[id(node)].reshape(-1, *(1,) * (node.type.rank - 2))
        return _like(operand, operand.value / s)


def _multiplied(layer: Layer, weights: Op, s: Array) -> Op:
    w = weights.evaluate()
    if isinstance(layer.op, Contract):
        return _like(
            weights, w * s.reshape([-1 if d == _axis(layer) else 1 for d in range(w.ndim)])
        )
    filters = w.shape[0] // layer.op.groups
    by_filter = s.reshape(layer.op.groups, 1, -1).repeat(filters, 1).reshape(w.shape[:2])
    return _like(weights, w * by_filter.reshape(*w.shape[:2], *(1,) * (w.ndim - 2)))


def _like(old: Op, value: Array) -> Op:
    return Constant(np.asarray(value, np.float32)).with_origin(old.origin)
