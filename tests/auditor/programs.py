"""Real programs taken apart and put together again with a fault, in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from onnx import TensorProto

import kcompiler
from kcompiler.compilation import NpuSegment
from kcompiler.machine.auditor import Finding, Property, audit_program
from kcompiler.machine.program import Program
from kcompiler.machine.queues import is_wait
from kcompiler.machine.simulator.function import Simulation
from kcompiler.machine.target import Target
from kcompiler.passes.synchronize import Synchronize
from tests.models import nets
from tests.runtime.models import model, node, values
from tests.targets.rebel_programs import small

Blocks = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Parts:
    """A program by kernel, decoded, with its waits."""

    program: Program
    target: Target
    blocks: Blocks

    def places(self, mnemonic: str) -> Iterator[tuple[int, int]]:
        """(kernel, position in it) of each such instruction."""
        for k, block in enumerate(self.blocks):
            for i, item in enumerate(block):
                if item.mnemonic == mnemonic:
                    yield k, i

    def changed(self, kernel: int, new: Sequence[Any]) -> Parts:
        """With other instructions in one kernel."""
        blocks = (*self.blocks[:kernel], tuple(new), *self.blocks[kernel + 1 :])
        return replace(self, blocks=blocks)

    def put(self, kernel: int, position: int, **fields: Any) -> Parts:
        """With other fields in one instruction."""
        block = list(self.blocks[kernel])
        block[position] = replace(block[position], **fields)
        return self.changed(kernel, block)

    def without(self, kernel: int, position: int) -> Parts:
        """Without one instruction."""
        block = self.blocks[kernel]
        return self.changed(kernel, (*block[:position], *block[position + 1 :]))

    def waiting(self) -> Parts:
        """With waits as the compiler places them for the instructions as they are now."""
        bare = [[x for x in block if not is_wait(x)] for block in self.blocks]
        blocks = Synchronize(target=self.target).run(bare)
        return replace(self, blocks=tuple(map(tuple, blocks)))

    def audit(self) -> tuple[Finding, ...]:
        """What an audit of the bytes finds."""
        return audit_program(self.whole(), self.target).findings

    def whole(self) -> Program:
        """The program with these instructions."""
        first, kernels = 0, []
        for kernel, block in zip(self.program.kernels, self.blocks, strict=True):
            kernels.append(replace(kernel, first=first, count=len(block)))
            first += len(block)
        code = self.target.isa.encode_program(x for block in self.blocks for x in block)
        return replace(self.program, code=code, kernels=tuple(kernels))


def parts(segment: NpuSegment, target: Target) -> Parts:
    """A segment's program, taken apart."""
    program = segment.program
    code = target.isa.decode_program(program.code)
    blocks = tuple(tuple(code[k.first : k.first + k.count]) for k in program.kernels)
    return Parts(program, target, blocks)


def deep() -> bytes:
    """Products whose sums are too long for a small core: they grow slice by slice."""
    weights: dict[str, Any] = {"w": values(700, 40), "v": values(40, 260)}
    nodes = [node("MatMul", "x w", "h"), node("Relu", "h", "r"), node("MatMul", "r v", "y")]
    ends = [("x", TensorProto.FLOAT, [50, 700])], [("y", TensorProto.FLOAT, [50, 260])]
    return model(nodes, *ends, **weights)


@cache
def net(name: str) -> Parts:
    """A small network of `tests.models.nets` for a small rebel, whose tiles are many."""
    target = small(4, 16 << 10)
    made: bytes = deep() if name == "deep" else getattr(nets, name)()
    (segment,) = kcompiler.compile(made, target).programs
    return parts(segment, target)


def properties(found: Sequence[Finding]) -> set[Property]:
    """Which properties do not hold."""
    return {f.property for f in found}


def outputs(whole: Program, target: Target) -> dict[str, bytes]:
    """What a program computes of fixed random inputs, as bytes."""
    chance = np.random.default_rng(5)
    machine = Simulation(whole, target)
    feeds = {b.name: (8 * chance.standard_normal(b.shape)).astype(b.dtype) for b in whole.inputs}
    return {name: value.tobytes() for name, value in machine.run(feeds).items()}
