"""A process of its own for cases that may crash, hang or take all memory."""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

MEMORY = 6 << 30  # bytes of address space; onnxruntime reserves much of it
PATIENCE = 15  # wall time for a limit of CPU time: the machine has other work too


@dataclass(frozen=True)
class Lost:
    """The process ended, or was ended, before it answered: at which step, and how."""

    step: str
    why: str


class Worker:
    """Runs tasks one at a time, each with a limit of CPU time; a lost process is replaced."""

    def __init__(self, seconds: float, patience: float = PATIENCE) -> None:
        self.seconds, self.patience = seconds, patience
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
            while self._pipe.poll(self.seconds * self.patience):
                word, content = self._pipe.recv()
                if word == "result":
                    self.cpu_now, result = content
                    return result
                step = content
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            code = self._process.exitcode
            self._stop()
            if code == -signal.SIGXCPU:
                return Lost(step, f"no result after {self.seconds:g} s of CPU time")
            return Lost(step, f"the process ended with code {code}")
        self._stop()
        return Lost(step, f"no result after {self.seconds * self.patience:g} s")

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
        self._process = context.Process(target=_serve, args=(theirs, self.seconds), daemon=True)
        self._process.start()
        theirs.close()
        self.cpu_now = 0.0

    def _stop(self) -> None:
        self.cpu, self.cpu_now = self.spent, 0.0
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._process = None


def _serve(pipe: Connection, seconds: float) -> None:
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
        limit = math.ceil(_cpu() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        result = perform(lambda step: pipe.send(("step", step)), *task)
        pipe.send(("result", (_cpu(), result)))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
