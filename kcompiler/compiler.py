"""The compiler: the pipeline from an ONNX model to the segments of a package.

This is the composition root: the only module of the kernel that names passes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kcompiler.buckets.layout import is_position
from kcompiler.build import Tools, build_program
from kcompiler.calibration import Quantization, Samples, read_samples
from kcompiler.compilation import Compilation, HostSegment, NpuSegment
from kcompiler.errors import UsageError
from kcompiler.frontend import Imported, load_model
from kcompiler.graph.node import Array, Graph
from kcompiler.graph.operators import Fused
from kcompiler.graph.types import F32, is_float, parse_dtype
from kcompiler.host import HostOperators
from kcompiler.machine.cost import multiplies
from kcompiler.machine.crossing import not_worth_crossing
from kcompiler.machine.target import CALIBRATED, FLOATS, WEIGHTS, Target
from kcompiler.passes.expand import Expand, Refusal, accept
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.group_weights import GroupWeights
from kcompiler.passes.integer import Integer
from kcompiler.passes.integer.eights import TYPES as EIGHTS
from kcompiler.passes.partition import Partition, Segment
from kcompiler.passes.place import Place
from kcompiler.passes.precision import FLOATS as PRECISIONS
from kcompiler.passes.precision import Precision, multiplies_f32
from kcompiler.passes.quantize import Plan, Quantize
from kcompiler.passes.recognize import Recognize
from kcompiler.passes.simplify import Simplify
from kcompiler.passes.synchronize import Synchronize
from kcompiler.passes.tile import Tile
from kcompiler.pipeline import Hook, Pass, run

_MEMBERS = 120  # of a kernel of an integer-only chip: each quantization is up to ten operators

Source: TypeAlias = "str | os.PathLike[str] | bytes | Any"


@dataclass(frozen=True)
class Options:
    """What a compilation may be told; nothing inside the compiler reads the environment."""

    precision: str | None = None  # None: the target's default
    dims: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, Array] = field(default_factory=dict)  # inputs that become constants
    hook: Hook | None = None
    quantization: Quantization = field(default_factory=Quantization)


def graph_pipeline(
    precision: str,
    refusal: Refusal = accept,
    quantize: Quantize | None = None,
    weights: GroupWeights | None = None,
    *,
    integer_only: bool = False,
    logarithms: bool = True,
    eights: tuple[str, ...] = EIGHTS,
    log: list[str] | None = None,
) -> tuple[Pass, ...]:
    """The passes from an imported graph to a graph of kernels, for a target with a refusal.

    What stays float is stored as `precision`; sums before `logarithms` may take float32; the chip
    multiplies the 8-bit floats `eights`. What `precision` changes is said in `log`.
    """
    return (
        Simplify(),
        Recognize(),
        *(() if quantize is None else (quantize,)),
        Integer(eights=eights),
        Expand(refusal=refusal),
        *(() if weights is None else (weights,)),
        Fuse(integer=True, max_members=_MEMBERS) if integer_only else Fuse(),
        Precision(float=precision, logarithms=logarithms, log=log),
    )


def tools_for(target: Target) -> Tools:
    """The passes below the graph."""
    return Tools(
        tile=Tile(chip=target.chip).run,
        place=Place(chip=target.chip).place,
        synchronize=Synchronize(target=target).run,
    )


def partition_for(target: Target, later: Collection[str] = ()) -> Partition:
    """The pass that cuts a model for a target; the host reads some of the graph's outputs later."""
    island = partial(not_worth_crossing, target.chip)
    return Partition(refusal=target.refusal, island=island, later=later)


def compile_model(source: Source, target: Target, options: Options | None = None) -> Compilation:
    """Compile an ONNX model (path, bytes or message) for a target; raises `KcompilerError`."""
    options = options or Options()
    chosen_precision(target, options.precision)  # said before the model is read
    return compile_imported(source, import_model(source, options), target, options)


def import_model(source: Source, options: Options) -> Imported:
    """The graph of a model."""
    model = Path(source) if isinstance(source, os.PathLike) else source
    return load_model(model, dims=options.dims, shapes=options.shapes, values=options.values)


