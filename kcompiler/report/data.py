"""What a compilation amounts to, in numbers; the tables and the JSON object are made from this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kcompiler.compilation import Compilation, HostSegment, NpuSegment
from kcompiler.errors import KcompilerError
from kcompiler.machine.crossing import Crossing, crossings, link_seconds
from kcompiler.machine.facts import facts
from kcompiler.machine.queues import is_wait

if TYPE_CHECKING:
    from kcompiler.api import CompileCost, CompiledModel
    from kcompiler.buckets.bucket import Bucket
    from kcompiler.graph.types import OpenType, TensorType
    from kcompiler.machine.chip import Chip, Memory
    from kcompiler.machine.instruction import Isa
    from kcompiler.machine.program import Program
    from kcompiler.package import PackageInfo
    from kcompiler.verify import Verification


@dataclass(frozen=True)
class BucketTime:
    """What one bucket takes, on the NPU."""

    dims: Mapping[str, int]
    cycles: int
    seconds: float
    dram_bytes: int

    def json(self) -> dict[str, Any]:
        """The bucket as an object."""
        return dict(vars(self))


@dataclass(frozen=True)
class Report:
    """A compiled model's summary. Times and bytes are the NPU's; the host's are not predicted."""

    model: str
    target: str
    precision: str
    calibrated: str
    inputs: tuple[tuple[str, TensorType | OpenType], ...]
    outputs: tuple[tuple[str, TensorType | OpenType], ...]
    npu_nodes: int
    host_nodes: int
    npu_macs: int
    host_macs: int
    cycles: int
    seconds: float
    bound_seconds: float
    dram_bytes: int
    compulsory_bytes: int
    memory: Mapping[str, tuple[int, int]]  # name -> (peak, size) in bytes
    on_chip: tuple[str, ...]  # which of these are on chip
    unknown_facts: int
    total_facts: int
    notes: tuple[str, ...]
    verification: Verification | None = None
    cost: CompileCost | None = None
    package: PackageInfo | None = None
    crossings: tuple[Crossing, ...] = ()  # over the link to the host, in one run
    link_seconds: float = 0.0  # of all of them, modelled; not in `seconds`
    link_between: float = 0.0  # of those between parts of the model
    buckets: tuple[BucketTime, ...] = ()  # the rest of the report is that of the largest
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # extents that they take
    quantization: Mapping[str, Any] | None = None  # what was decided, and how exact it is

    @property
    def mac_share(self) -> float:
        """The share of multiply-accumulates on the NPU; 1 when there are none."""
        total = self.npu_macs + self.host_macs
        return self.npu_macs / total if total else 1.0

    def json(self) -> dict[str, Any]:
        """The object that `--json` prints; parts that were not asked for are null."""
        return {
            "model": self.model,
            "target": self.target,
            "precision": self.precision,
            "nodes": {"npu": self.npu_nodes, "host": self.host_nodes},
            "mac_share": self.mac_share,
            "time": {
                "cycles": self.cycles,
                "seconds": self.seconds,
                "bound_seconds": self.bound_seconds,
            },
            "traffic": {
                "dram_bytes": self.dram_bytes,
                "compulsory_bytes": self.compulsory_bytes,
            },
            "memory": {name: {"peak": p, "size": s} for name, (p, s) in self.memory.items()},
            "link": _link(self),
            **({"buckets": [b.json() for b in self.buckets]} if self.buckets else {}),
            **({"quantization": dict(self.quantization)} if self.quantization else {}),
            "notes": list(self.notes),
            "facts": {"unknown": self.unknown_facts, "total": self.total_facts},
            "verify": _verify(self.verification),
            "compile": _compile(self.cost),
            "package": _package(self.package),
        }


def make_report(model: CompiledModel) -> Report:
    """The summary of a compiled model as it stands."""
    compilation, chip = model.compilation, model.target.chip
    timings = [t for t in model.timings if t is not None]
    numbers = facts(chip)
    crossed = crossings(compilation)
    between = [c.nbytes for c in crossed if not c.border]
    return Report(
        model=compilation.model,
        target=compilation.target,
        precision=compilation.precision,
        calibrated=chip.calibrated,
        inputs=compilation.inputs,
        outputs=compilation.outputs,
        npu_nodes=len(npu_origins(compilation)),
        host_nodes=sum(len(s.operators) for s in hosts(compilation)),
        npu_macs=sum(k.macs for s in model.programs for k in s.program.kernels),
        host_macs=sum(host_macs(s) for s in hosts(compilation)),
        cycles=sum(t.cycles for t in timings),
        seconds=sum(t.seconds for t in timings),
        bound_seconds=sum(t.bound.seconds for t in timings),
        dram_bytes=sum(t.dram_bytes for t in timings),
        compulsory_bytes=sum(t.bound.compulsory_bytes for t in timings),
        memory={m.name: (_peak(model, m), m.size.value) for m in chip.memories},
        on_chip=tuple(m.name for m in chip.memories if m.name != chip.dram),
        unknown_facts=sum(fact.uncertain for fact in numbers.values()),
        total_facts=len(numbers),
        notes=compilation.notes,
        verification=model.verification,
        cost=model.cost,
        package=model.package,
        crossings=crossed,
        link_seconds=link_seconds([c.nbytes for c in crossed], chip.host),
        link_between=link_seconds(between, chip.host),
        buckets=tuple(_bucket(b, made) for b, made in model.buckets),
        limits={} if compilation.buckets is None else compilation.buckets.limits,
        quantization=compilation.facts.get("quantization"),
    )


