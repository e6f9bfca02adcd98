"""Compiled models for their users: a session in onnxruntime's manner, and errors with a cure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kcompiler.buckets.bucket import shape_of
from kcompiler.buckets.session import BucketExecutor
from kcompiler.compilation import Compilation, NpuSegment
from kcompiler.errors import CapacityError, PackageError, UsageError
from kcompiler.graph.types import OpenType, TensorType, is_float
from kcompiler.host import ORT_TYPES
from kcompiler.machine.simulator.function import SimulationError
from kcompiler.machine.simulator.memories import MachineFault
from kcompiler.runtime import Executor

if TYPE_CHECKING:
    import os

    from kcompiler.buckets.bucket import Padding
    from kcompiler.buckets.layout import Layout
    from kcompiler.machine.target import Target


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
        from kcompiler.arguments import check_file
        from kcompiler.artifact import unpack
        from kcompiler.package import from_bytes, read

        check_file("a package", source)
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
        from kcompiler.arguments import check_names

        check_names(output_names)
        names = [name for name, _ in self._executor.compilation.outputs]
        unknown = next((n for n in output_names or () if n not in names), None)
        if unknown is not None:
            raise UsageError(
                f"the model has no output {unknown!r}", why=f"its outputs are {', '.join(names)}"
            )
        results = self._running.run(input_feed)
        return [results[name] for name in (names if output_names is None else output_names)]


def executor_of(compilation: Compilation, target: Target) -> Executor | BucketExecutor:
    """What runs a compilation, with buckets or without."""
    if compilation.buckets is None:
        return Executor(compilation, target)
    return BucketExecutor(compilation, compilation.buckets, target)


@dataclass(frozen=True)
class Running:
    """An executor for users: what goes wrong inside the machine becomes an error with a cure."""

    executor: Executor | BucketExecutor

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """All outputs by name; raises `UsageError`, `PackageError`, `CapacityError`."""
        from kcompiler.arguments import check_mapping

        check_mapping("inputs", feeds, '{"x": array}')
        try:
            return self.executor.run(feeds)
        except SimulationError as error:
            raise _faulty(str(error)) from error
        except MachineFault as error:
            raise _faulty(f"it {error}") from error
        except MemoryError:
            raise _no_memory(self.executor.compilation) from None


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
