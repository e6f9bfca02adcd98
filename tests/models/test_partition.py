"""Networks of which a part stays on the host: they compile, and compute what onnxruntime does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

import kcompiler
from kcompiler.compilation import Compilation, HostSegment
from kcompiler.graph.node import Array

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32) / 3
V = np.random.default_rng(2).standard_normal((8, 8)).astype(np.float32) / 3


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node called like its first output; names are separated by blanks."""
    results = outputs.split()
    attributes.setdefault("name", results[0])
    return helper.make_node(op_type, inputs.split(), results, **attributes)


def value(name: str, elem_type: int, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, elem_type, shape)


def model(
    nodes: Sequence[NodeProto],
    feeds: Mapping[str, Array],
    outputs: str = "y",
    opset: int = 17,
    domains: Sequence[tuple[str, int]] = (("com.microsoft", 1), ("ai.onnx.ml", 3)),
    functions: Sequence[Any] = (),
    **weights: Array,
) -> bytes:
    """A serialized model whose inputs are like `feeds`; W and V are weights."""
    infos = [
        value(n, helper.np_dtype_to_tensor_dtype(v.dtype), *v.shape) for n, v in feeds.items()
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs.split()]
    tensors = {"w": W, "v": V, **weights}
    initializers = [numpy_helper.from_array(v, k) for k, v in tensors.items()]
    graph = helper.make_graph(nodes, "test", infos, results, initializers)
    imports = [helper.make_opsetid(d, n) for d, n in (("", opset), *domains)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=functions)
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def expected(data: bytes, feeds: Mapping[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def agree(
    data: bytes, feeds: Mapping[str, Array], kinds: str, precision: str = "f16", tolerance: float = 0.02
) -> Compilation:
    """Compile, save, load, run, compare; `kinds` has a letter a segment: n for NPU, h for host."""
    compiled = kcompiler.compile(data, precision=precision)
    found = kcompiler.Session(compiled.to_bytes()).run(None, dict(feeds))
    for ours, theirs in zip(found, expected(data, feeds), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    compilation = compiled.compilation
    letters = ["h" if isinstance(s, HostSegment) else "n" for s in compilation.segments]
    assert "".join(letters) == kinds
    return compilation


def operators(compilation: Compilation) -> list[tuple[str, str]]:
    """(ONNX node, operator) of everything on the host, for which there must be a reason."""
    found = [o for s in compilation.segments if isinstance(s, HostSegment) for o in s.operators]
    assert all(why for _, _, why in found)
    return [(name, kind) for name, kind, _ in found]
