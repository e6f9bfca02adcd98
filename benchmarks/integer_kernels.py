"""Which of onnxruntime's kernels a quantized model runs on, and the model on integer kernels alone.

On x86-64 onnxruntime takes a node of a QDQ model for an integer kernel where what it reads and
what it writes are bytes of one kind, unsigned. It makes signed activations unsigned, but only
where one node reads them. So of a model with signed bytes each node beside a tensor with several
readers is left with two kinds, and runs in float32; and so is every node when all tensors are
outputs of the model. `unsigned` takes that step for the whole model, with the same numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

HALF = 128
FLOAT = ("Conv", "FusedConv", "Gemm", "MatMul", "Add", "GlobalAveragePool")


@dataclass(frozen=True)
class Kernel:
    """A node as onnxruntime runs it, with the kinds of bytes around it: empty where there is none.

    `reads` are those of the activations that are dequantized for it, `writes` those that its
    result is quantized to.
    """

    op_type: str
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def options(optimize: bool = True) -> Any:
    """With all that onnxruntime does by default to a graph, or nothing."""
    found = ort.SessionOptions()
    found.log_severity_level = 3
    if not optimize:
        found.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return found


def session(model: ModelProto, optimize: bool = True) -> Any:
    """The model in onnxruntime."""
    made = model.SerializeToString()
    return ort.InferenceSession(made, options(optimize), providers=["CPUExecutionProvider"])


def sums_are_exact() -> bool:
    """Whether onnxruntime sums products of bytes exactly on this processor.

    Those of x86-64 without VNNI add pairs of products in 16 bits, which saturate: what it gives
    there is not what ONNX says, and nothing can be held against it.
    """
    node = onnx.helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    kinds = {"x": TensorProto.UINT8, "w": TensorProto.INT8, "y": TensorProto.INT32}
    x, w, y = (onnx.helper.make_tensor_value_info(n, t, [64, 64]) for n, t in kinds.items())
    graph = onnx.helper.make_graph([node], "sums", [x, w], [y])
    opset = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    given = {"x": np.full((64, 64), 255, np.uint8), "w": np.full((64, 64), 127, np.int8)}
    (found,) = session(model).run(None, given)
    return bool((found == 64 * 255 * 127).all())


def kernels(model: ModelProto) -> list[Kernel]:
    """The nodes that are left when onnxruntime has optimized a model, before layouts change."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        choice = options()
        choice.optimized_model_filepath = str(path)
        choice.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        ort.InferenceSession(model.SerializeToString(), choice, providers=["CPUExecutionProvider"])
        graph = onnx.load(path).graph
    bytes_ = {i.name: np.dtype(numpy_helper.to_array(i).dtype).name for i in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    readers = _readers(graph.node)
    return [
        Kernel(
            node.op_type,
            node.name,
            _kinds((made.get(name) for name in node.input), "DequantizeLinear", bytes_),
            _kinds((n for o in node.output for n in readers.get(o, ())), "QuantizeLinear", bytes_),
        )
        for node in graph.node
    ]


def in_float(model: ModelProto) -> list[Kernel]:
    """The nodes with an integer kernel that onnxruntime runs in float32 all the same."""
    return [k for k in kernels(model) if k.op_type in FLOAT]


def _kinds(
    nodes: Iterable[NodeProto | None], op_type: str, bytes_: dict[str, str]
) -> tuple[str, ...]:
    """The bytes that quantized activations around a node have: weights are constants."""
    found = [n for n in nodes if n is not None and n.op_type == op_type and len(n.input) > 2]
    return tuple(bytes_.get(n.input[2], "") for n in found if n.input[0] not in bytes_)


def unsigned(model: ModelProto) -> ModelProto:
    """A QDQ model whose quantized activations are uint8: each integer is larger by 128.

    Zero points are too, so that every integer stands for the number that it stood for. Raises
    ValueError where something but DequantizeLinear reads a signed activation.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    zeros = {i.name: numpy_helper.to_array(i) for i in copy.graph.initializer}
    readers = _readers(copy.graph.node)
    outputs = {o.name: o for o in copy.graph.output}
    for node in copy.graph.node:
        signed = node.op_type == "QuantizeLinear" and len(node.input) > 2
        if not signed or zeros[node.input[2]].dtype != np.int8:
            continue
        after = readers.get(node.output[0], [])
        if any(reader.op_type != "DequantizeLinear" for reader in after):
            raise ValueError(f"signed bytes {node.output[0]} are not dequantized where they go")
        name = _shifted(copy, node.input[2], zeros[node.input[2]])
        for each in (node, *after):
            each.input[2] = name
        _retype(outputs.get(node.output[0]))
    return copy


def _shifted(model: ModelProto, name: str, zero: np.ndarray[Any, np.dtype[Any]]) -> str:
    """The name of a zero point that is larger by 128, in the model from now on."""
    new = f"{name}.unsigned"
    if all(i.name != new for i in model.graph.initializer):
        larger = (zero.astype(np.int16) + HALF).astype(np.uint8)
        model.graph.initializer.append(numpy_helper.from_array(larger, new))
    return new


def _retype(output: ValueInfoProto | None) -> None:
    if output is not None:
        output.type.tensor_type.elem_type = TensorProto.UINT8


def _readers(nodes: Iterable[NodeProto]) -> dict[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found
