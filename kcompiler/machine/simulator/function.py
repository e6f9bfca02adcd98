"""What a program computes: its bytes decoded and executed in order, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import Binding, KernelInfo, Program
from kcompiler.machine.simulator.memories import Machine, MachineFault
from kcompiler.machine.target import Target


class SimulationError(Exception):
    """A program did what the machine does not allow: the instruction, its ONNX nodes, and why."""


@dataclass
class Simulation:
    """A program loaded into a machine: constants stored, code decoded.

    `checked` finds reads of uninitialized bytes as well (slower).
    """

    program: Program
    target: Target
    checked: bool = False

    def __post_init__(self) -> None:
        self.code: list[Isa] = self.target.isa.decode_program(self.program.code)
        try:
            self.machine = Machine(self.target.chip, dict(self.program.used), self.checked)
        except MachineFault as fault:
            raise SimulationError(f"the program {fault}") from None
        for binding in self.program.constants:
            self.put(binding, self.program.values[binding.name])

    def put(self, binding: Binding, value: Array) -> None:
        """Store a tensor; a value of another shape or type is a ValueError."""
        if value.shape != binding.shape or value.dtype != binding.dtype:
            raise ValueError(
                f"{binding.name} is {binding.dtype}{binding.shape}, not {value.dtype}{value.shape}"
            )
        view = self.machine.write(
            binding.memory, binding.address, binding.dtype, binding.shape, _strides(binding)
        )
        view[0] = value

    def get(self, binding: Binding) -> Array:
        """A copy of a tensor."""
        view = self.machine.read(
            binding.memory, binding.address, binding.dtype, binding.shape, _strides(binding)
        )
        return np.array(view[0])

    def run(
        self,
        inputs: Mapping[str, Array],
        before: Callable[[KernelInfo], None] | None = None,
        after: Callable[[KernelInfo], None] | None = None,
    ) -> dict[str, Array]:
        """The outputs by name. `before` and `after` are called around each kernel."""
        for binding in self.program.inputs:
            self.put(binding, inputs[binding.name])
        for kernel in self.program.kernels:
            if before is not None:
                before(kernel)
            for index in range(kernel.first, kernel.first + kernel.count):
                self._step(index, kernel)
            if after is not None:
                after(kernel)
        return {binding.name: self.get(binding) for binding in self.program.outputs}

    def _step(self, index: int, kernel: KernelInfo) -> None:
        instruction: Any = self.code[index]
        if instruction.engine == "sync":
            return
        try:
            instruction.execute(self.machine)
        except MachineFault as fault:
            where = ", ".join(kernel.origins) or kernel.name
            raise SimulationError(
                f"instruction {index} ({instruction.mnemonic}) "
                f"of kernel {kernel.name} ({where}) {fault}"
            ) from None


def _strides(binding: Binding) -> tuple[int, ...]:
    strides: list[int] = []
    step = binding.dtype.itemsize
    for extent in reversed(binding.shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))
