"""Running compiled models: NPU segments on the simulator, host segments on onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import ml_dtypes
import numpy as np

from kcompiler.compilation import Compilation, HostSegment, NpuSegment
from kcompiler.errors import CapacityError, PackageError, UnsupportedError, UsageError
from kcompiler.graph.node import Array
from kcompiler.graph.types import TensorType, is_float
from kcompiler.machine.simulator.function import Simulation, SimulationError
from kcompiler.machine.simulator.memories import MachineFault

if TYPE_CHECKING:
    import os

    import onnx

    from kcompiler.machine.program import KernelInfo
    from kcompiler.machine.target import Target

Watch: TypeAlias = Callable[[int, "Simulation", "KernelInfo"], None]
"""Called around each kernel with the number of its segment, the machine's state and the kernel."""


@dataclass(frozen=True)
class NodeArg:
    """An input or output, as onnxruntime describes it: type is `tensor(float)` and the like."""

    name: str
    shape: tuple[int, ...]
    type: str


class Session:
    """A compiled model ready to run, in the manner of `onnxruntime.InferenceSession`.

    `source` is the path or the bytes of a package. Nothing in it is trusted.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        from kcompiler.artifact import unpack
        from kcompiler.package import from_bytes, read

        opened = from_bytes(source) if isinstance(source, bytes) else read(source)
        self._executor = Executor(*unpack(opened))
        self._running = Running(self._executor)

    def get_inputs(self) -> list[NodeArg]:
        """The inputs that `run` wants."""
        return [_node_arg(*pair) for pair in self._executor.compilation.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """The outputs that `run` gives."""
        return [_node_arg(*pair) for pair in self._executor.compilation.outputs]

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Array]:
        """The named outputs, all of them for None, for inputs by name; raises `UsageError`."""
        names = [name for name, _ in self._executor.compilation.outputs]
        unknown = next((n for n in output_names or () if n not in names), None)
        if unknown is not None:
            raise UsageError(
                f"the model has no output {unknown!r}", why=f"its outputs are {', '.join(names)}"
            )
        results = self._running.run(input_feed)
        return [results[name] for name in (names if output_names is None else output_names)]


@dataclass
class Executor:
    """A compilation on its target's simulator; machines are made at the first run and kept."""

    compilation: Compilation
    target: Target
    checked: bool = False  # whether reads of uninitialized bytes are looked for

    def __post_init__(self) -> None:
        self._machines: dict[int, Simulation] = {}
        self._hosts: dict[int, HostModel] = {}

    def run(
        self,
        feeds: Mapping[str, Any],
        before: Watch | None = None,
        after: Watch | None = None,
    ) -> dict[str, Array]:
        """All outputs by name."""
        values = check_feeds(self.compilation.inputs, feeds)
        for index, segment in enumerate(self.compilation.segments):
            if isinstance(segment, HostSegment):
                values |= self._host(index, segment, values)
            else:
                values |= self._npu(index, segment, values, before, after)
        return {name: _output(name, kind, values) for name, kind in self.compilation.outputs}

    def _host(
        self, index: int, segment: HostSegment, values: Mapping[str, Array]
    ) -> dict[str, Array]:
        if index not in self._hosts:
            self._hosts[index] = HostModel(segment.model)
        found = self._hosts[index].run(segment.outputs, {n: values[n] for n in segment.inputs})
        return dict(zip(segment.outputs, found, strict=True))

    def _npu(
        self,
        index: int,
        segment: NpuSegment,
        values: Mapping[str, Array],
        before: Watch | None,
        after: Watch | None,
    ) -> dict[str, Array]:
        inputs = {}
        for binding in segment.program.inputs:
            wanted = TensorType(binding.dtype, binding.shape)
            inputs[binding.name] = _fitting(binding.name, wanted, values[binding.name])
        if index not in self._machines:
            self._machines[index] = Simulation(segment.program, self.target, self.checked)
        machine = self._machines[index]
        return machine.run(inputs, _bound(before, index, machine), _bound(after, index, machine))


@dataclass(frozen=True)
class Running:
    """An executor for users: what goes wrong inside the machine becomes an error with a cure."""

    executor: Executor

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """All outputs by name; raises `UsageError`, `PackageError`, `CapacityError`."""
        try:
            return self.executor.run(feeds)
        except SimulationError as error:
            raise _faulty(str(error)) from error
        except MachineFault as error:
            raise _faulty(f"it {error}") from error
        except MemoryError:
            raise _no_memory(self.executor.compilation) from None


def check_feeds(
    inputs: Sequence[tuple[str, TensorType]], feeds: Mapping[str, Any]
) -> dict[str, Array]:
    """The feeds as arrays; raises `UsageError` unless they are just what the model takes."""
    names = [name for name, _ in inputs]
    wanted = ", ".join(f"{name}: {kind}" for name, kind in inputs) or "nothing"
    missing = [name for name in names if name not in feeds]
    if missing:
        raise UsageError(f"input {missing[0]!r} is missing", why=f"the model takes {wanted}")
    extra = [name for name in feeds if name not in names]
    if extra:
        raise UsageError(f"the model has no input {extra[0]!r}", why=f"it takes {wanted}")
    return {name: _given(name, kind, feeds[name]) for name, kind in inputs}


