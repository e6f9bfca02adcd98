"""A compilation as the manifest and the sections of a package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kcompiler import __version__
from kcompiler.artifact.identity import chip_digest, chip_facts, instruction_set_digest
from kcompiler.compilation import Compilation, HostSegment, NpuSegment, Segment
from kcompiler.graph.types import TensorType, dtype_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kcompiler.machine.chip import Chip
    from kcompiler.machine.program import Binding, KernelInfo
    from kcompiler.machine.target import Target


def pack(compilation: Compilation, target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
    """(manifest, sections) for `kcompiler.package.write`; nothing large is copied."""
    sections: dict[str, Any] = {}
    segments = [_segment(i, s, sections) for i, s in enumerate(compilation.segments)]
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
    }
    return manifest, sections


def code_section(segment: int) -> str:
    """The name of the section of a program's instructions."""
    return f"{segment}/code"


def constant_section(segment: int, number: int) -> str:
    """The name of the section of a program's constant."""
    return f"{segment}/constant/{number:05d}"


def host_section(segment: int) -> str:
    """The name of the section of a host segment's ONNX model."""
    return f"{segment}/model"


def _interface(name: str, type_: TensorType) -> dict[str, Any]:
    return {"name": name, "dtype": dtype_name(type_.dtype), "shape": list(type_.shape)}


def _chip(chip: Chip) -> dict[str, Any]:
    return {
        "title": chip.title,
        "calibrated": chip.calibrated,
        "facts": chip_facts(chip),
        "sha256": chip_digest(chip),
    }


def _segment(index: int, segment: Segment, sections: dict[str, Any]) -> dict[str, Any]:
    if isinstance(segment, HostSegment):
        return _host(index, segment, sections)
    return _npu(index, segment, sections)


def _host(index: int, segment: HostSegment, sections: dict[str, Any]) -> dict[str, Any]:
    sections[host_section(index)] = segment.model
    return {
        "kind": "host",
        "inputs": list(segment.inputs),
        "outputs": list(segment.outputs),
        "operators": [list(operator) for operator in segment.operators],
    }


def _npu(index: int, segment: NpuSegment, sections: dict[str, Any]) -> dict[str, Any]:
    program, tensors = segment.program, _Tensors()
    sections[code_section(index)] = program.code
    for number, binding in enumerate(program.constants):
        value = np.ascontiguousarray(program.values[binding.name])
        sections[constant_section(index, number)] = value
    return {
        "kind": "npu",
        "inputs": tensors.numbers(program.inputs),
        "outputs": tensors.numbers(program.outputs),
        "constants": tensors.numbers(program.constants),
        "kernels": [_kernel(kernel, tensors) for kernel in program.kernels],
        "used": dict(program.used),
        "tensors": tensors.table,
    }


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
