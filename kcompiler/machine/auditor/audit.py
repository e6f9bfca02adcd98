"""The audit of a program: every property, in one pass over its decoded bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from kcompiler.machine.auditor.budgets import budgets, step_budgets
from kcompiler.machine.auditor.finding import Broken, Finding
from kcompiler.machine.auditor.observe import Access, Step, observe
from kcompiler.machine.auditor.order import Unordered, clocks, unordered
from kcompiler.machine.auditor.scratch import KernelRun
from kcompiler.machine.auditor.tensors import Tensors
from kcompiler.machine.instruction import EncodingError, Isa
from kcompiler.machine.program import KernelInfo, Program
from kcompiler.machine.target import Target

MOST_FINDINGS = 100
"""After so many the audit ends: a broken program may have very many."""


@dataclass(frozen=True)
class ProgramAudit:
    """What was looked at, what does not hold, and the multiply-accumulates of each kernel.

    These are None where an instruction does not say what it multiplies.
    """

    findings: tuple[Finding, ...]
    instructions: int
    accesses: int
    kernel_macs: tuple[int | None, ...]

    @property
    def macs(self) -> int:
        """The multiply-accumulates that were counted."""
        return sum(macs or 0 for macs in self.kernel_macs)


def audit_program(program: Program, target: Target) -> ProgramAudit:
    """Everything that is wrong with a program's bytes; nothing is raised for it."""
    try:
        code = target.isa.decode_program(program.code)
    except EncodingError as error:
        undecodable = Finding("budgets", f"the code does not decode: {error}")
        return ProgramAudit((undecodable,), 0, 0, (None,) * len(program.kernels))
    audit = _Audit(program, target, code)
    found = tuple(audit.named(b) for b in islice(audit.broken(), MOST_FINDINGS))
    return ProgramAudit(found, len(code), audit.accesses, tuple(audit.macs))


class _Audit:
    """One program's steps, by kernel."""

    def __init__(self, program: Program, target: Target, code: Sequence[Isa]) -> None:
        self.program, self.target, self.code = program, target, code
        self.steps = observe(code, target.chip)
        self.accesses = sum(len(s.accesses) for s in self.steps)
        self.macs: list[int | None] = [None] * len(program.kernels)
        self.owner = _owners(program.kernels, len(code))

    def broken(self) -> Iterator[Broken]:
        """All that is wrong, the program's frame first."""
        yield from self._frame()
        yield from budgets(self.program, self.target, self.code)
        yield from self._steps()
        yield from self._order()
        blocks: list[list[Step]] = [[] for _ in self.program.kernels]
        for step in self.steps:
            if self.owner[step.place] >= 0:
                blocks[self.owner[step.place]].append(step)
        yield from Tensors(self.program).check(blocks)
        for number, block in enumerate(blocks):
            operands = self.program.kernels[number].inputs
            run = KernelRun(number, block, self.target.chip, operands)
            yield from run.check()
            if all(map(_countable, block)):
                wanted = self.program.kernels[number].macs
                self.macs[number] = None if run.repeats else run.count.macs
                yield from _macs(number, run.count.macs, wanted, least=run.repeats)

    def _steps(self) -> Iterator[Broken]:
        """The budgets of each instruction; what is beyond them is looked at no further."""
        chip = self.target.chip
        sizes = {m.name: m.size.value for m in chip.memories}
        used = {n: min(used, sizes.get(n, 0)) for n, used in self.program.used.items()}
        cores = chip.cores.value
        kept = []
        for step in self.steps:
            broken = list(step_budgets(self.owner[step.place], step, used, cores))
            yield from broken
            kept.append(replace(step, accesses=()) if broken else step)
        self.steps = kept

    def _frame(self) -> Iterator[Broken]:
        """Every instruction belongs to one kernel, in order."""
        end = 0
        for number, kernel in enumerate(self.program.kernels):
            if kernel.first != end or kernel.count < 0:
                why = f"begins at instruction {kernel.first}, the one before it ends at {end}"
                yield Broken("budgets", why, number)
            end = kernel.first + kernel.count
        if end != len(self.code):
            why = f"the kernels have {end} instructions, the code has {len(self.code)}"
            yield Broken("budgets", why)

    def _order(self) -> Iterator[Broken]:
        known = clocks(self.code)
        for stuck in known.stuck:
            step = Step(stuck.place, self.code[stuck.place], 0, ())
            yield Broken("order", stuck.why, self.owner[stuck.place], step)
        cores = self.target.chip.cores.value
        owners = [self.owner[s.place] for s in self.steps]
        for pair in unordered(self.steps, known, cores, owners):
            yield self._pair(pair)

    def _pair(self, pair: Unordered) -> Broken:
        (first, one), (second, two) = pair.first, pair.second
        verbs = [_verb(a) for a in (one, two)]
        what = f"{verbs[1]} what instruction {first.place} ({first.item.mnemonic}) {verbs[0]}"
        kernel = self.owner[first.place]
        if kernel not in (-1, self.owner[second.place]):
            what += f" in kernel {self.program.kernels[kernel].name}"
        high = min(one.area.stop, two.area.stop)
        return Broken(
            "order", f"{what}, and nothing orders the two",
            self.owner[second.place], second, one.memory, (pair.byte, high),
        )  # fmt: skip

    def named(self, broken: Broken) -> Finding:
        """A finding with the names of its kernel and instruction."""
        kernel = self.program.kernels[broken.kernel] if broken.kernel >= 0 else None
        return Finding(
            property=broken.property,
            why=broken.why,
            place=broken.step.place if broken.step else -1,
            text=broken.step.text if broken.step else "",
            kernel=kernel.name if kernel else "",
            origins=kernel.origins if kernel else (),
            memory=broken.memory,
            span=broken.span,
        )


def _countable(step: Step) -> bool:
    """Whether it is known what an instruction multiplies: it says so, or it moves bytes only."""
    inside = bool(step.accesses) and all(a.per_core for a in step.accesses)
    return not inside or type(step.item).products is not Isa.products


def _macs(number: int, found: int, wanted: int, *, least: bool) -> Iterator[Broken]:
    """The count is the network's; no less, where a kernel computes some tiles again."""
    if found < wanted or (found > wanted and not least):
        why = f"does {found:,} multiply-accumulates, the network asks for {wanted:,}"
        yield Broken("macs", why, number)


def _verb(access: Access) -> str:
    return "writes" if access.written else "reads"


def _owners(kernels: Sequence[KernelInfo], count: int) -> list[int]:
    """The kernel of each instruction, -1 for none."""
    owners = [-1] * count
    for number, kernel in enumerate(kernels):
        for place in range(max(kernel.first, 0), min(kernel.first + kernel.count, count)):
            owners[place] = number
    return owners