def _given(name: str, kind: TensorType, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind == "V" and array.dtype.itemsize == kind.dtype.itemsize:
        array = array.view(kind.dtype)  # what numpy's files make of bfloat16 and the like
    if array.dtype != kind.dtype:
        raise UsageError(
            f"input {name!r} has the element type {array.dtype}",
            why=f"the model takes {kind}",
            fix=f"convert it: x.astype({kind.dtype.name!r})",
        )
    if array.shape != kind.shape:
        raise UsageError(
            f"input {name!r} has the shape {list(array.shape)}",
            why=f"the model was compiled for {kind}",
            fix="reshape it, or compile the model for this shape",
        )
    return array


def _fitting(name: str, kind: TensorType, value: Array) -> Array:
    """What a host segment computed may not be what the program was compiled for."""
    if value.dtype != kind.dtype or value.shape != kind.shape:
        found = f"{value.dtype}{list(value.shape)}"
        raise UnsupportedError(
            f"the host computed {name!r} as {found}, the NPU takes {kind}",
            why="the value's shape depends on data, or the package was altered",
        )
    return value


def _output(name: str, kind: TensorType, values: Mapping[str, Array]) -> Array:
    return _fitting(name, kind, values[name])


def _bound(
    watch: Watch | None, index: int, machine: Simulation
) -> Callable[[KernelInfo], None] | None:
    return None if watch is None else lambda kernel: watch(index, machine, kernel)


def _faulty(why: str) -> PackageError:
    fix = "compile the model again; if the error stays, please report it and attach the model"
    return PackageError("the program did what the NPU does not allow", why=why, fix=fix)


def _no_memory(compilation: Compilation) -> CapacityError:
    programs = [s.program for s in compilation.segments if isinstance(s, NpuSegment)]
    most = max((size for p in programs for size in p.used.values()), default=0)
    return CapacityError(
        "this computer has too little memory to simulate the program",
        why=f"the NPU's memories take up to {most:,} bytes, on top of the model",
    )


class HostModel:
    """An ONNX model on onnxruntime, or on `onnx.reference` where onnxruntime has no kernel."""

    def __init__(self, model: bytes | str) -> None:
        self._model = model
        if isinstance(model, bytes):
            _refuse_external_data(model)
        self._session: Any = None
        self.refusal = ""  # why onnxruntime does not take the model
        try:
            self._session = _ort_session(model)
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen kinds
            self.refusal = _first_line(error)
        self.engine = "onnxruntime" if self._session is not None else "onnx.reference"

    def run(self, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """The named outputs; raises `UnsupportedError` when neither can compute them."""
        try:
            if self._session is not None:
                found = _run_session(self._session, names, feeds)
            else:
                with np.errstate(all="ignore"):
                    found = _reference_evaluator(self._model).run(list(names), dict(feeds))
        except Exception as error:
            what = f"{self.engine} cannot run the model"
            raise UnsupportedError(what, why=self.refusal or _first_line(error)) from error
        return [np.asarray(value) for value in found]

    def run_all(self, operands: Sequence[Array]) -> list[Array]:
        """All outputs, for all inputs in order."""
        import onnx

        model = onnx.load(self._model) if isinstance(self._model, str) else None
        graph = (model or onnx.load_from_string(self._model)).graph
        feeds = dict(zip((i.name for i in graph.input), operands, strict=True))
        return self.run([o.name for o in graph.output], feeds)


def _ort_session(model: bytes | str) -> Any:
    """None where onnxruntime cannot be handed an input or output: it has less than a byte."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = {a.type for a in (*session.get_inputs(), *session.get_outputs())}
    return session if kinds <= {*_ORT_TYPES.values(), *_BY_BITS} else None


def _run_session(session: Any, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """What numpy has no name for, bfloat16 above all, goes in and out as bits."""
    if {a.type for a in (*session.get_inputs(), *session.get_outputs())} <= set(
        _ORT_TYPES.values()
    ):
        return list(session.run(list(names), dict(feeds)))
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


_ORT_TYPES = {
    "float16": "tensor(float16)",
    "float32": "tensor(float)",
    "float64": "tensor(double)",
    "bool": "tensor(bool)",
    **{f"{s}int{b}": f"tensor({s}int{b})" for s in ("", "u") for b in (8, 16, 32, 64)},
}

# Types whose bits onnxruntime takes in an array of unsigned integers.
_BY_BITS = {
    f"tensor({name.replace('_', '')})": np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
}


def _node_arg(name: str, kind: TensorType) -> NodeArg:
    type_ = kind.dtype.name.replace("_", "") if is_float(kind.dtype) else kind.dtype.name
    return NodeArg(name, kind.shape, _ORT_TYPES.get(kind.dtype.name, f"tensor({type_})"))
