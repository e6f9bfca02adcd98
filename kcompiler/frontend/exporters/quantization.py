"""Quantization as the arithmetic that it stands for: ONNX's own operators know fewer types."""

from __future__ import annotations

from kcompiler.frontend.export_net import Net
from kcompiler.frontend.export_registry import exporter_of, exports
from kcompiler.graph.node import Constant, Input, topological
from kcompiler.graph.operators import Dequantize, Quantize


@exports(Quantize, Dequantize)
def quantization(net: Net, op: Quantize | Dequantize, *operands: str) -> str:
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
