"""Data movement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import exports
from kcompiler.graph.operators import Broadcast, Concat, Gather, Pad, Reshape, Slice, Transpose
from kcompiler.graph.types import I32, I64
from kcompiler.scalar import convert


@exports(Reshape)
def reshape(net: Net, op: Reshape, x: str) -> str:
    """The same elements under another shape."""
    return net.reshape(x, op.shape)


@exports(Transpose)
def transpose(net: Net, op: Transpose, x: str) -> str:
    """Dimensions in another order."""
    return net("Transpose", x, perm=op.perm) if op.perm else x


@exports(Slice)
def slice_(net: Net, op: Slice, x: str) -> str:
    """ONNX slices to an exclusive end; an end before the first element is far below 0."""
    stops = [a + n * s for a, n, s in zip(op.starts, op.sizes, op.steps, strict=True)]
    ends = [e if e >= 0 else -n - 1 for e, n in zip(stops, op.x.shape, strict=True)]
    return cut(net, x, op.starts, ends, op.steps)


def cut(net: Net, x: str, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]) -> str:
    """A slice of every dimension."""
    if not starts:
        return x
    lists = (starts, ends, range(len(starts)), steps)
    return net("Slice", x, *(net.ints([*values]) for values in lists))


@exports(Pad)
def pad(net: Net, op: Pad, x: str) -> str:
    """Constant elements around."""
    if not op.shape:
        return x
    value = net.constant(convert(np.asarray(op.value), op.dtype))
    return net("Pad", x, net.ints([*op.low, *op.high]), value)


@exports(Concat)
def concat(net: Net, op: Concat, *xs: str) -> str:
    """One after the other; empty ones, which onnxruntime likes less, are left out."""
    full = [x for x, operand in zip(xs, op.xs, strict=True) if operand.type.size]
    return net("Concat", *full, axis=op.axis)


@exports(Broadcast)
def broadcast(net: Net, op: Broadcast, x: str) -> str:
    """Repeated to a shape."""
    return net("Expand", x, net.ints(op.shape))


@exports(Gather)
def gather(net: Net, op: Gather, x: str, indices: str) -> str:
    """Slices by their number."""
    known = net.dtypes[indices] in {I32, I64}
    return net("Gather", x, indices if known else net.cast(indices, I64), axis=op.axis)
