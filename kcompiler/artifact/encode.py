"""A compilation as the manifest and the sections of a package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kcompiler import __version__
from kcompiler.artifact.bucketed import packed_buckets
from kcompiler.artifact.identity import chip_digest, chip_facts, instruction_set_digest
from kcompiler.compilation import Compilation, HostSegment, NpuSegment, Segment
from kcompiler.graph.types import OpenType, TensorType, dtype_name
from kcompiler.package import Hashed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kcompiler.graph.node import Array
    from kcompiler.machine.chip import Chip
    from kcompiler.machine.program import Binding, KernelInfo
    from kcompiler.machine.target import Target


def pack(compilation: Compilation, target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
    """(manifest, sections) for `kcompiler.package.write`; nothing large is copied."""
    writer = _Writer()
    buckets = compilation.buckets
    members = [b.compilation for b in buckets.members] if buckets else [compilation]
    segments = [writer.segment(i, s) for i, s in enumerate(s for c in members for s in c.segments)]
    manifest = {
        "kcompiler": __version__,
        "model": compilation.model,
        "target": compilation.target,
        "precision": compilation.precision,
        "inputs": [_interface(name, t) for name, t in compilation.inputs],
        "outputs": [_interface(name, t) for name, t in compilation.outputs],
        "notes": list(compilation.notes),
        "facts": dict(compilation.facts),
        "chip": _chip(target.chip),
        "instruction_set": instruction_set_digest(target.isa),
        "segments": segments,
        "buckets": None if buckets is None else packed_buckets(buckets),
    }
    return manifest, writer.sections


def code_section(segment: int) -> str:
    """The name of the section of a program's instructions."""
    return f"{segment}/code"


def constant_section(digest: str) -> str:
    """The name of the section of a constant, from the SHA-256 of its bytes: equal ones share it."""
    return f"constant/{digest}"


def host_section(segment: int) -> str:
    """The name of the section of a host segment's ONNX model."""
    return f"{segment}/model"


def _interface(name: str, type_: TensorType | OpenType) -> dict[str, Any]:
    if isinstance(type_, OpenType):
        return {"name": name, "type": type_.name}
    return {"name": name, "dtype": dtype_name(type_.dtype), "shape": list(type_.shape)}


def _chip(chip: Chip) -> dict[str, Any]:
    return {
        "title": chip.title,
        "calibrated": chip.calibrated,
        "facts": chip_facts(chip),
        "sha256": chip_digest(chip),
    }


class _Writer:
    """Segments one after the other, and the sections that they need."""

    def __init__(self) -> None:
        self.sections: dict[str, Any] = {}
        self._digests: dict[int, tuple[Any, str]] = {}  # with the array, which keeps its id taken

    def segment(self, index: int, segment: Segment) -> dict[str, Any]:
        """The entry of a segment."""
        if isinstance(segment, HostSegment):
            return self._host(index, segment)
        return self._npu(index, segment)

    def _host(self, index: int, segment: HostSegment) -> dict[str, Any]:
        self.sections[host_section(index)] = segment.model
        return {
            "kind": "host",
            "inputs": list(segment.inputs),
            "outputs": list(segment.outputs),
            "operators": [list(operator) for operator in segment.operators],
        }

    def _npu(self, index: int, segment: NpuSegment) -> dict[str, Any]:
        program, tensors = segment.program, _Tensors()
        self.sections[code_section(index)] = program.code
        return {
            "kind": "npu",
            "inputs": tensors.numbers(program.inputs),
            "outputs": tensors.numbers(program.outputs),
            "constants": tensors.numbers(program.constants),
            "values": [self._constant(program.values[c.name]) for c in program.constants],
            "kernels": [_kernel(kernel, tensors) for kernel in program.kernels],
            "used": dict(program.used),
            "tensors": tensors.table,
        }

    def _constant(self, value: Array) -> str:
        """The SHA-256 of a constant, whose section is there from now on."""
        if id(value) not in self._digests:
            dense = np.ascontiguousarray(value)
            digest = hashlib.sha256(dense.reshape(-1).view("u1").data).hexdigest()
            self.sections[constant_section(digest)] = Hashed(dense, digest)
            self._digests[id(value)] = (value, digest)
        return self._digests[id(value)][1]


def _kernel(kernel: KernelInfo, tensors: _Tensors) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "origins": list(kernel.origins),
        "first": kernel.first,
        "count": kernel.count,
        "macs": kernel.macs,
        "inputs": tensors.numbers(kernel.inputs),
        "output": tensors.number(kernel.output),
    }


@dataclass
class _Tensors:
    """Bindings that several lists share, each written once and named by its number."""

    table: list[dict[str, Any]] = field(default_factory=list)
    known: dict[Binding, int] = field(default_factory=dict)

    def number(self, binding: Binding) -> int:
        if binding not in self.known:
            self.known[binding] = len(self.table)
            where = {"memory": binding.memory, "address": binding.address}
            kind = TensorType(binding.dtype, binding.shape)
            self.table.append(_interface(binding.name, kind) | where)
        return self.known[binding]

    def numbers(self, bindings: Iterable[Binding]) -> list[int]:
        return [self.number(binding) for binding in bindings]
