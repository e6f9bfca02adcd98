"""Traces: a simulated run as JSON that Perfetto (ui.perfetto.dev) and chrome://tracing load.

A process for each die, in it a track for each core and engine; engines that exist once stand in a
process of their own. A slice is an instruction, named by the ONNX nodes that it works for, or the
time for which a wait held its queue. Format: "Trace Event Format", JSON object form (Google, 2016).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from kcompiler.machine.chip import Chip
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import KernelInfo, Program
from kcompiler.machine.queues import is_wait
from kcompiler.machine.simulator.time import Timing
from kcompiler.machine.target import Target

_PICOSECONDS = 10**12
_MICRO = 10**6  # picoseconds


def write_trace(
    file: str | Path | TextIO,
    program: Program,
    target: Target,
    timing: Timing,
    cores: Literal["all"] | int = "all",
    *,
    code: Sequence[Isa] | None = None,
) -> None:
    """Write the trace of a run to a path or a text file; the same run gives the same bytes.

    `cores`: all of them, or that many from core 0 on. As cores run in lock step, only the first of
    them carries each instruction's text, cycles, bytes and kernel; on the others a slice has its
    place in the program.
    """
    if isinstance(file, str | Path):
        with Path(file).open("w", encoding="utf-8", newline="\n") as opened:
            write_trace(opened, program, target, timing, cores, code=code)
        return
    decoded = target.isa.decode_program(program.code) if code is None else code
    trace = _Trace(program, target.chip, timing, decoded, cores)
    file.write('{"displayTimeUnit": "ns", "traceEvents": [\n')
    file.write(",\n".join(trace.metadata()))
    for line in trace.slices():
        file.write(",\n" + line)
    file.write("\n]}\n")


@dataclass(frozen=True)
class _Track:
    """A row of the trace: an engine, of one core where `core` is not None."""

    process: int
    thread: int
    engine: str
    core: int | None

    @property
    def name(self) -> str:
        return self.engine if self.core is None else f"core {self.core} {self.engine}"

    @property
    def begin(self) -> str:
        """The beginning that its slices have in common."""
        return f'{{"ph": "X", "pid": {self.process}, "tid": {self.thread}, '


class _Trace:
    def __init__(
        self,
        program: Program,
        chip: Chip,
        timing: Timing,
        decoded: Sequence[Isa],
        cores: Literal["all"] | int,
    ) -> None:
        self.chip, self.timing, self.decoded = chip, timing, decoded
        self.cores = chip.cores.value if cores == "all" else max(1, min(cores, chip.cores.value))
        self.dies = 1 if chip.dies is None else chip.dies.value
        self.kernels = _kernel_of(program.kernels, len(decoded))
        self.tracks = self._tracks()

    def metadata(self) -> Iterator[str]:
        """Names and order of processes and tracks."""
        tracks = [track for row in self.tracks.values() for track in row]
        for process in sorted({track.process for track in tracks}):
            name = "chip" if process > self.dies else f"die {process - 1}"
            yield _named("process_name", process, 0, f"{self.chip.title}: {name}")
        for track in sorted(tracks, key=lambda t: (t.process, t.thread)):
            yield _named("thread_name", track.process, track.thread, track.name)
            order = {"sort_index": track.thread}
            yield _meta("thread_sort_index", track.process, track.thread, order)

    def slices(self) -> Iterator[str]:
        """A line for each slice, in program order."""
        for place, item in enumerate(self.decoded):
            if is_wait(item):
                tracks = self.tracks[item.queue]
            else:
                tracks = self.tracks[item.engine][: max(1, item.active_cores())]
            start, length = self._when(place)
            if is_wait(item) and length == 0:
                continue
            common = f'"ts": {_micro(start)}, "dur": {_micro(length)}, {self._label(place)}"args": '
            yield f"{tracks[0].begin}{common}{json.dumps(self._detail(place))}}}"
            common += f'{{"place": {place}}}}}'
            for track in tracks[1:]:
                yield track.begin + common

    def _when(self, place: int) -> tuple[int, int]:
        """Start and length in picoseconds; rounded so that neighbours still touch."""
        scale = _PICOSECONDS / self.timing.clock
        start = round(float(self.timing.start[place]) * scale)
        return start, round(float(self.timing.end[place]) * scale) - start

    def _label(self, place: int) -> str:
        item = self.decoded[place]
        if is_wait(item):
            return f'"name": "wait for {item.on}", "cat": "wait", '
        kernel = self.kernels[place]
        name = "no kernel" if kernel is None else ", ".join(kernel.origins) or kernel.name
        return f'"name": {json.dumps(name)}, "cat": "{item.engine}", '

    def _detail(self, place: int) -> dict[str, Any]:
        kernel = self.kernels[place]
        cycles = float(self.timing.end[place]) - float(self.timing.start[place])
        return {
            "place": place,
            "kernel": "" if kernel is None else kernel.name,
            "instruction": str(self.decoded[place]),
            "cycles": cycles,
            "bytes": dict(self.timing.traffic[place] or {}),
        }

    def _tracks(self) -> dict[str, list[_Track]]:
        """The tracks of each engine: one a core, or a single one where no core takes part."""
        engines = {item.queue: False for item in self.decoded if is_wait(item)}
        for item in self.decoded:
            if not is_wait(item):
                engines[item.engine] = engines.get(item.engine, False) or item.active_cores() > 0
        per_die = -(-self.chip.cores.value // self.dies)
        found: dict[str, list[_Track]] = {}
        for position, (engine, on_cores) in enumerate(sorted(engines.items())):
            if not on_cores:
                found[engine] = [_Track(self.dies + 1, position + 1, engine, None)]
                continue
            found[engine] = [
                _Track(core // per_die + 1, core * len(engines) + position + 1, engine, core)
                for core in range(self.cores)
            ]
        return found


def _micro(picoseconds: int) -> str:
    """Microseconds, exactly."""
    return f"{picoseconds // _MICRO}.{picoseconds % _MICRO:06d}"


def _named(what: str, process: int, thread: int, name: str) -> str:
    return _meta(what, process, thread, {"name": name})


def _meta(what: str, process: int, thread: int, args: dict[str, Any]) -> str:
    return json.dumps({"ph": "M", "name": what, "pid": process, "tid": thread, "args": args})


def _kernel_of(kernels: Sequence[KernelInfo], count: int) -> list[KernelInfo | None]:
    found: list[KernelInfo | None] = [None] * count
    for kernel in kernels:
        found[kernel.first : kernel.first + kernel.count] = [kernel] * kernel.count
    return found
