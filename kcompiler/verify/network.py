"""How many multiply-accumulates an ONNX graph asks for, from its shapes alone.

The shapes are those that the `onnx` package infers and the formulas those of the operators'
definitions; nothing is taken from our own importer, graph or kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from onnx import NodeProto, TypeProto, helper, shape_inference

from kcompiler.frontend.source import open_source
from kcompiler.graph.types import TensorType

if TYPE_CHECKING:
    from onnx import ModelProto

    from kcompiler.compilation import Compilation

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = Mapping[str, Shape]


def network_macs(source: str | bytes, compilation: Compilation) -> dict[str, int]:
    """ONNX node -> multiply-accumulates, for those whose operator and shapes are known.

    A node without a name has its operator and position, as in reports.
    """
    model = open_source(source).model
    shapes = _shapes(model, compilation)
    found = {}
    for index, node in enumerate(model.graph.node):
        formula = FORMULAS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
        if formula is not None:
            try:
                found[node.name or f"{node.op_type}_{index}"] = formula(node, shapes)
            except LookupError:
                continue  # a shape that only a run knows, or of a rank that makes no product
    return found


def operators(source: str | bytes) -> dict[str, str]:
    """ONNX node -> operator, those of other domains with their domain."""
    nodes = open_source(source).model.graph.node
    return {
        n.name or f"{n.op_type}_{i}": n.op_type if n.domain in {"", "ai.onnx"} else n.domain
        for i, n in enumerate(nodes)
    }


def _shapes(model: ModelProto, compilation: Compilation) -> Shapes:
    """The shape of every value that has a fixed one, with inputs as they were compiled for."""
    fixed: dict[str, Shape] = {n: v.shape for n, v in compilation.values.items()}
    fixed |= {n: k.shape for n, k in compilation.inputs if isinstance(k, TensorType)}
    whole = type(model)()
    whole.CopyFrom(model)
    for given in whole.graph.input:
        if given.name in fixed:
            kind = given.type.tensor_type.elem_type
            given.type.CopyFrom(helper.make_tensor_type_proto(kind, fixed[given.name]))
    del whole.graph.value_info[:]  # what the file says may be for other inputs
    for value in whole.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(whole, data_prop=True).graph
    found = {t.name: tuple(t.dims) for t in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        shape = _fixed(value.type)
        if shape is not None:
            found[value.name] = shape
    return found


def _fixed(kind: TypeProto) -> Shape | None:
    dims = kind.tensor_type.shape.dim
    if not kind.tensor_type.HasField("shape") or any(not d.HasField("dim_value") for d in dims):
        return None
    return tuple(d.dim_value for d in dims)


def _conv(node: NodeProto, shapes: Shapes, weights: int = 1) -> int:
    """Every output takes a window of the kernel over its group's channels."""
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[weights]][1:])


def _quantized_conv(node: NodeProto, shapes: Shapes) -> int:
    return _conv(node, shapes, 3)


def _matmul(node: NodeProto, shapes: Shapes) -> int:
    """Every output takes one row."""
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]


FORMULAS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _quantized_conv,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Gemm": _gemm,
}

PLAIN = frozenset((
    "Abs", "Add", "ArgMax", "ArgMin", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat",
    "Constant", "ConstantOfShape", "DequantizeLinear", "Div", "Dropout", "Elu", "Equal", "Erf",
    "Exp", "Expand", "Flatten", "Floor", "Gather", "Gelu", "Greater", "HardSigmoid",
    "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Less", "Log", "MaxPool",
    "Max", "Min", "Mish", "Mul", "Neg", "Not", "Pad", "Pow", "PRelu", "QuantizeLinear",
    "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "Relu", "Reshape", "Round",
    "Selu", "Shape", "Sigmoid", "Sign", "Slice", "Softmax", "Softplus", "Split", "Sqrt",
    "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where", "Xor",
))  # fmt: skip
"""Operators that never multiply and sum: with those above, a kernel's count is known exactly."""


def groups(
    kernels: Sequence[Sequence[str]], nodes: Mapping[str, int]
) -> list[tuple[set[int], set[str]]]:
    """Kernels and counted nodes that belong together, because one was made of the other."""
    found: list[tuple[set[int], set[str]]] = []
    for number, origins in enumerate(kernels):
        ours = {name for name in origins if name in nodes}
        if not ours:
            continue
        together = [g for g in found if g[1] & ours]
        found = [g for g in found if not g[1] & ours]
        found.append(
            (
                {number}.union(*(g[0] for g in together)),
                ours.union(*(g[1] for g in together)),
            )
        )
    return found