def compile_imported(
    source: Source,
    imported: Imported,
    target: Target,
    options: Options,
    plan: Plan | None = None,
) -> Compilation:
    """Compile the graph of a model, which may have been changed after the import.

    A `plan` is given to all graphs of one model.
    """
    precision = chosen_precision(target, options.precision)
    quantize = quantize_for(target, precision, imported, options.quantization, plan)
    stored = precision if precision in FLOATS else target.float_type
    weights = weights_for(precision, options.quantization)
    changed: list[str] = []
    pipeline = graph_pipeline(
        stored,
        target.refusal,
        quantize,
        weights,
        integer_only=target.integer_only,
        logarithms=multiplies(target.chip.matrix, F32),
        eights=tuple(t for t in EIGHTS if multiplies(target.chip.matrix, parse_dtype(t))),
        log=changed,
    )
    kernels = run(pipeline, imported.graph, options.hook)
    report = next((r for p in (quantize, weights) if p is not None for r in p.log or ()), None)
    told = report.notes() if report is not None else ()
    tools = tools_for(target)
    later = imported.tail.inputs if imported.tail is not None else ()
    segments: list[NpuSegment | HostSegment] = [
        _segment(s, target, tools) for s in partition_for(target, later).run(kernels)
    ]
    if imported.tail is not None:
        segments.append(HostSegment(**vars(imported.tail)))
    graph = imported.graph
    return Compilation(
        model=_name_of(source, graph),
        target=target.name,
        precision=precision,
        inputs=imported.inputs,
        outputs=imported.outputs,
        segments=tuple(segments),
        graph=graph,
        notes=(
            *imported.warnings,
            *_notes(graph, kernels, precision, stored),
            *changed,
            *_waiting(imported.deciding, segments),
            *told,
        ),
        facts={} if report is None else {"quantization": report.json()},
        values=imported.values,
        deciding=imported.deciding,
        witness=quantize.samples[0] if quantize is not None and quantize.samples else {},
    )


def quantize_for(
    target: Target,
    precision: str,
    imported: Imported,
    wanted: Quantization,
    plan: Plan | None = None,
) -> Quantize | None:
    """The pass that narrows data, with the samples that it learns from; reads them.

    Where `plan` says what to do already, no data are read.
    """
    if precision not in CALIBRATED:
        if wanted.data is not None:
            known = " or ".join(p for p in CALIBRATED if p in target.precisions)
            fix = f"say --precision {known.replace(' or ', ', ', known.count(' or ') - 1)}"
            fix = fix if known else f"{target.name} has no precision that is calibrated"
            raise UsageError(f"calibration data have no use in {precision}", fix=fix)
        return None
    samples = Samples(())
    if wanted.data is not None and (plan is None or plan.report is None):
        samples = _read(imported, wanted)
    return Quantize(
        samples=samples.runs,
        labels=samples.labels,
        more=samples.more,
        notes=samples.notes,
        min_sqnr=wanted.min_sqnr if precision == "mixed" else 0.0,
        everything=target.integer_only,
        **_narrow(precision, target),
        host=HostOperators(),
        plan=plan,
        log=[],
        **wanted.choices(),
    )


def plan_for(wanted: Quantization) -> Plan | None:
    """What the graphs of one model share when they are calibrated."""
    return None if wanted.data is None else Plan()


def _read(imported: Imported, wanted: Quantization) -> Samples:
    """The samples, with the numbers of rows for programs that take them."""
    places = [i for i in imported.graph.inputs if is_position(i.name)]
    inputs = [(i.name, i.type) for i in imported.graph.inputs if not is_position(i.name)]
    if wanted.data is None:
        return Samples(())
    found = read_samples(wanted.data, inputs, wanted.preprocess)
    _check_labels(found, imported.graph)
    rows = {i.name: np.arange(i.type.size, dtype=i.dtype).reshape(i.shape) for i in places}
    return replace(found, runs=tuple({**feeds, **rows} for feeds in found.runs))


