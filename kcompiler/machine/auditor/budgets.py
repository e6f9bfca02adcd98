"""Memories, cores, addresses and fields are within what the chip has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kcompiler.machine.auditor.finding import Broken
from kcompiler.machine.auditor.observe import Step
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import Binding, Program
from kcompiler.machine.target import Target


def budgets(program: Program, target: Target, code: Sequence[Isa]) -> Iterator[Broken]:
    """What the program as a whole takes."""
    sizes = {m.name: m.size.value for m in target.chip.memories}
    for name, used in program.used.items():
        if used > sizes.get(name, 0):
            why = f"uses {used:,} bytes of {name}, which has {sizes.get(name, 0):,}"
            yield Broken("budgets", why, memory=name, span=(0, used))
    if target.isa.encode_program(code) != program.code:
        yield Broken("budgets", "its code is not what its instructions encode to")
    for binding in {(b.memory, b.address): b for b in _bindings(program)}.values():
        yield from _place(binding, program, target)


def _bindings(program: Program) -> Iterator[Binding]:
    yield from (*program.inputs, *program.outputs, *program.constants)
    for kernel in program.kernels:
        yield from (*kernel.inputs, kernel.output)


def _place(binding: Binding, program: Program, target: Target) -> Iterator[Broken]:
    memory = next((m for m in target.chip.memories if m.name == binding.memory), None)
    span = binding.address, binding.address + binding.nbytes
    if memory is None or memory.per_core:
        why = f"{binding.name} lies in {binding.memory}, which is no shared memory of the chip"
        yield Broken("budgets", why, memory=binding.memory, span=span)
        return
    if span[1] > program.used.get(memory.name, 0):
        why = f"{binding.name} ends beyond the {program.used.get(memory.name, 0):,} bytes in use"
        yield Broken("budgets", why, memory=memory.name, span=span)
    if binding.address % memory.alignment.value:
        why = f"{binding.name} lies at no multiple of {memory.alignment.value} bytes"
        yield Broken("budgets", why, memory=memory.name, span=span)


def step_budgets(number: int, step: Step, used: dict[str, int], cores: int) -> Iterator[Broken]:
    """What one instruction takes."""
    if step.fault:
        yield Broken("budgets", step.fault, number, step)
    if step.cores > cores:
        yield Broken("budgets", f"wants {step.cores} cores of {cores}", number, step)
    for access in step.accesses:
        area = access.area
        verb = "writes" if access.written else "reads"
        if area.start < 0 or area.stop > used.get(access.memory, 0):
            why = f"{verb} beyond the {used.get(access.memory, 0):,} bytes in use"
            yield Broken("budgets", why, number, step, access.memory, (area.start, area.stop))
        if access.cores > max(step.cores, 1):
            why = f"{verb} on {access.cores} cores, {step.cores} take part"
            yield Broken("budgets", why, number, step, access.memory, (area.start, area.stop))
