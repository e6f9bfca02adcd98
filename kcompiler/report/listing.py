"""The text of a compilation at one of its levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcompiler.report.units import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kcompiler.api import CompiledModel
    from kcompiler.compilation import NpuSegment
    from kcompiler.machine.program import KernelInfo


def listing(model: CompiledModel, level: str) -> str:
    """All NPU segments as a graph, as kernels, or as assembly ("graph", "kernel", "asm")."""
    texts = {"graph": _graph, "kernel": _kernels, "asm": _assembly}
    if model.buckets:
        mark = ";" if level == "asm" else "#"  # what begins a comment there
        return "".join(f"{mark} bucket {b}\n{listing(made, level)}" for b, made in model.buckets)
    return "".join(line for s in model.programs for line in texts[level](s, model))


def assembly(model: CompiledModel) -> list[dict[str, Any]]:
    """The instructions of all programs, kernel by kernel, as objects."""
    if model.buckets:
        return [
            {"bucket": str(bucket), **program}
            for bucket, made in model.buckets
            for program in assembly(made)
        ]
    return [{"kernels": list(_kernel_lines(segment, model))} for segment in model.programs]


def _kernel_lines(segment: NpuSegment, model: CompiledModel) -> Iterator[dict[str, Any]]:
    code = model.target.isa.decode_program(segment.program.code)
    for info in segment.program.kernels:
        lines = [str(item) for item in code[info.first : info.first + info.count]]
        yield {"name": info.name, "origins": list(info.origins), "instructions": lines}


def _graph(segment: NpuSegment, model: CompiledModel) -> Iterator[str]:
    from kcompiler.graph.text import print_graph

    del model
    if segment.graph is not None:
        yield print_graph(segment.graph)


def _kernels(segment: NpuSegment, model: CompiledModel) -> Iterator[str]:
    from kcompiler.kernel.text import print_kernel

    for part, info in zip(model.parts(segment), segment.program.kernels, strict=True):
        yield f"# {_title(info)}\n{print_kernel(part.kernel)}\n"


def _assembly(segment: NpuSegment, model: CompiledModel) -> Iterator[str]:
    code = model.target.isa.decode_program(segment.program.code)
    for info in segment.program.kernels:
        yield f"; {_title(info)}\n"
        for place in range(info.first, info.first + info.count):
            yield f"{code[place]}  ; {place}\n"


def _title(kernel: KernelInfo) -> str:
    return printable(f"{kernel.name}: {', '.join(kernel.origins)}")
