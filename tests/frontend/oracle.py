"""Small ONNX models, and onnxruntime as the judge of what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kcompiler.frontend import Imported, load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Op
from kcompiler.graph.operators import Host
from kcompiler.graph.types import TensorType

MICROSOFT = "com.microsoft"
IR_VERSION = 10


def rng(seed: int = 0) -> np.random.Generator:
    """Reproducible randomness."""
    return np.random.default_rng(seed)


def floats(*shape: int, seed: int = 0, dtype: str = "float32") -> Array:
    """Normally distributed numbers."""
    return np.asarray(rng(seed).standard_normal(shape)).astype(dtype)


def f32(values: Any) -> Array:
    """Numbers as float32."""
    return np.array(values, np.float32)


def i64(values: Any) -> Array:
    """Numbers as int64."""
    return np.array(values, np.int64)


def integers(low: int, high: int, *shape: int, seed: int = 0, dtype: str = "int64") -> Array:
    """Integers from `low` up to below `high`."""
    return np.asarray(rng(seed).integers(low, high, shape)).astype(dtype)


def node(
    op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
) -> NodeProto:
    """A node; `domain` and `name` may be among the attributes."""
    return helper.make_node(op_type, inputs, outputs, **attributes)


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, TensorType | tuple[np.dtype[Any] | str, Sequence[int | str | None]]],
    outputs: Sequence[str],
    weights: Mapping[str, Array] | None = None,
    opset: int = 17,
    **more: Any,
) -> ModelProto:
    """A model of nodes; outputs have no declared type."""
    infos = [_info(name, type_) for name, type_ in inputs.items()]
    initializers = [numpy_helper.from_array(v, k) for k, v in (weights or {}).items()]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "test", infos, results, initializers)
    return wrap(graph, opset, **more)


def wrap(graph: GraphProto, opset: int = 17, **more: Any) -> ModelProto:
    """A model around a graph."""
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    imports += more.pop("imports", [])
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, **more)


def _info(name: str, type_: Any) -> Any:
    dtype, shape = (type_.dtype, type_.shape) if isinstance(type_, TensorType) else type_
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, elem_type, shape)


def one(
    op_type: str,
    operands: Sequence[Array | None],
    known: Sequence[int] = (),
    opset: int = 17,
    results: int = 1,
    **attributes: Any,
) -> tuple[ModelProto, dict[str, Array]]:
    """A model of one node and its inputs; operands whose index is in `known` are weights."""
    given = {f"x{i}": v for i, v in enumerate(operands) if v is not None}
    weights = {f"x{i}": given.pop(f"x{i}") for i in known}
    names = ["" if v is None else f"x{i}" for i, v in enumerate(operands)]
    outputs = [f"y{i}" for i in range(results)]
    only = node(op_type, names, outputs, **attributes)
    types = {k: (v.dtype, v.shape) for k, v in given.items()}
    return model([only], types, outputs, weights, opset), given


def on_onnxruntime(proto: ModelProto | str | bytes, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """All outputs by name, without onnxruntime's own rewrites."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    data = proto.SerializeToString() if isinstance(proto, ModelProto) else proto
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def on_host(host: Host, operands: Sequence[Array]) -> Sequence[Array]:
    """A `Host` on onnxruntime."""
    proto = ModelProto.FromString(host.model)
    feeds = {i.name: x for i, x in zip(proto.graph.input, operands, strict=True)}
    return list(on_onnxruntime(host.model, feeds).values())


def hosts(imported: Imported) -> list[Op]:
    """What stays on the host."""
    return [n for n in imported.graph.nodes if isinstance(n, Host)]


def agree(
    proto: ModelProto | str | bytes,
    feeds: Mapping[str, Array],
    rtol: float = 1e-5,
    atol: float = 1e-5,
    host: bool = False,
    **options: Any,
) -> Imported:
    """Import, run both, compare; nothing may stay on the host unless `host`."""
    imported = load_model(proto, **options)
    assert bool(hosts(imported)) == host, [getattr(h, "reason", "") for h in hosts(imported)]
    mine = {k: v for k, v in feeds.items() if k not in imported.values}
    ours = run_graph(imported.graph, mine, on_host)
    for name, theirs in on_onnxruntime(proto, {**feeds, **imported.values}).items():
        same_type = ours[name].dtype == theirs.dtype and ours[name].shape == theirs.shape
        assert same_type, (
            f"{name}: {ours[name].dtype}{ours[name].shape} {theirs.dtype}{theirs.shape}"
        )
        np.testing.assert_allclose(ours[name], theirs, rtol, atol, err_msg=name)
    return imported


def tensor(
    name: str, dims: Sequence[int], data_type: int = TensorProto.FLOAT, **more: Any
) -> TensorProto:
    """A raw TensorProto, valid or not."""
    return TensorProto(name=name, dims=dims, data_type=data_type, **more)
