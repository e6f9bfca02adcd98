"""Running a compilation: NPU segments on the simulator, host segments on onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kcompiler.compilation import Compilation, HostSegment, NpuSegment
from kcompiler.errors import UnsupportedError, UsageError
from kcompiler.graph.node import Array
from kcompiler.graph.types import OpenType, TensorType
from kcompiler.host import HostModel
from kcompiler.machine.simulator.function import Simulation

if TYPE_CHECKING:
    from kcompiler.machine.program import KernelInfo
    from kcompiler.machine.target import Target

Watch: TypeAlias = Callable[[int, "Simulation", "KernelInfo"], None]
"""Called around each kernel with the number of its segment, the machine's state and the kernel."""


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


def check_feeds(
    inputs: Sequence[tuple[str, TensorType | OpenType]], feeds: Mapping[str, Any]
) -> dict[str, Any]:
    """The feeds, numbers as arrays; raises `UsageError` unless they are what the model takes."""
    check_names({name: str(kind) for name, kind in inputs}, feeds)
    return {name: _given(name, kind, feeds[name]) for name, kind in inputs}


def check_names(inputs: Mapping[str, str], feeds: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless there is a value for each input, whose types are given in words."""
    wanted = ", ".join(f"{name}: {kind}" for name, kind in inputs.items()) or "nothing"
    missing = [name for name in inputs if name not in feeds]
    extra = [name for name in feeds if name not in inputs]
    if missing:
        why = f"the model takes {wanted}"
        why += f", and there is no input {extra[0]!r}" if extra else ""
        raise UsageError(f"input {missing[0]!r} is missing", why=why)
    if extra:
        raise UsageError(f"the model has no input {extra[0]!r}", why=f"it takes {wanted}")


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
