"""Running compiled models: NPU segments on the simulator, host segments on onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kcompiler.buckets.bucket import shape_of
from kcompiler.compilation import Compilation, HostSegment, NpuSegment
from kcompiler.errors import CapacityError, PackageError, UnsupportedError, UsageError
from kcompiler.graph.node import Array
from kcompiler.graph.types import OpenType, TensorType, is_float
from kcompiler.host import ORT_TYPES, HostModel
from kcompiler.machine.simulator.function import Simulation, SimulationError
from kcompiler.machine.simulator.memories import MachineFault

if TYPE_CHECKING:
    import os

    from kcompiler.buckets.bucket import Padding
    from kcompiler.buckets.layout import Layout
    from kcompiler.buckets.session import BucketExecutor
    from kcompiler.machine.program import KernelInfo
    from kcompiler.machine.target import Target

Watch: TypeAlias = Callable[[int, "Simulation", "KernelInfo"], None]
"""Called around each kernel with the number of its segment, the machine's state and the kernel."""


@dataclass(frozen=True)
class NodeArg:
    """An input or output, as onnxruntime describes it: type is `tensor(float)` and the like.

    `shape` is None where only a run knows it.
    """

    name: str
    shape: tuple[int | str, ...] | None
    type: str


class Session:
    """A compiled model ready to run, in the manner of `onnxruntime.InferenceSession`.

    `source` is the path or the bytes of a package. Nothing in it is trusted.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        from kcompiler.artifact import unpack
        from kcompiler.package import from_bytes, read

        opened = from_bytes(source) if isinstance(source, bytes) else read(source)
        self._executor = executor_of(*unpack(opened))
        self._running = Running(self._executor)

    @property
    def last_padding(self) -> Padding | None:
        """What the last run computed in vain; None before it, and for a model without buckets."""
        return None if isinstance(self._executor, Executor) else self._executor.last_padding

    def get_inputs(self) -> list[NodeArg]:
        """The inputs that `run` wants; a dimension with buckets is there by its name."""
        made = self._executor.compilation
        shapes = {} if made.buckets is None else dict(made.buckets.inputs)
        return [
            _node_arg(name, kind, shapes.get(name))
            for name, kind in made.inputs
            if not shapes or name in shapes
        ]

    def get_outputs(self) -> list[NodeArg]:
        """The outputs that `run` gives."""
        made = self._executor.compilation
        shapes = {} if made.buckets is None else made.buckets.members[-1].outputs
        return [_node_arg(name, kind, shapes.get(name)) for name, kind in made.outputs]

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Any]:
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
    ) -> dict[str, Any]:
        """All outputs by name."""
        values = check_feeds(self.compilation.inputs, feeds)
        for index, segment in enumerate(self.compilation.segments):
            if isinstance(segment, HostSegment):
                values |= self._host(index, segment, values)
            else:
                values |= self._npu(index, segment, values, before, after)
        return {name: _output(name, kind, values) for name, kind in self.compilation.outputs}

    def _host(self, index: int, segment: HostSegment, values: Mapping[str, Any]) -> dict[str, Any]:
        if index not in self._hosts:
            self._hosts[index] = HostModel(segment.model)
        found = self._hosts[index].run(segment.outputs, {n: values[n] for n in segment.inputs})
        return dict(zip(segment.outputs, found, strict=True))

    def _npu(
        self,
        index: int,
        segment: NpuSegment,
        values: Mapping[str, Any],
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


def executor_of(compilation: Compilation, target: Target) -> Executor | BucketExecutor:
    """What runs a compilation, with buckets or without."""
    if compilation.buckets is None:
        return Executor(compilation, target)
    from kcompiler.buckets.session import BucketExecutor

    return BucketExecutor(compilation, compilation.buckets, target)


@dataclass(frozen=True)
class Running:
    """An executor for users: what goes wrong inside the machine becomes an error with a cure."""

    executor: Executor | BucketExecutor

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
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
    inputs: Sequence[tuple[str, TensorType | OpenType]], feeds: Mapping[str, Any]
) -> dict[str, Any]:
    """The feeds, numbers as arrays; raises `UsageError` unless they are what the model takes."""
    names = [name for name, _ in inputs]
    wanted = ", ".join(f"{name}: {kind}" for name, kind in inputs) or "nothing"
    missing = [name for name in names if name not in feeds]
    if missing:
        raise UsageError(f"input {missing[0]!r} is missing", why=f"the model takes {wanted}")
    extra = [name for name in feeds if name not in names]
    if extra:
        raise UsageError(f"the model has no input {extra[0]!r}", why=f"it takes {wanted}")
    return {name: _given(name, kind, feeds[name]) for name, kind in inputs}


def _given(name: str, kind: TensorType | OpenType, value: Any) -> Any:
    if isinstance(kind, OpenType):
        return value
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


def _fitting(name: str, kind: TensorType, value: Any) -> Array:
    """What a host segment computed may not be what the program was compiled for."""
    if not isinstance(value, np.ndarray) or (value.dtype, value.shape) != (kind.dtype, kind.shape):
        tensor = isinstance(value, np.ndarray)
        found = f"{value.dtype}{list(value.shape)}" if tensor else type(value).__name__
        raise UnsupportedError(
            f"the host computed {name!r} as {found}, the NPU takes {kind}",
            why="the value's shape depends on data, or the package was altered",
        )
    return value


def _output(name: str, kind: TensorType | OpenType, values: Mapping[str, Any]) -> Any:
    return values[name] if isinstance(kind, OpenType) else _fitting(name, kind, values[name])


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


def _node_arg(
    name: str, kind: TensorType | OpenType, axes: tuple[Layout, ...] | None = None
) -> NodeArg:
    if isinstance(kind, OpenType):
        return NodeArg(name, None, kind.name)
    type_ = kind.dtype.name.replace("_", "") if is_float(kind.dtype) else kind.dtype.name
    shape = kind.shape if axes is None else shape_of(axes)
    return NodeArg(name, shape, ORT_TYPES.get(kind.dtype.name, f"tensor({type_})"))
