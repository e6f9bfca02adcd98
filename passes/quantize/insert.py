"""The graph with its tensors quantized and dequantized where that was decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Constant, Graph, Op
from kcompiler.graph.operators import Add, Contract, Conv, Dequantize
from kcompiler.graph.types import F32
from kcompiler.passes.quantize.formats import INT8, Format
from kcompiler.passes.quantize.layers import Layer, bias_of, source
from kcompiler.passes.quantize.scheme import I32, Scheme
from kcompiler.passes.quantize.walk import Decisions

_LARGEST_BIAS = (1 << 30) - 1  # leaves room for the sums


class Insert:
    """Rebuilds a graph; `layers` read narrow numbers, other products the numbers themselves.

    The outputs are numbers that never were integers, unless `everything` is.
    """

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[Layer],
        made: Decisions,
        *,
        everything: bool = False,
        kind: Format = INT8,
    ) -> None:
        self.everything = everything
        self.kind = kind
        self.graph = graph
        self.layers = {id(layer.op): layer for layer in layers}
        self.made = made
        self.plain: dict[int, Op] = {}
        self.integers: dict[int, Op] = {}
        self.adds = {
            id(found[0]): layer for layer in layers if (found := bias_of(graph, layer)) is not None
        }

    def run(self) -> Graph:
        """The graph."""
        for node in self.graph.nodes:
            self.plain[id(node)] = self._made(node)
        leaving = self._integers if self.everything else lambda op: self.plain[id(op)]
        outputs = tuple((name, leaving(value)) for name, value in self.graph.outputs)
        return Graph(self.graph.name, self.graph.inputs, outputs)

    def _made(self, node: Op) -> Op:
        if id(node) in self.layers:
            return self._layer(self.layers[id(node)])
        if id(node) in self.adds:
            layer = self.adds[id(node)]
            return Add(self.plain[id(layer.op)], self._bias(layer)).with_origin(node.origin)
        reads = self._reads_integers(node)
        operands = [self._integers(o) if reads else self.plain[id(o)] for o in node.operands]
        return node.with_operands(operands)

    def _reads_integers(self, node: Op) -> bool:
        """Everything reads what is stored; products that stay float have the numbers themselves."""
        return self.kind.shared and not isinstance(node, Conv | Contract)

    def _integers(self, op: Op) -> Op:
        """A tensor, made of integers if its source is."""
        if id(op) in self.integers:
            return self.integers[id(op)]
        scheme = self.made.schemes.get(id(op))
        if scheme is not None:
            found = _quantized(self.plain[id(op)], scheme)
        elif source(op) is not op and id(source(op)) in self.made.schemes:
            first, *rest = op.operands
            kept = [self.plain[id(o)] for o in rest]
            found = op.with_operands([self._integers(first), *kept])
        else:
            found = self.plain[id(op)]
        self.integers[id(op)] = found
        return found

    def _layer(self, layer: Layer) -> Op:
        operands = [self._integers(o) for o in layer.op.operands]
        if layer.weights is not None:
            weights = self.made.weights[id(layer.op)].node()
            operands[layer.place] = weights.with_origin(layer.weights.origin)
        product = layer.op.with_operands(operands)
        if layer.weights is None or bias_of(self.graph, layer) is not None:
            return product
        bias = self._bias(layer)
        if not np.asarray(self.made.biases[id(layer.op)]).any():
            return product
        return Add(product, bias).with_origin(layer.op.origin)

    def _bias(self, layer: Layer) -> Op:
        """The bias in the scale of the sums, for integers; what follows floats is float32."""
        if not self.kind.whole:
            return constant(self.made.biases[id(layer.op)], F32)
        data = self.made.schemes[id(source(layer.data[0]))]
        weights = self.made.weights[id(layer.op)].scale
        scale = layer.by_channel(np.asarray(weights * np.float32(data.scale), np.float32))
        bias = self.made.biases[id(layer.op)]
        scale = scale.reshape((1,) * (bias.ndim - scale.ndim) + scale.shape)
        values = np.clip(np.rint(bias / scale), -_LARGEST_BIAS, _LARGEST_BIAS).astype(I32)
        return Dequantize(Constant(values), constant(scale, F32), constant(0, I32))


def _quantized(x: Op, scheme: Scheme) -> Op:
    found = scheme.apply(x)
    inner = found.operands[0].with_origin(x.origin)
    return found.with_operands([inner, *found.operands[1:]]).with_origin(x.origin)
