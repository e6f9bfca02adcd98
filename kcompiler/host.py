"""Host segments: ONNX models on onnxruntime, or on ONNX's own reference."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from kcompiler.errors import PackageError, UnsupportedError
from kcompiler.graph.node import Array

if TYPE_CHECKING:
    import onnx

    from kcompiler.graph.operators import Host


class HostModel:
    """An ONNX model on onnxruntime, or on `onnx.reference` where onnxruntime has no kernel."""

    def __init__(self, model: bytes | str) -> None:
        self._model = model
        if isinstance(model, bytes):
            _refuse_external_data(model)
        self._session: Any = None
        self.refusal = ""  # why onnxruntime does not take the model
        try:
            trusted = isinstance(model, str) or not _overflows(model)
            self._session = _ort_session(model) if trusted else None
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen kinds
            self.refusal = _first_line(error)
        self.engine = "onnxruntime" if self._session is not None else "onnx.reference"

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """The named outputs: arrays, lists of them for sequences, None for an empty optional.

        Raises `UnsupportedError` when neither engine can compute them.
        """
        if self._session is not None:
            try:
                return _run_session(self._session, names, feeds)
            except Exception as error:  # noqa: BLE001 - some kernels refuse only when they run
                self.refusal = _first_line(error)
                self._session, self.engine = None, "onnx.reference"
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = _reference_evaluator(self._model).run(list(names), dict(feeds))
        except Exception as error:
            what = "neither onnxruntime nor onnx.reference can run the model on these inputs"
            why = self.refusal or _first_line(error)
            fix = "give inputs that it is made for: --input NAME=file.npy"
            raise UnsupportedError(what, why=why, fix=fix) from error
        return [_array(value) for value in found]

    def run_all(self, operands: Sequence[Array]) -> list[Any]:
        """All outputs, for all inputs in order."""
        import onnx

        model = onnx.load(self._model) if isinstance(self._model, str) else None
        graph = (model or onnx.load_from_string(self._model)).graph
        feeds = dict(zip((i.name for i in graph.input), operands, strict=True))
        return self.run([o.name for o in graph.output], feeds)


class HostOperators:
    """Runs the host operators of a graph in its interpreter; each keeps its session."""

    def __init__(self) -> None:
        self._models: dict[int, tuple[Host, HostModel]] = {}

    def __call__(self, host: Host, operands: Sequence[Array]) -> Sequence[Array]:
        """The results of a host operator."""
        if id(host) not in self._models:
            self._models[id(host)] = host, HostModel(host.model)
        return self._models[id(host)][1].run_all(operands)


def _array(value: Any) -> Any:
    """A result as an array, unless it is a sequence, a map or nothing."""
    return value if value is None or isinstance(value, list | tuple | dict) else np.asarray(value)


def _ort_session(model: bytes | str) -> Any:
    """None where onnxruntime cannot be handed an input or output: it has less than a byte."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    # The fallback would try the same once more, and print.
    session = ort.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        enable_fallback=0,
        disabled_optimizers=_WRONG,
    )
    kinds = _kinds(session)
    nested = any("(tensor(" in kind for kind in kinds)
    known = {*_PLAIN, *(() if nested else _BY_BITS)}
    elements = {f"tensor({e})" for kind in kinds for e in _ELEMENT.findall(kind)}
    return session if elements <= known else None


_WRONG = ["ReluQuantRewrite"]  # drops a Relu before QuantizeLinear to floats, which have a sign


def _kinds(session: Any) -> set[str]:
    return {a.type for a in (*session.get_inputs(), *session.get_outputs())}


def _run_session(session: Any, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
    """What numpy has no name for, bfloat16 above all, goes in and out as bits."""
    if not _kinds(session) & set(_BY_BITS):
        return [_array(value) for value in session.run(list(names), dict(feeds))]
    given = {name: _to_ort(value) for name, value in feeds.items()}
    return [_from_ort(value) for value in session.run_with_ort_values(list(names), given)]


def _to_ort(value: Array) -> Any:
    import onnxruntime as ort
    from onnx import helper

    if value.dtype not in _BY_BITS.values():
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value).reshape(value.shape))
    bits = np.ascontiguousarray(value).view(f"u{value.itemsize}").reshape(value.shape)
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, kind)


def _from_ort(value: Any) -> Array:
    import ctypes

    dtype = _BY_BITS.get(value.data_type())
    if dtype is None:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    data = ctypes.string_at(value.data_ptr(), math.prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape)


def _reference_evaluator(model: bytes | str) -> Any:
    import onnx
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(onnx.load_from_string(model) if isinstance(model, bytes) else model)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _overflows(model: bytes) -> bool:
    """Whether a part has casts that do not saturate: 480 is NaN in f8 then, in onnxruntime 448."""
    if b"saturate" not in model:
        return False
    import onnx

    nodes = onnx.load_from_string(model).graph.node
    return any(a.name == "saturate" and not a.i for node in nodes for a in node.attribute)


def _refuse_external_data(data: bytes) -> None:
    """A host part comes from a package, which must not make us read other files."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise PackageError("a host part of the package is not an ONNX model") from None
    graphs = [model.graph]
    nodes = [n for f in model.functions for n in f.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes += graph.node
            tensors = [
                *graph.initializer,
                *(t for s in graph.sparse_initializer for t in _parts(s)),
            ]
        else:
            tensors = []
            for attribute in nodes.pop().attribute:
                tensors += [attribute.t, *attribute.tensors, *_parts(attribute.sparse_tensor)]
                graphs += [attribute.g, *attribute.graphs]
        if any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors):
            raise PackageError(
                "a host part of the package refers to another file",
                why="a package is self-contained; this one was altered",
            )


def _parts(sparse: onnx.SparseTensorProto) -> Iterator[onnx.TensorProto]:
    yield sparse.values
    yield sparse.indices


ORT_TYPES = {
    "float16": "tensor(float16)",
    "float32": "tensor(float)",
    "float64": "tensor(double)",
    "bool": "tensor(bool)",
    **{f"{s}int{b}": f"tensor({s}int{b})" for s in ("", "u") for b in (8, 16, 32, 64)},
}
_PLAIN = (*ORT_TYPES.values(), "tensor(string)")
_ELEMENT = re.compile(r"tensor\((\w+)\)")

# Types whose bits onnxruntime takes in an array of unsigned integers.
_BY_BITS = {
    f"tensor({name.replace('_', '')})": np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
}
