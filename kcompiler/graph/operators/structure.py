"""Structure: parts of a network that stay on the host, and parts that become one kernel."""

from __future__ import annotations

from kcompiler.graph.node import Array, Graph, Op, Tensor
from kcompiler.graph.operators.check import require
from kcompiler.graph.types import TensorType


class Host(Op):
    """Work for the host: a serialized ONNX model of the nodes, and why the NPU does not take them.

    It has several results: read them through `Item`, never directly.
    """

    xs: tuple[Tensor, ...]
    model: bytes
    outputs: tuple[TensorType, ...]
    reason: str

    def infer(self) -> TensorType:
        require(len(self.outputs) > 0, self, "there must be an output")
        return self.outputs[0]


class Item(Op):
    """Result number `index` of a `Host`."""

    host: Tensor
    index: int

    def infer(self) -> TensorType:
        if not isinstance(self.host, Host):
            require(False, self, "only a Host has items")
            raise AssertionError
        require(0 <= self.index < len(self.host.outputs), self, "the Host has no such output")
        return self.host.outputs[self.index]


class Fused(Op):
    """A kernel to be: a graph of one output, whose inputs are the operands in order."""

    xs: tuple[Tensor, ...]
    body: Graph

    def infer(self) -> TensorType:
        inputs = [i.type for i in self.body.inputs]
        require(len(self.body.outputs) == 1, self, "the body must have one output")
        require(
            inputs == [x.type for x in self.xs], self, "operands must have the body's input types"
        )
        return self.body.outputs[0][1].type

    def evaluate(self, *values: Array) -> Array:
        from kcompiler.graph.interpreter import run_graph

        names = (i.name for i in self.body.inputs)
        (result,) = run_graph(self.body, dict(zip(names, values, strict=True))).values()
        return result

    def macs(self) -> int:
        return self.body.macs()