def _check_labels(samples: Samples, graph: Graph) -> None:
    """Raise `UsageError` for classes that no output has."""
    shapes = [value.shape for _, value in graph.outputs]
    classes = max((shape[1] for shape in shapes if len(shape) == 2), default=None)
    largest = max((int(row.max()) for row in samples.labels or () if row.size), default=-1)
    if classes is not None and largest >= classes:
        why = f"the largest is {largest}, and the outputs have {classes} classes, from 0 on"
        raise UsageError("the labels do not fit the model", why=why)


def _narrow(precision: str, target: Target) -> dict[str, Any]:
    """What narrow numbers are, and from which length of sums on they are worth it."""
    if precision != "fp8":
        return {}
    return {"kind": "fp8", "rows": int(target.chip.matrix.rows.value)}


def weights_for(precision: str, wanted: Quantization) -> GroupWeights | None:
    """The pass that narrows weights alone."""
    if precision not in WEIGHTS:
        return None
    return GroupWeights(kind=WEIGHTS[precision], size=wanted.group_size, log=[])


def reference_kernels(graph: Graph, target: Target) -> Graph:
    """The kernels of an imported graph in float32: what those of another precision stand beside."""
    kernels: Graph = run(graph_pipeline("f32", target.refusal), graph)
    return kernels


def chosen_precision(target: Target, wanted: str | None) -> str:
    """The precision to compile for; an unknown one is the user's error."""
    if wanted is None:
        return target.precisions[0]
    name = {
        "fp16": "f16",
        "fp32": "f32",
        "float16": "f16",
        "float32": "f32",
        "bfloat16": "bf16",
    }.get(wanted, wanted)
    if name not in target.precisions:
        known = ", ".join(target.precisions)
        raise UsageError(f"{target.name} has no precision {wanted!r}", fix=f"one of: {known}")
    return name


def _segment(segment: Segment, target: Target, tools: Tools) -> NpuSegment | HostSegment:
    if segment.kind == "npu":
        return NpuSegment(build_program(segment.graph, target, tools), segment.graph)
    return host_segment(segment)


def host_segment(segment: Segment) -> HostSegment:
    """A part that runs on the host."""
    from kcompiler.frontend.export import export_model
    from kcompiler.frontend.export_operators import operators_of

    graph = segment.graph
    operators = operators_of(graph, segment.refused)
    return HostSegment(
        model=export_model(graph),
        inputs=tuple(i.name for i in graph.inputs),
        outputs=tuple(name for name, _ in graph.outputs),
        operators=operators,
        beside=frozenset(name for name, _, why in operators if why in segment.beside),
    )


def _name_of(source: Source, graph: Graph) -> str:
    return Path(source).name if isinstance(source, str | os.PathLike) else graph.name


def _waiting(
    deciding: Sequence[str], segments: Sequence[NpuSegment | HostSegment]
) -> Iterator[str]:
    """That inputs decide what is computed, where the host works because of it."""
    if deciding and any(isinstance(s, HostSegment) for s in segments):
        options = " ".join(f"--value {name}=…" for name in deciding)
        yield f"what runs on the host waits for inputs that could be constants: {options}"


def _notes(graph: Graph, kernels: Graph, precision: str, stored: str) -> list[str]:
    """What the user should know was changed."""
    rest = "sums and element-wise work are float32"
    if precision in WEIGHTS and stored != "f32":
        return [f"float tensors between kernels are stored as {stored}; {rest}"]
    if precision not in FLOATS:
        left = any(isinstance(n, Fused) and n.dtype == PRECISIONS[stored] for n in kernels.nodes)
        where = "float tensors that are left between kernels are stored as"
        return [f"{where} {stored}; {rest}"] if left and stored != "f32" else []
    floats = {str(n.dtype) for n in graph.nodes if is_float(n.dtype)}
    if precision == "f32" or not floats - {"float16"}:
        return []
    found = [f"float tensors between kernels are stored as {precision}; {rest}"]
    careful = [n for n in kernels.nodes if isinstance(n, Fused) and multiplies_f32(n)]
    if careful:
        first = ", ".join(careful[0].origin)
        why = "a logarithm of their sums would magnify what rounding leaves"
        found.append(f"{len(careful)} kernels multiply float32, from {first} on: {why}")
    return found
