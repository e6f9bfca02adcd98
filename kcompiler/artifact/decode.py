"""A compilation from a package that nobody vouches for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kcompiler.artifact.bucketed import segments_of_buckets, unpacked_buckets
from kcompiler.artifact.check import Check, check_code, check_dataflow, fail
from kcompiler.artifact.encode import code_section, constant_section, host_section
from kcompiler.artifact.identity import chip_digest, instruction_set_digest
from kcompiler.artifact.quantized import read_facts
from kcompiler.compilation import Compilation, HostSegment, NpuSegment, Segment
from kcompiler.graph.types import BOOL, OpenType, TensorType
from kcompiler.machine.program import Binding, KernelInfo, Program
from kcompiler.registry import find_target

if TYPE_CHECKING:
    from kcompiler.graph.node import Array
    from kcompiler.machine.target import Target
    from kcompiler.package import Package

MAX_MACS = 1 << 63


def unpack(package: Package) -> tuple[Compilation, Target]:
    """The compilation that a package holds, and its target; raises `PackageError` for anything odd.

    Raises `UsageError` when the target or the precision is not known here.
    """
    check = Check(package)
    target = find_target(check.text("target"))
    _check_identity(package, target)
    count = len(package.require("segments", kind=list, high=1 << 16))
    compilation = Compilation(
        model=check.text("model"),
        target=target.name,
        precision=_precision(check, target),
        inputs=_interface(check, "inputs"),
        outputs=_interface(check, "outputs"),
        segments=tuple(_segment(check, target, i) for i in range(count)),
        notes=tuple(check.texts("notes")),
        facts=read_facts(package),
    )
    if package.manifest.get("buckets") is not None:
        return _bucketed(check, compilation), target
    check_dataflow(compilation, package.origin)
    return compilation, target


def _bucketed(check: Check, whole: Compilation) -> Compilation:
    """The compilation of the largest bucket; all segments of the package are those of `whole`."""
    members = [
        replace(
            whole,
            inputs=_interface(check, "buckets", "members", i, "inputs"),
            outputs=_interface(check, "buckets", "members", i, "outputs"),
            segments=segments,
        )
        for i, segments in enumerate(segments_of_buckets(check, whole.segments))
    ]
    for member in members:
        check_dataflow(member, check.origin)
    return replace(members[-1], buckets=unpacked_buckets(check, members))


def _precision(check: Check, target: Target) -> str:
    found = check.text("precision")
    if found not in target.precisions:
        fail(check.origin, f"the target {target.name!r} has no precision {found!r:.40}")
    return found


def _check_identity(package: Package, target: Target) -> None:
    """What was compiled for another chip or encoding would run, and mean something else."""
    chip = package.require("chip", "sha256", kind=str)
    isa = package.require("instruction_set", kind=str)
    what = ""
    if chip != chip_digest(target.chip):
        what = "chip description"
    if isa != instruction_set_digest(target.isa):
        what = "instruction set"
    if what:
        fail(package.origin, f"it was compiled for another {what} of the target {target.name!r}")


def _interface(check: Check, *at: str | int) -> tuple[tuple[str, TensorType | OpenType], ...]:
    count = check.length(*at)
    found = tuple((check.text(*at, i, "name"), check.any_type(*at, i)) for i in range(count))
    names = [name for name, _ in found]
    if len(set(names)) != len(names):
        fail(check.origin, f"two of its {at[-1]} have the same name")
    return found


def _segment(check: Check, target: Target, index: int) -> Segment:
    at = ("segments", index)
    kind = check.text(*at, "kind")
    if kind not in {"host", "npu"}:
        fail(check.origin, f"segment {index} is of the kind {kind!r:.40}, neither npu nor host")
    if kind == "host":
        return _host(check, index)
    return NpuSegment(_Npu(check, target, index).program())


def _host(check: Check, index: int) -> HostSegment:
    at = ("segments", index)
    operators = []
    for i in range(check.length(*at, "operators")):
        node, operator, why = (check.text(*at, "operators", i, k) for k in range(3))
        operators.append((node, operator, why))
    return HostSegment(
        bytes(check.package.section(host_section(index))),
        tuple(check.texts(*at, "inputs")),
        tuple(check.texts(*at, "outputs")),
        tuple(operators),
    )


class _Npu:
    """The program of one segment."""

    def __init__(self, check: Check, target: Target, index: int) -> None:
        self.check, self.target, self.index = check, target, index
        self.at = ("segments", index)
        self.used = self._used()
        self.tensors = [self._tensor(i) for i in range(check.length(*self.at, "tensors"))]

    def program(self) -> Program:
        constants = self._list(*self.at, "constants")
        values = {c.name: self._constant(i, c) for i, c in enumerate(constants)}
        if len(values) != len(constants):
            fail(self.check.origin, f"two constants of segment {self.index} have the same name")
        kernels = self.check.length(*self.at, "kernels")
        program = Program(
            target=self.target.name,
            code=bytes(self.check.package.section(code_section(self.index))),
            inputs=self._list(*self.at, "inputs"),
            outputs=self._list(*self.at, "outputs"),
            constants=constants,
            values=values,
            kernels=tuple(self._kernel(i) for i in range(kernels)),
            used=self.used,
        )
        check_code(program, self.target, f"segment {self.index}", self.check.origin)
        return program

    def _used(self) -> dict[str, int]:
        """Bytes of each memory, which the memory must have."""
        sizes = {m.name: m.size.value for m in self.target.chip.memories}
        names = self.check.package.require(*self.at, "used", kind=dict)
        if not set(names) <= set(sizes):
            fail(self.check.origin, f"segment {self.index} uses a memory that the chip has not")
        return {n: self.check.number(*self.at, "used", n, high=sizes[n]) for n in sorted(names)}

    def _tensor(self, number: int) -> Binding:
        at = (*self.at, "tensors", number)
        kind = self.check.type(*at)
        memory = self.check.text(*at, "memory")
        shared = [m.name for m in self.target.chip.memories if not m.per_core]
        if memory not in shared:
            fail(self.check.origin, f"tensor {number} lies in {memory!r:.40}, not in {shared}")
        address = self.check.number(*at, "address", high=self.used.get(memory, 0))
        if address + kind.nbytes > self.used.get(memory, 0):
            end, most = address + kind.nbytes, self.used.get(memory, 0)
            fail(self.check.origin, f"tensor {number} ends at {end} of {memory}, {most} are in use")
        return Binding(self.check.text(*at, "name"), kind.dtype, kind.shape, memory, address)

    def _list(self, *at: str | int) -> tuple[Binding, ...]:
        return tuple(self._binding(*at, i) for i in range(self.check.length(*at)))

    def _binding(self, *at: str | int) -> Binding:
        return self.tensors[self.check.number(*at, high=len(self.tensors) - 1)]

    def _kernel(self, number: int) -> KernelInfo:
        at = (*self.at, "kernels", number)
        return KernelInfo(
            name=self.check.text(*at, "name"),
            origins=tuple(self.check.texts(*at, "origins")),
            first=self.check.number(*at, "first"),
            count=self.check.number(*at, "count"),
            macs=self.check.number(*at, "macs", high=MAX_MACS),
            inputs=self._list(*at, "inputs"),
            output=self._binding(*at, "output"),
        )

    def _constant(self, number: int, binding: Binding) -> Array:
        name = constant_section(self.check.text(*self.at, "values", number))
        data = self.check.package.section(name)
        if len(data) != binding.nbytes:
            why = f"section {name} has {len(data)} bytes, its tensor {binding.nbytes}"
            fail(self.check.origin, why)
        raw = np.frombuffer(data, np.uint8)
        if binding.dtype == BOOL and raw.size and int(raw.max()) > 1:
            fail(self.check.origin, f"section {name} holds booleans other than 0 and 1")
        found: Array = raw.view(binding.dtype).reshape(binding.shape)
        return found
