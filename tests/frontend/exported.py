"""Graphs on onnxruntime, by way of their export."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import ModelProto

from kcompiler.frontend.export import export_model
from kcompiler.graph.node import Array, Graph, Input, Op
from kcompiler.graph.types import TensorType
from kcompiler.host import HostModel


def run(graph: Graph, feeds: Mapping[str, Array], engine: str = "onnxruntime") -> dict[str, Array]:
    """The outputs that the export gives; it must be valid, and run where it is meant to."""
    data = export_model(graph)
    proto = ModelProto.FromString(data)
    onnx.checker.check_model(proto, full_check=True)
    assert [i.name for i in proto.graph.input] == [i.name for i in graph.inputs]
    assert [o.name for o in proto.graph.output] == [name for name, _ in graph.outputs]
    host = HostModel(data)
    assert host.engine == engine, host.refusal
    names = [name for name, _ in graph.outputs]
    found = dict(zip(names, host.run(names, feeds), strict=True))
    for name, op in graph.outputs:
        assert (found[name].dtype, found[name].shape) == (op.dtype, op.shape)
    return found


def graph_of(*outputs: Op) -> Graph:
    """A graph of the inputs that the outputs need; the outputs are called y0, y1 and so on."""
    named = tuple((f"y{i}", op) for i, op in enumerate(outputs))
    found = Graph("test", (), named).nodes
    return Graph("test", tuple(n for n in found if isinstance(n, Input)), named)


def of(value: Array, name: str = "x") -> Input:
    return Input(name, TensorType(value.dtype, value.shape))
