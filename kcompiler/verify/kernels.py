"""Each kernel on its own: the operands that the simulator has, the result that it makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from kcompiler.compilation import Compilation, NpuSegment
from kcompiler.errors import IRError
from kcompiler.graph.bounded import exact
from kcompiler.graph.bounds import Bounded, error_bound
from kcompiler.graph.node import Array, Constant, Input, Op
from kcompiler.graph.operators import (
    Broadcast,
    Concat,
    Contract,
    Conv,
    Elementwise,
    Fused,
    Gather,
    Pad,
    Reduce,
    Reshape,
    Slice,
    Transpose,
    Window,
)
from kcompiler.graph.types import F32, F64, is_float
from kcompiler.machine.simulator.memories import MachineFault
from kcompiler.verify.locate import Wrong, explain, unwritten

if TYPE_CHECKING:
    from collections.abc import Callable

    from kcompiler.build import Part
    from kcompiler.graph.node import Graph
    from kcompiler.machine.program import Binding, KernelInfo
    from kcompiler.machine.simulator.function import Simulation
    from kcompiler.verify.result import Failure


Parts: TypeAlias = "Callable[[NpuSegment], tuple[Part, ...]]"


@dataclass
class KernelCheck:
    """Watches a run of all segments; after it, `failure` is the first kernel that is wrong."""

    compilation: Compilation
    parts: Parts | None = None
    checked: int = 0
    failure: Failure | None = None
    running: tuple[int, KernelInfo] | None = None
    _plans: dict[int, Plan] = field(default_factory=dict)
    _operands: list[Array] = field(default_factory=list)

    def before(self, segment: int, machine: Simulation, kernel: KernelInfo) -> None:
        """Remember the kernel's operands: it may write over them."""
        self.running = segment, kernel
        if self.failure is None:
            plan = self._plan(segment)
            self._operands = plan.operands(plan.fused(kernel), machine)

    def after(self, segment: int, machine: Simulation, kernel: KernelInfo) -> None:
        """Compare its result with what its operands give."""
        if self.failure is not None:
            return
        fused = self._plan(segment).fused(kernel)
        expected = expectation(fused, self._operands)
        try:
            found = machine.get(kernel.output)
        except MachineFault:
            self.failure = unwritten(segment, kernel, machine)
            return
        bad = ~expected.contains(found)
        self.checked += 1
        if bad.any():
            element = tuple(map(int, np.unravel_index(int(bad.argmax()), bad.shape)))
            number = self._plan(segment).numbers[kernel.first]
            wrong = Wrong(segment, kernel, element, found, expected)
            tiled = None
            if self.parts is not None:
                tiled = self.parts(self._plan(segment).segment)[number]
            self.failure = explain(wrong, tiled, machine)

    def _plan(self, segment: int) -> Plan:
        if segment not in self._plans:
            self._plans[segment] = Plan.of(self.compilation, segment)
        return self._plans[segment]


# One correctly rounded operation each: every implementation has the same bits.
_EXACT = frozenset(
    {
        "add",
        "sub",
        "mul",
        "div",
        "max",
        "min",
        "neg",
        "abs",
        "relu",
        "round",
        "floor",
        "ceil",
        "cast",
    }
)
_MOVING = (Input, Constant, Reshape, Transpose, Slice, Broadcast, Pad, Concat, Gather)


def expectation(fused: Fused, operands: list[Array]) -> Bounded:
    """What a kernel must give: the very bits of quantized ones, which add up integers alone."""
    if all(map(_is_exact, fused.body.nodes)):
        return exact(fused.evaluate(*operands), fused.dtype)
    return error_bound(fused, operands)


def _is_exact(op: Op) -> bool:
    narrow = is_float(op.dtype) and op.dtype not in {F32, F64}
    if isinstance(op, Elementwise):
        return op.function in _EXACT and not narrow
    if isinstance(op, Conv | Contract | Reduce | Window):
        return not is_float(op.dtype) or (
            not isinstance(op, Conv | Contract) and op.function != "sum"
        )
    return isinstance(op, _MOVING)


class Plan:
    """Which graph node each kernel computes, and where the values of the graph lie."""

    def __init__(self, segment: NpuSegment, graph: Graph) -> None:
        program = segment.program
        self.segment = segment
        self.graph = graph
        self.nodes = [n for n in graph.nodes if isinstance(n, Fused)]
        if len(self.nodes) != len(program.kernels):
            counts = f"{len(program.kernels)} kernels for {len(self.nodes)} fused nodes"
            raise IRError("program", "each fused node is one kernel", why=counts)
        self.numbers = {kernel.first: i for i, kernel in enumerate(program.kernels)}
        inputs = {binding.name: binding for binding in program.inputs}
        self.bindings: dict[int, Binding] = {
            id(node): inputs[node.name]
            for node in graph.nodes
            if isinstance(node, Input) and node.name in inputs
        }
        for node, kernel in zip(self.nodes, program.kernels, strict=True):
            self.bindings[id(node)] = kernel.output

    @classmethod
    def of(cls, compilation: Compilation, index: int) -> Plan:
        """The plan of a segment by its number."""
        found = compilation.segments[index]
        if not isinstance(found, NpuSegment) or found.graph is None:
            raise IRError("program", "a kernel that is checked has a graph")
        return cls(found, found.graph)

    def fused(self, kernel: KernelInfo) -> Fused:
        """The node of a kernel."""
        return self.nodes[self.numbers[kernel.first]]

    def operands(self, fused: Fused, machine: Simulation) -> list[Array]:
        """The values of a node's operands as they lie in the machine now."""
        return [self._value(x, machine) for x in fused.xs]

    def _value(self, node: Op, machine: Simulation) -> Array:
        if isinstance(node, Constant):
            return node.value
        if id(node) in self.bindings:
            return machine.get(self.bindings[id(node)])
        return node.evaluate(*(self._value(o, machine) for o in node.operands))
