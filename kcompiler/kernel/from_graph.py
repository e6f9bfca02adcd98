"""From a fused part of the graph to loop nests: `region_of`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from kcompiler.graph.node import Op
from kcompiler.graph.operators.composite import Attention, LayerNorm, RmsNorm, Softmax
from kcompiler.graph.operators.contraction import Contract, Conv
from kcompiler.graph.operators.movement import Reshape
from kcompiler.graph.operators.reduction import (
    ArgReduce,
    CumSum,
    Reduce,
    TopKIndices,
    TopKValues,
    Window,
)
from kcompiler.graph.operators.structure import Fused
from kcompiler.kernel import anchors, composites
from kcompiler.kernel.alike import outline
from kcompiler.kernel.canonical import canonical
from kcompiler.kernel.loops import Unsupported
from kcompiler.kernel.lowering import Lowering, Value
from kcompiler.kernel.nest import Region
from kcompiler.kernel.views import never

__all__ = ["BoundRegion", "Unsupported", "lowered", "region_of"]

_ANCHORS: dict[type[Op], Callable[[Lowering, Any], Value]] = {
    Contract: anchors.contract,
    Conv: anchors.conv,
    Window: anchors.window,
    Reduce: anchors.reduce,
    ArgReduce: anchors.arg_reduce,
    CumSum: anchors.unsupported,
    TopKValues: anchors.unsupported,
    TopKIndices: anchors.unsupported,
    Softmax: composites.softmax,
    LayerNorm: composites.layer_norm,
    RmsNorm: composites.rms_norm,
    Attention: composites.attention,
}

# What was found for an outline: the region, and where in it the operands stand.
_KNOWN: dict[Hashable, tuple[Region, tuple[int, ...]]] = {}
MOST_KNOWN = 4096


@dataclass(frozen=True)
class BoundRegion:
    """A region, and the graph's tensor behind each of its inputs and constants, in their order.

    The tensors are the ones that lie in memory; the region's operands are views of them.
    """

    region: Region
    operands: tuple[Op, ...]


def region_of(fused: Fused, stop: Callable[[Op], bool] = never) -> BoundRegion:
    """The loop nests of a fused part; raises `Unsupported` with the reason when there are none.

    Movement operators above the fused part are read through, down to a tensor that lies in memory:
    one that is no movement, or where `stop` holds. The region's output has the elements of the
    fused part's result in the same dense order; its shape may differ. Parts that are alike are
    lowered once.
    """
    if stop is not never:
        return lowered(fused, stop)
    drawn = outline(fused)
    if drawn.key in _KNOWN:
        region, places = _KNOWN[drawn.key]
        return BoundRegion(region, tuple(drawn.nodes[i] for i in places))
    bound = lowered(fused, stop)
    found = tuple(i for op in bound.operands if (i := drawn.position(op)) is not None)
    if len(found) == len(bound.operands):
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[drawn.key] = bound.region, found
    return bound


def lowered(fused: Fused, stop: Callable[[Op], bool] = never) -> BoundRegion:
    """As `region_of`, without looking at what was lowered before."""
    body = fused.body
    root = body.outputs[0][1]
    for node in (fused, *body.nodes):
        if node.type.size == 0:
            raise Unsupported(node, "it has no elements")
    while isinstance(root, Reshape):  # the same elements in the same order
        root = root.x
    low = Lowering(body, fused.xs, _ANCHORS, stop)
    low.output(root)
    region, names = canonical(low.operands, low.nests)
    return BoundRegion(region, tuple(low.bases[name] for name in names))
