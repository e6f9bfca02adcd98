"""Which products of a graph become integer ones, and which tensors they read as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kcompiler.calibration import Histogram
from kcompiler.graph.node import Array, Constant, Graph, Op
from kcompiler.graph.operators import (
    Add,
    Contract,
    Conv,
    Gather,
    Pad,
    Reduce,
    Window,
)
from kcompiler.graph.types import F32
from kcompiler.kernel.views import is_movement

_LARGEST = 1e15  # of data: float32 has sums of their squares


@dataclass(frozen=True)
class Layer:
    """A product of data with constant weights, or of two computed tensors (without weights)."""

    op: Conv | Contract
    place: int  # of the weights among the operands; -1 where there are none

    @property
    def name(self) -> str:
        """The ONNX node."""
        return self.op.origin[0] if self.op.origin else type(self.op).__name__.lower()

    @property
    def terms(self) -> int:
        """How many products each sum has."""
        return self.op.macs() // max(self.op.type.size, 1)

    @property
    def weights(self) -> Constant | None:
        """The constant operand."""
        found = self.op.operands[self.place] if self.place >= 0 else None
        return found if isinstance(found, Constant) else None

    @property
    def data(self) -> tuple[Op, ...]:
        """The computed operands."""
        return tuple(o for i, o in enumerate(self.op.operands) if i != self.place)

    @property
    def kept(self) -> tuple[int, ...]:
        """The dimensions of the weights that the result has: a scale for each index of them."""
        if isinstance(self.op, Conv):
            return (0,)
        own, result = self.op.letters[self.place], self.op.letters[2]
        return tuple(i for i, c in enumerate(own) if c in result)

    def by_channel(self, values: Array) -> Array:
        """What has the extents of `kept` (and 1 elsewhere), for the result."""
        if isinstance(self.op, Conv):
            return values.reshape(-1, *(1,) * len(self.op.strides))
        own, result = self.op.letters[self.place], self.op.letters[2]
        extents = {own[i]: values.shape[i] for i in self.kept}
        order = sorted(extents, key=result.index)
        kept = values.reshape(list(extents.values()))
        moved = kept.transpose([list(extents).index(c) for c in order])
        return np.asarray(moved.reshape([extents.get(c, 1) for c in result]))

    def of_channels(self, values: Array) -> Array:
        """The inverse: one number a channel of the result, for the weights."""
        rank = self.op.operands[self.place].type.rank
        if isinstance(self.op, Conv):
            return values.reshape(-1, *(1,) * (rank - 1))
        own, result = self.op.letters[self.place], self.op.letters[2]
        kept = [c for c in result if c in own]
        extents = {c: values.shape[result.index(c)] for c in kept}
        order = [kept.index(c) for c in own if c in kept]
        moved = values.reshape(list(extents.values())).transpose(order)
        return np.asarray(moved.reshape([extents.get(c, 1) for c in own]))

    @property
    def averaged(self) -> tuple[int, ...]:
        """The dimensions of the result that are no channels of the weights."""
        if isinstance(self.op, Conv):
            return (0, *range(2, self.op.type.rank))
        own, result = self.op.letters[self.place], self.op.letters[2]
        return tuple(i for i, c in enumerate(result) if c not in own)

    def power(self, data: Sequence[Array]) -> Array:
        """Mean square of the data that each weight multiplies; broadcasts to the weights."""
        if isinstance(self.op, Conv):
            axes = (0, *range(2, data[0].ndim))
            mean = np.mean([np.mean(np.square(x), axes, dtype=np.float64) for x in data], 0)
            group = mean.reshape(self.op.groups, 1, -1)
            filters = self.op.w.shape[0] // self.op.groups
            full = np.repeat(group, filters, 1).reshape(self.op.w.shape[:2])
            return np.asarray(full.reshape(*full.shape, *(1,) * len(self.op.strides)))
        own, other = self.op.letters[self.place], self.op.letters[1 - self.place]
        axes = tuple(i for i, c in enumerate(other) if c not in own)
        mean = np.mean([np.mean(np.square(x), axes, dtype=np.float64) for x in data], 0)
        kept = [c for c in other if c in own]
        order = [kept.index(c) for c in own if c in kept]
        extents = dict(zip(kept, mean.shape, strict=True))
        return np.asarray(mean.transpose(order).reshape([extents.get(c, 1) for c in own]))


def find_layers(graph: Graph) -> tuple[Layer, ...]:
    """All products of float32, in the order of the graph; not those that multiply nothing."""
    found = []
    for op in graph.nodes:
        if isinstance(op, Conv | Contract) and op.dtype == F32 and op.macs():
            constants = [i for i, o in enumerate(op.operands) if isinstance(o, Constant)]
            if len(constants) == 1 and not (isinstance(op, Conv) and constants == [0]):
                found.append(Layer(op, constants[0]))
            elif not constants and isinstance(op, Contract):
                found.append(Layer(op, -1))
    return tuple(found)


def why_float(graph: Graph, layer: Layer, seen: Mapping[int, Histogram]) -> str:
    """Why a layer cannot become integers, by its numbers; nothing if it can."""
    own = bias_of(graph, layer)
    if layer.weights is not None and not np.isfinite(layer.weights.value).all():
        return "its weights are not all finite"
    if own is not None and not np.isfinite(own[1].value).all():
        return "its bias is not all finite"
    read = [seen[id(source(x))] for x in layer.data if id(source(x)) in seen]
    if any(each.left_out for each in read):
        return "its data are not all finite"
    if any(max(-each.low, each.high) > _LARGEST for each in read):
        return f"its data go beyond {_LARGEST:.0e}"
    return ""


def source(op: Op) -> Op:
    """The tensor whose integers, moved or compared, are those of `op`."""
    while is_movement(op) or isinstance(op, Pad | Gather) or _is_maximum(op):
        if isinstance(op, Gather) and not _constant_indices(op):
            return op
        op = op.operands[0]
    return op


def _constant_indices(op: Gather) -> bool:
    return isinstance(op.indices, Constant)


def _is_maximum(op: Op) -> bool:
    return isinstance(op, Window | Reduce) and op.function == "max"


def pooled(graph: Graph) -> list[Op]:
    """What sums over positions of images read: a mean of integers is exact."""
    return [op.x for op in graph.nodes if isinstance(op, Window | Reduce) and _pools(op)]


def _pools(op: Window | Reduce) -> bool:
    if op.function != "sum" or op.dtype != F32:
        return False
    return isinstance(op, Window) or (op.type.rank > 2 and op.axes == tuple(range(2, op.type.rank)))


def bias_of(graph: Graph, layer: Layer) -> tuple[Add, Constant] | None:
    """The addition of one constant a channel that follows a layer alone."""
    users = graph.users[id(layer.op)]
    if len(users) != 1 or not isinstance(users[0], Add) or layer.weights is None:
        return None
    add = users[0]
    other = add.y if add.x is layer.op else add.x
    if not isinstance(other, Constant) or add.shape != layer.op.shape:
        return None
    full = (1,) * (add.type.rank - other.type.rank) + other.shape
    own = all(full[d] == 1 for d in layer.averaged)
    return (add, other) if own else None