def _bucket(bucket: Bucket, model: CompiledModel) -> BucketTime:
    timings = [t for t in model.timings if t is not None]
    cycles, seconds = sum(t.cycles for t in timings), sum(t.seconds for t in timings)
    return BucketTime(dict(bucket.dims), cycles, seconds, sum(t.dram_bytes for t in timings))


def hosts(compilation: Compilation) -> list[HostSegment]:
    """The segments that run on the host."""
    return [s for s in compilation.segments if isinstance(s, HostSegment)]


def npu_origins(compilation: Compilation) -> tuple[str, ...]:
    """The ONNX nodes that kernels came from, each once, in program order.

    A kernel that converts an input comes from that input, which is no node.
    """
    segments = (s for s in compilation.segments if isinstance(s, NpuSegment))
    names = (name for s in segments for k in s.program.kernels for name in k.origins)
    inputs = {name for name, _ in compilation.inputs}
    return tuple(name for name in dict.fromkeys(names) if name not in inputs)


def host_macs(segment: HostSegment) -> int:
    """Multiply-accumulates of a host part, as far as our operators express it; 0 for the rest."""
    from kcompiler.frontend import load_model

    try:
        return load_model(segment.model, allow_nan=True).graph.macs()
    except KcompilerError:
        return 0


def _peak(model: CompiledModel, memory: Memory) -> int:
    """The most bytes of a memory in use; of a per-core one, by any one kernel on a core.

    Kernels take turns at the two ends of a per-core memory: the program as a whole spans all of it.
    """
    if not memory.per_core:
        return max((s.program.used.get(memory.name, 0) for s in model.programs), default=0)
    programs = zip(model.programs, model.code, strict=True)
    extents = (_extent(s.program, code, model.target.chip, memory) for s, code in programs)
    return max(extents, default=0)


def _extent(program: Program, code: Sequence[Isa], chip: Chip, memory: Memory) -> int:
    """What is read in a per-core memory was written there before: writes alone tell."""
    most = 0
    for kernel in program.kernels:
        block = code[kernel.first : kernel.first + kernel.count]
        touches = [t for i in block if not is_wait(i) for t in i.writes(chip)]
        own = [t for t in touches if t.memory == memory.name and not t.empty]
        if own:
            most = max(most, max(t.stop for t in own) - min(t.start for t in own))
    return most


def _link(report: Report) -> dict[str, Any]:
    """Bytes and time over the host's link, those between parts of the model by themselves."""
    between = [c for c in report.crossings if not c.border]
    return {
        "to_npu_bytes": sum(c.nbytes for c in report.crossings if c.to == "npu"),
        "to_host_bytes": sum(c.nbytes for c in report.crossings if c.to == "host"),
        "seconds": report.link_seconds,
        "between": {
            "values": len(between),
            "bytes": sum(c.nbytes for c in between),
            "seconds": report.link_between,
        },
    }


def _verify(result: Verification | None) -> dict[str, Any] | None:
    if result is None:
        return None
    outputs = {
        name: {
            "max_abs_err": _finite(e.max_abs_err),
            "sqnr_db": _finite(e.sqnr_db),
            "not_finite": e.nonfinite + e.alike,
        }
        for name, e in result.outputs.items()
    }
    audit = None if result.audit is None else result.audit.json()
    random = {"random": list(result.random)} if result.random else {}
    found = {"ok": result.ok, "reference": result.reference, "outputs": outputs, "audit": audit}
    return {**found, **random}


def _finite(value: float | None) -> float | None:
    """JSON has no infinities."""
    return value if value is not None and abs(value) < float("inf") else None


def _compile(cost: CompileCost | None) -> dict[str, Any] | None:
    if cost is None:
        return None
    return {
        "cpu_seconds": round(cost.cpu_seconds, 3),
        "wall_seconds": round(cost.wall_seconds, 3),
        "peak_rss_mb": round(cost.peak_rss_mb, 1),
    }


def _package(info: PackageInfo | None) -> dict[str, Any] | None:
    if info is None:
        return None
    return {"path": str(info.path), "bytes": info.bytes, "sha256": info.sha256}
