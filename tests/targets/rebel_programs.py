"""Small rebels, machines with bytes in them, and programs made of graphs and of kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcompiler.build import Part, build_program, parts_of
from kcompiler.compiler import tools_for
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.types import TensorType
from kcompiler.kernel.interpreter import run_kernel
from kcompiler.kernel.statements import Kernel
from kcompiler.machine.facts import Fact
from kcompiler.machine.generic.target import GenericTarget
from kcompiler.machine.program import Binding, KernelInfo, Program
from kcompiler.machine.scratchpad import buffer_addresses
from kcompiler.machine.simulator.function import Simulation
from kcompiler.machine.simulator.memories import Machine
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.simplify import Simplify
from kcompiler.passes.synchronize import Synchronize
from kcompiler.targets.rebel import TARGET, isa


def small(cores: int = 4, l1: int = 64 << 10, shm: int | None = None) -> GenericTarget:
    """A rebel of fewer cores and smaller memories."""
    sizes = {"l1": l1, "shm": shm}
    memories = tuple(
        replace(m, size=Fact(size, "A", "a test")) if (size := sizes.get(m.name)) else m
        for m in TARGET.chip.memories
    )
    few = Fact(cores, "A", "a test")
    chip = replace(TARGET.chip, cores=few, dies=None, memories=memories)
    return replace(TARGET, chip=chip)


def machine(cores: int = 3, size: int = 1 << 12, seed: int = 0, checked: bool = False) -> Machine:
    """A machine whose memories hold random bytes."""
    chip = small(cores, max(size, 64 << 10)).chip
    made = Machine(chip, {m.name: size for m in chip.memories}, checked)
    chance = np.random.default_rng(seed)
    for store in made.stores.values():
        store.data[...] = chance.integers(0, 256, store.data.shape, np.uint8)
    return made


def run(instruction: isa.Rebel, on: Machine) -> None:
    """Only what the bytes say."""
    decoded, _ = isa.Rebel.decode(isa.Rebel.encode(instruction))
    decoded.execute(on)


def element(m: Machine, core: int, address: int, dtype: np.dtype[Any], memory: str = "l1") -> Any:
    """One element, as a rank-0 array."""
    data = m.stores[memory].data
    return data[core % len(data), address : address + dtype.itemsize].view(dtype)[0]


def step(function: str, dtype: str, *args: int, immediate: int = 0) -> isa.Micro:
    """A step of a micro-program."""
    return isa.Micro(function=function, dtype=dtype, args=args, immediate=immediate)


def given(name: str, dtype: np.dtype[Any], *shape: int) -> Input:
    """An input of a graph."""
    return Input(name, TensorType(dtype, shape))


def numbers(dtype: np.dtype[Any], shape: Sequence[int], seed: int) -> Array:
    """Random values: all integers of a type, floats around 0, bools."""
    chance = np.random.default_rng(seed)
    if dtype.kind == "b":
        return chance.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        low, high = max(np.iinfo(dtype).min, -128), min(np.iinfo(dtype).max, 127)
        return chance.integers(low, high, shape, endpoint=True).astype(dtype)
    return chance.standard_normal(shape).astype(dtype)


@dataclass(frozen=True)
class Compiled:
    """A graph's kernels and their program."""

    target: GenericTarget
    parts: tuple[Part, ...]
    program: Program

    @property
    def code(self) -> list[isa.Rebel]:
        """The instructions."""
        return self.target.isa.decode_program(self.program.code)  # type: ignore[return-value]


def compiled(outputs: Mapping[str, Op], inputs: Sequence[Input], target: GenericTarget) -> Compiled:
    """A graph, fused and built; its precision is what the graph says."""
    graph = Graph("test", tuple(inputs), tuple(outputs.items()))
    fused = Fuse().run(Simplify().run(graph))
    tools = tools_for(target)
    return Compiled(target, parts_of(fused, tools.tile), build_program(fused, target, tools))


@dataclass
class KernelCheck:
    """Compares each kernel's result in the machine with what numpy makes of the same operands."""

    compiled: Compiled
    simulation: Simulation
    exact: bool
    count: int = 0
    expected: Array | None = None

    def before(self, info: KernelInfo) -> None:
        """A kernel may write over its operands."""
        part = next(p for p in self.compiled.parts if p.kernel.name == info.name)
        operands = {
            name: op.value if isinstance(op, Constant) else self.simulation.get(binding)
            for name, op, binding in zip(
                part.operand_names, part.bound.operands, info.inputs, strict=True
            )
        }
        self.expected = run_kernel(part.kernel, operands)

    def after(self, info: KernelInfo) -> None:
        """Bit for bit, or nearly where sums are rounded."""
        assert self.expected is not None
        found = self.simulation.get(info.output).reshape(self.expected.shape)
        if self.exact:
            np.testing.assert_array_equal(found, self.expected, err_msg=info.name)
        else:
            loose = found.dtype.itemsize < 4
            found, wanted = found.astype(np.float64), self.expected.astype(np.float64)
            scale = max(1.0, float(np.abs(wanted).max(initial=0)))
            tolerance = (1e-2 if loose else 2e-5) * scale
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance, err_msg=info.name)
        self.count += 1


def check_kernels(each: Compiled, values: Mapping[str, Array], *, exact: bool) -> dict[str, Array]:
    """Run a program in checked mode; every kernel does what `run_kernel` says. The outputs."""
    simulation = Simulation(each.program, each.target, checked=True)
    check = KernelCheck(each, simulation, exact)
    result = simulation.run(values, check.before, check.after)
    assert check.count == len(each.parts)
    return result


def alone(kernel: Kernel, values: Mapping[str, Array], target: GenericTarget) -> Program:
    """A program of one kernel; operands lie in hbm, dense as they are given."""
    bindings: dict[str, Binding] = {}
    top = 0
    for operand in kernel.operands:
        shape = operand.shape if operand.role == "output" else values[operand.name].shape
        bindings[operand.name] = Binding(operand.name, operand.dtype, shape, "hbm", top)
        top += -(-bindings[operand.name].nbytes // 64) * 64
    chip = target.chip
    addresses, used = buffer_addresses(kernel, chip.memory(chip.scratchpad))
    blocks: Any = Synchronize(target=target).run([target.lower(kernel, bindings, addresses)])
    (block,) = blocks
    inputs = tuple(bindings[o.name] for o in kernel.operands if o.role != "output")
    (output,) = (bindings[o.name] for o in kernel.operands if o.role == "output")
    info = KernelInfo(kernel.name, ("node_7",), 0, len(block), 0, inputs, output)
    return Program(
        target=target.name,
        code=isa.Rebel.encode_program(block),
        inputs=inputs,
        outputs=(output,),
        constants=(),
        values={},
        kernels=(info,),
        used={"hbm": top, "l1": used},
    )


def outputs_of(program: Program, values: Mapping[str, Array], target: GenericTarget) -> Array:
    """The one output of a program, in checked mode."""
    (result,) = Simulation(program, target, checked=True).run(values).values()
    return result
