"""The Python interface: compile, look, verify, run, save, load."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcompiler.compilation import Compilation, HostSegment, NpuSegment
from kcompiler.errors import CapacityError, UsageError
from kcompiler.registry import find_target, targets

if TYPE_CHECKING:
    import os

    import onnx

    from kcompiler.buckets.bucket import Bucket, Padding
    from kcompiler.buckets.session import BucketExecutor
    from kcompiler.buckets.spec import Wish
    from kcompiler.build import Part
    from kcompiler.calibration import Preprocess, Quantization, Source
    from kcompiler.graph.node import Array
    from kcompiler.machine.instruction import Isa
    from kcompiler.machine.simulator.time import Timing
    from kcompiler.machine.target import Target
    from kcompiler.package import PackageInfo
    from kcompiler.report.data import Report
    from kcompiler.runtime import Executor
    from kcompiler.verify import Audit, LayerError, Verification

__all__ = ["CompileCost", "CompiledModel", "compile", "load", "targets"]


@dataclass(frozen=True)
class CompileCost:
    """What a compilation took: of CPU and wall time, and the process's largest resident set."""

    cpu_seconds: float
    wall_seconds: float
    peak_rss_mb: float


class CompiledModel:
    """A compiled model, fresh from `compile` or read by `load`."""

    def __init__(
        self,
        compilation: Compilation,
        target: Target,
        source: str | bytes | None = None,
        cost: CompileCost | None = None,
    ) -> None:
        self.compilation = compilation
        self.target = target
        self.cost = cost
        self.verification: Verification | None = None
        self.package: PackageInfo | None = None
        self._source = source

    def save(self, path: str | os.PathLike[str]) -> PackageInfo:
        """Write a package, all of it or nothing; raises `PackageError`."""
        from kcompiler.artifact import pack
        from kcompiler.package import write

        self.package = write(path, *pack(self.compilation, self.target))
        return self.package

    def to_bytes(self) -> bytes:
        """The bytes that `save` writes."""
        from kcompiler.artifact import pack
        from kcompiler.package import to_bytes

        return to_bytes(*pack(self.compilation, self.target))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """All outputs by name, computed by the simulator (host parts: onnxruntime)."""
        from kcompiler.session import Running

        return Running(self._executor).run(inputs)

    @property
    def last_padding(self) -> Padding | None:
        """What the last `run` computed in vain; None before it, and for a model without buckets."""
        return getattr(self._executor, "last_padding", None)

    def verify(self, inputs: Mapping[str, Array] | None = None) -> Verification:
        """Check the compiled model against the ONNX model, on these inputs or on others.

        Missing ones are taken from the first sample of the calibration data, or are random.
        The result says what differs first; nothing is raised for it. Raises `UsageError` for a
        model that was loaded from a package, which holds nothing to compare with.
        """
        from kcompiler.arguments import check_mapping
        from kcompiler.buckets.check import verify_buckets
        from kcompiler.verify import verify

        if self._source is None:
            fix = "verify the model when you compile it"
            raise UsageError("a package holds no model to verify against", fix=fix)
        check = verify if self.compilation.buckets is None else verify_buckets
        check_mapping("inputs", {} if inputs is None else inputs, 'model.verify({"x": array})')
        given = {**self.compilation.witness, **(inputs or {})} or None
        self.verification = check(self.compilation, self.target, self._source, given, self.parts)
        return self.verification

    def audit(self) -> Audit:
        """Prove from the programs' bytes alone that they are sound; see docs/verification.md.

        A model that was loaded from a package is audited too; only its products cannot be counted
        beside those of the ONNX model, which a package does not hold.
        """
        from kcompiler.verify import audit

        return audit(self.compilation, self.target, self._source)

    def layers(self, inputs: Mapping[str, Array] | None = None) -> tuple[LayerError, ...]:
        """Each kernel's error beside float32, on these inputs or on random ones, as they run.

        Raises `UsageError` for a model that was loaded from a package, which holds no graphs.
        """
        from kcompiler.compiler import reference_kernels
        from kcompiler.verify import layer_errors

        graph = self.compilation.graph
        if graph is None:
            fix = "ask for its layers when you compile the model"
            raise UsageError("a package holds no graph to compare its kernels with", fix=fix)
        if "quantization" in self.compilation.facts:
            why = "its kernels have other borders than those of float32"
            fix = "its report has a table of its products: --layers, or report().quantization"
            raise UsageError("a quantized model has no layers to compare", why=why, fix=fix)
        return layer_errors(
            self.compilation, self.target, reference_kernels(graph, self.target), inputs
        )

    def parts(self, segment: NpuSegment) -> tuple[Part, ...]:
        """The tiled kernels of a segment, in the order of its program; none for a loaded one."""
        from kcompiler.build import parts_of
        from kcompiler.compiler import tools_for

        if segment.graph is None:
            return ()
        return parts_of(segment.graph, tools_for(self.target).tile)

    def report(self) -> Report:
        """Where the operators run, predicted time and bytes, and what is known about errors."""
        from kcompiler.report.data import make_report

        return make_report(self)

    @cached_property
    def timings(self) -> tuple[Timing | None, ...]:
        """The predicted time of every segment; None for those of the host."""
        from kcompiler.machine.simulator.time import simulate_time

        codes = iter(self.code)
        return tuple(
            None
            if isinstance(s, HostSegment)
            else simulate_time(s.program, self.target, next(codes))
            for s in self.compilation.segments
        )

    @cached_property
    def code(self) -> tuple[Sequence[Isa], ...]:
        """The instructions of each of `programs`, decoded from its bytes."""
        return tuple(self.target.isa.decode_program(s.program.code) for s in self.programs)

    @property
    def programs(self) -> tuple[NpuSegment, ...]:
        """The segments that run on the NPU."""
        return tuple(s for s in self.compilation.segments if isinstance(s, NpuSegment))

    @cached_property
    def buckets(self) -> tuple[tuple[Bucket, CompiledModel], ...]:
        """Each bucket as a model of its own; none where all dimensions have one extent."""
        found = self.compilation.buckets
        members = found.members if found is not None else ()
        return tuple((b, CompiledModel(b.compilation, self.target)) for b in members)

    @cached_property
    def _executor(self) -> Executor | BucketExecutor:
        from kcompiler.session import executor_of

        return executor_of(self.compilation, self.target)


