"""The trace of a compiled model, for Perfetto."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcompiler.errors import UnsupportedError

if TYPE_CHECKING:
    from kcompiler.api import CompiledModel


def write_timeline(model: CompiledModel, path: str) -> None:
    """Write the predicted time line of a model that has one part on the NPU."""
    from kcompiler.machine.trace import write_trace

    segments = zip(model.compilation.segments, model.timings, strict=True)
    npu = [(s, t) for s, t in segments if t is not None]
    if len(npu) != 1:
        why = f"the model has {len(npu)} parts on the NPU, with work of the host between them"
        raise UnsupportedError("a trace shows one program", why=why)
    (_, timing), (segment, *_) = npu[0], model.programs
    write_trace(path, segment.program, model.target, timing)
