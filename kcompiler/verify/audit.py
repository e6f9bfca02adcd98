"""The audit of a compiled model: each program's bytes, and its products beside the ONNX graph's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kcompiler.compilation import Compilation, HostSegment, NpuSegment
from kcompiler.machine.auditor import Finding, ProgramAudit, audit_program

if TYPE_CHECKING:
    from kcompiler.machine.program import KernelInfo
    from kcompiler.machine.target import Target


@dataclass(frozen=True)
class Audit:
    """What an audit looked at and found; no findings is a proof of all properties.

    These are about bytes: `docs/verification.md` says of each how far it goes.

    `macs` are those that were counted in the programs. `derived` of them are what the ONNX graph's
    shapes ask for, the others what the programs say themselves.
    """

    findings: tuple[Finding, ...]
    programs: int
    instructions: int
    accesses: int
    macs: int
    derived: int

    @property
    def ok(self) -> bool:
        """Whether every property holds."""
        return not self.findings

    def json(self) -> dict[str, Any]:
        """The audit as an object."""
        return {**vars(self), "ok": self.ok, "findings": [f.json() for f in self.findings]}


def audit(compilation: Compilation, target: Target, source: str | bytes | None = None) -> Audit:
    """Audit all programs of a compilation, those of its buckets included.

    `source` is the ONNX model, where it is at hand: its shapes then say how many products there
    must be. Nothing is raised for what is found.
    """
    buckets = compilation.buckets
    members = [compilation] if buckets is None else [b.compilation for b in buckets.members]
    return together([_audit(each, target, source) for each in members])


def together(parts: Sequence[Audit]) -> Audit:
    """Several audits as one."""
    numbers = ("programs", "instructions", "accesses", "macs", "derived")
    sums = {name: sum(getattr(p, name) for p in parts) for name in numbers}
    return Audit(tuple(f for p in parts for f in p.findings), **sums)


def _audit(compilation: Compilation, target: Target, source: str | bytes | None) -> Audit:
    npu = [
        (i, s, audit_program(s.program, target))
        for i, s in enumerate(compilation.segments)
        if isinstance(s, NpuSegment)
    ]
    findings = [replace(f, segment=i) for i, _, made in npu for f in made.findings]
    derived = 0
    if source is not None:
        network = _Network(compilation, source)
        derived = network.compare([(i, s, a) for i, s, a in npu])
        findings += network.findings
    return Audit(
        findings=tuple(findings),
        programs=len(npu),
        instructions=sum(a.instructions for _, _, a in npu),
        accesses=sum(a.accesses for _, _, a in npu),
        macs=sum(a.macs for _, _, a in npu),
        derived=derived,
    )


class _Network:
    """An ONNX graph's products beside those of the kernels that were made of it."""

    def __init__(self, compilation: Compilation, source: str | bytes) -> None:
        from kcompiler.verify.network import network_macs, operators

        self.operators = operators(source)
        elsewhere = {
            name
            for s in compilation.segments
            if isinstance(s, HostSegment)
            for name, _, _ in s.operators
        }
        counted = network_macs(source, compilation)
        self.asked = {name: macs for name, macs in counted.items() if name not in elsewhere}
        self.findings: list[Finding] = []

    def compare(self, npu: Sequence[tuple[int, NpuSegment, ProgramAudit]]) -> int:
        """Products that were derived; findings where programs do others."""
        from kcompiler.verify.network import groups

        kernels = [
            (i, kernel, macs)
            for i, segment, made in npu
            for kernel, macs in zip(segment.program.kernels, made.kernel_macs, strict=True)
        ]
        derived = 0
        for numbers, names in groups([k.origins for _, k, _ in kernels], self.asked):
            together = [kernels[n] for n in sorted(numbers)]
            counts = [macs for _, _, macs in together if macs is not None]
            if len(counts) < len(together) or not self._known([k for _, k, _ in together], names):
                continue
            asked, found = sum(self.asked[n] for n in names), sum(counts)
            if found > asked and any(_integers(k) for _, k, _ in together):
                continue  # zero points make sums of their own
            derived += asked
            if found != asked:
                self.findings.append(_finding(together[0][:2], names, found, asked))
        return derived

    def _known(self, kernels: Sequence[KernelInfo], names: set[str]) -> bool:
        """Whether counts tell: all products are in sums, and none of other or of merged nodes."""
        from kcompiler.verify.network import PLAIN

        if not any(k.macs for k in kernels):
            return False  # products inside of other arithmetic, which no kernel counts
        others = {n for k in kernels for n in k.origins} - names
        if any(self.operators.get(n, "") not in PLAIN for n in others):
            return False
        alike = [(self.operators[n], self.asked[n]) for n in names]
        return len(set(alike)) == len(alike)


def _integers(kernel: KernelInfo) -> bool:
    return any(b.dtype.kind in "iu" and b.dtype.itemsize == 1 for b in kernel.inputs)


def _finding(kernel: tuple[int, KernelInfo], names: set[str], found: int, asked: int) -> Finding:
    segment, info = kernel
    why = f"does {found:,} multiply-accumulates for {', '.join(sorted(names))}"
    return Finding(
        "macs", f"{why}, whose shapes in the ONNX model ask for {asked:,}",
        kernel=info.name, origins=info.origins, segment=segment,
    )  # fmt: skip
