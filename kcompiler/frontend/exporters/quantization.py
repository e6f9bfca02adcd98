"""Quantization: ONNX's own operators where they have the types, else plain arithmetic."""

from __future__ import annotations

from math import prod

import numpy as np

from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import exporter_of, exports
from kcompiler.graph.node import Constant, Input, topological
from kcompiler.graph.operators import Dequantize, Quantize
from kcompiler.graph.types import F32, I32

_BYTES = frozenset({np.dtype(np.int8), np.dtype(np.uint8)})


@exports(Quantize, Dequantize)
def quantization(net: Net, op: Quantize | Dequantize, *operands: str) -> str:
    """QuantizeLinear and DequantizeLinear, by tensor or along an axis."""
    scale, zero = op.scale, op.zero
    axis = _axis(op)
    if axis is None or not (isinstance(scale, Constant) and isinstance(zero, Constant)):
        return _arithmetic(net, op, *operands)
    shape = () if scale.type.size == 1 else (scale.type.size,)
    zeros = np.broadcast_to(zero.value, scale.shape) if shape else zero.value
    given = [net.constant(np.ascontiguousarray(v).reshape(shape)) for v in (scale.value, zeros)]
    kind = f"{type(op).__name__}Linear"
    return net.typed(op.dtype, kind, operands[0], *given, axis=axis)


def _axis(op: Quantize | Dequantize) -> int | None:
    """The axis of the scales, 0 for one of all; None where ONNX has no such operator."""
    wide, narrow = (op.x.dtype, op.dtype) if isinstance(op, Quantize) else (op.dtype, op.x.dtype)
    known = isinstance(op.scale, Constant) and isinstance(op.zero, Constant)
    if not known or wide != F32 or prod(op.x.shape) == 0:
        return None
    offset = op.zero.evaluate().any()
    if narrow not in _BYTES and (isinstance(op, Quantize) or narrow != I32 or offset):
        return None
    if op.zero.type.size > 1 and op.zero.shape != op.scale.shape:
        return None
    full = (1,) * (op.x.type.rank - op.scale.type.rank) + op.scale.shape
    long = [axis for axis, extent in enumerate(full) if extent != 1]
    if len(long) > 1:
        return None
    return long[0] if long else 0


def _arithmetic(net: Net, op: Quantize | Dequantize, *operands: str) -> str:
    """Element by element."""
    given = [Input(name, o.type) for name, o in zip(operands, op.operands, strict=True)]
    root = op.with_operands(given).arithmetic()
    names: dict[int, str] = {id(i): i.name for i in given}
    for node in topological([root]):
        if isinstance(node, Constant):
            names[id(node)] = net.constant(node.value)
        elif id(node) not in names:
            names[id(node)] = exporter_of(node)(net, node, *(names[id(o)] for o in node.operands))
    return names[id(root)]