def compile(  # noqa: A001 - the verb of the library; nobody imports it bare
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    target: str | Target = "rebel",
    *,
    precision: str | None = None,
    dims: Mapping[str, Wish] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, Array] | None = None,
    calibration: Source | None = None,
    preprocess: str | Preprocess | None = None,
    quantization: Quantization | None = None,
    strict: bool = False,
) -> CompiledModel:
    """Compile an ONNX model (path, bytes or message) for a target, by name or as an object.

    `precision` is one of the target's, by default its first; `dims` gives open dimensions an extent
    or buckets ("1..512:128"), `shapes` fixes whole inputs, `values` makes inputs constants (a mode,
    the k of a TopK, a new shape), which the compiled model then no longer takes. Integers need
    `calibration` data (`kcompiler.Quantization` says which, and has the other choices), of which
    `preprocess` ("scale=255,mean=0.498,std=0.502,layout=NHWC") makes inputs. With `strict`, nothing
    but casts of inputs and outputs may run on the host. Raises `ModelError`, `UsageError`,
    `UnsupportedError` or `CapacityError`.
    """
    from kcompiler.arguments import check_file, check_mapping, dims_of, shapes_of

    check_file("a model", model, message=True)
    check_mapping("values", {} if values is None else values, 'values={"k": np.array(5)}')
    extents, fixed = dims_of(dims), shapes_of(shapes)
    chosen = _target(target)
    from kcompiler.buckets.compile import compile_dims
    from kcompiler.calibration.recipe import quantization_of
    from kcompiler.compiler import Options
    from kcompiler.strict import refuse_host_work
    from kcompiler.threads import one_thread

    source: Any = model if isinstance(model, bytes) or _is_message(model) else Path(model)
    cpu, wall = time.process_time(), time.perf_counter()
    recipe = quantization_of(calibration, preprocess, quantization)
    options = Options(precision, {}, fixed, values or {}, quantization=recipe)
    try:
        with one_thread():
            compilation = compile_dims(source, chosen, options, extents)
    except MemoryError as error:
        raise _too_large(error) from None
    if strict:
        refuse_host_work(compilation)
    cost = CompileCost(time.process_time() - cpu, time.perf_counter() - wall, _peak_rss_mb())
    return CompiledModel(compilation, chosen, _oracle(source), cost)


def load(path: str | os.PathLike[str] | bytes) -> CompiledModel:
    """A compiled model from a package (path or bytes); raises `PackageError` for anything odd."""
    from kcompiler.arguments import check_file
    from kcompiler.artifact import unpack
    from kcompiler.package import from_bytes, read

    check_file("a package", path)
    opened = from_bytes(path) if isinstance(path, bytes) else read(path)
    return CompiledModel(*unpack(opened))


def _target(target: str | Target) -> Target:
    from kcompiler.arguments import check_is
    from kcompiler.machine.target import Target

    if isinstance(target, str):
        return find_target(target)
    check_is("a target", target, Target, f"one of: {', '.join(targets())}, or a Target")
    return target


def _too_large(error: MemoryError) -> CapacityError:
    why = str(error) or "an allocation failed"
    return CapacityError("this computer has too little memory to compile the model", why=why)


def _is_message(model: object) -> bool:
    return hasattr(model, "SerializeToString")


def _oracle(source: Any) -> str | bytes:
    """The model in the form that onnxruntime takes."""
    if isinstance(source, Path):
        return str(source)
    data: bytes = source if isinstance(source, bytes) else source.SerializeToString()
    return data


def _peak_rss_mb() -> float:
    import resource  # not on Windows, where only this number would be missing

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024
