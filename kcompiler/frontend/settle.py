"""What importers return, made final: constants are folded, and every node knows its ONNX node."""

from __future__ import annotations

from collections.abc import Iterator

from kcompiler.frontend.limits import FOLD_BYTES, FOLD_MACS
from kcompiler.graph.node import Constant, Input, Op
from kcompiler.graph.operators import Broadcast, Dequantize, Host, Reshape, Slice, Transpose

_VIEWS = (Reshape, Slice, Transpose, Broadcast)  # cost no memory, however large


class Settler:
    """Folds nodes on constants and sets `origin`; what it has returned is never looked at again."""

    def __init__(self) -> None:
        self._settled: dict[int, Op] = {}
        self._kept: list[Op] = []  # keeps the keys alive

    def __call__(self, root: Op, origin: tuple[str, ...]) -> Op:
        """The final form of a node and of everything new above it."""
        stack: list[tuple[Op, Iterator[Op]]] = [(root, iter(root.operands))]
        while stack:
            node, rest = stack[-1]
            operand = next((o for o in rest if id(o) not in self._settled), None)
            if operand is not None and id(node) not in self._settled:
                stack.append((operand, iter(operand.operands)))
                continue
            stack.pop()
            if id(node) not in self._settled:
                self._settle(node, origin)
        return self._settled[id(root)]

    def keep(self, node: Op) -> Op:
        """Take a node as final."""
        self._settled[id(node)] = node
        self._kept.append(node)
        return node

    def _settle(self, node: Op, origin: tuple[str, ...]) -> None:
        final = node.with_operands([self._settled[id(o)] for o in node.operands])
        final = _folded(final.with_origin(final.origin or origin))
        self._settled[id(node)] = final
        self._kept.append(node)
        self.keep(final)


def _folded(node: Op) -> Op:
    if isinstance(node, Constant | Input | Host) or not node.operands:
        return node
    if not all(isinstance(o, Constant) for o in node.operands):
        return node
    if isinstance(node, Dequantize) and node.type.rank:
        return node  # passes want quantized weights as they are
    large = node.type.nbytes > FOLD_BYTES and not isinstance(node, _VIEWS)
    if large or node.macs() > FOLD_MACS or isinstance(node.operands[0], Host):
        return node
    values = [o.value for o in node.operands if isinstance(o, Constant)]
    return Constant(node.evaluate(*values)).with_origin(node.origin)
