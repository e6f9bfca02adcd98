"""A process of its own for cases that may crash, hang or take all memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

MEMORY = 6 << 30  # bytes of address space; onnxruntime reserves much of it


@dataclass(frozen=True)
class Lost:
    """The process ended, or was ended, before it answered: at which step, and how."""

    step: str
    why: str


class Worker:
    """Runs tasks one at a time, each with a limit of time; a process that is lost is replaced."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.cpu = 0.0  # of processes that have ended
        self.cpu_now = 0.0  # of the one that runs
        self._process: Any = None
        self._pipe: Any = None

    def run(self, *task: Any) -> Any:
        """The result of `tests.fuzz.tasks.perform(step, *task)`, or `Lost`."""
        if self._process is None:
            self._start()
        self._pipe.send(task)
        step = "start"
        try:
            while self._pipe.poll(self.seconds):
                word, content = self._pipe.recv()
                if word == "result":
                    self.cpu_now, result = content
                    return result
                step = content
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            code = self._process.exitcode
            self._stop()
            return Lost(step, f"the process ended with code {code}")
        self._stop()
        return Lost(step, f"no result after {self.seconds:g} s")

    @property
    def spent(self) -> float:
        """CPU seconds of all its processes, up to the last result of each."""
        return self.cpu + self.cpu_now

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._stop()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.cpu_now = 0.0

    def _stop(self) -> None:
        self.cpu, self.cpu_now = self.spent, 0.0
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._process = None


def _serve(pipe: Connection) -> None:
    from tests.fuzz.tasks import perform

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stderr.fileno())  # what onnxruntime and ONNX say on their own
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        result = perform(lambda step: pipe.send(("step", step)), *task)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(("result", (usage.ru_utime + usage.ru_stime, result)))
